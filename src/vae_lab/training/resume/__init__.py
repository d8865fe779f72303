"""Lets a run stop at any time and go on as if it had not."""
