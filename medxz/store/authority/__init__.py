"""Who belongs to which clinic: people, devices, hubs, sessions, codes, keys, what was decided, and the audit of it all.

One text of SQL for SQLite and PostgreSQL. Where a clinic is concerned, its id stands first in each key and in each
statement's condition. The modules are functions over a `Tx`; they decide nothing: who may do what is decided above.
"""
