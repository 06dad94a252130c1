"""The hub as a client of its cloud: ops both ways, what the cloud says of the clinic, and how the connection is."""
