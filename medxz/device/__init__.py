"""A device: its encrypted store, its outbox, and the way to its hub."""
