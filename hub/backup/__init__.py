"""Backups of a hub: made while it serves, opened to see that they can be, carried elsewhere, brought back."""
