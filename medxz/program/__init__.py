"""What the programs of the servers share, hub and cloud: settings, key file, lock, and the run from bind to stop."""
