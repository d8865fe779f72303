"""Runs commands: from the words of a command line to the objects of a run."""
