"""The other hubs of the site: found on the LAN, proved by their certificates, and read from, with no internet at all."""
