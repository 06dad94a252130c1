"""The cloud: the relay across a clinic's sites, and the authority on who may write where."""
