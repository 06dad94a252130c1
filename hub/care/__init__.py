"""A hub looks after itself: what it measures of its machine, what it tells, and what it does about it."""
