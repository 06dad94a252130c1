"""A hub without a cloud: it lets people and devices in by itself, and brings them along once it is claimed."""
