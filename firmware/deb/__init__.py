"""The .deb packages of the tree."""
