"""What the box itself shows to people. So far: the page of its first start, until it is claimed."""
