"""Shared library of medxz."""
