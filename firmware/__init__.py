"""What becomes of the tree outside of it: packages and images."""
