"""What lets people, devices and hubs in: the authority's decisions, without HTTP and without SQL.

`CloudAccounts` (cloud.py) is the `Accounts` that a cloud serves; `Administration` (administration.py) is what its
operator's commands call. Whatever is decided here is noted in the audit in the transaction that does it. A server that
is alone decides by the same parts.
"""
