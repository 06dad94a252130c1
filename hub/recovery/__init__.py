"""What a hub does about a file of its own that is damaged: set aside, begin anew, fill again."""
