"""What can still be read of a damaged file, without the library that gives it up: page by page, each proved by its MAC."""
