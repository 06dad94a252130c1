"""A claimed hub's courier: files for its cloud made, files of its cloud taken in, as the uplink would bring the same."""
