"""The LAN: what hubs announce of themselves there, and who hears it.

What is announced is hearsay. It says where to look; who is met there is proved by a certificate, by those who look.
"""
