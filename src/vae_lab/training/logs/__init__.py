"""Curves, settings and results of a run, and the loggers that keep them."""
