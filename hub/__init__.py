"""The hub: the program of the box on a clinic's network."""
