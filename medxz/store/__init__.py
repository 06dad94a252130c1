"""What is kept, and how: the operation log, the registry of who may write to it, and the engine under both."""
