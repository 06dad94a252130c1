"""Making the hub known on its LAN by mDNS: docs/protocol.md section 9.

`presence` is what the rest of the hub may read of it. `advertiser` does it, and is loaded once the hub serves.
"""
