"""The relay across sites: its place in the house. There is no program here yet."""
