"""Hubs that come by a courier: their files taken in through the running cloud, and what goes back made of its answers."""
