"""What `make bench` runs: each figure is a ratio against a limit that was measured in the same run."""
