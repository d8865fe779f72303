"""Compares many runs: reads their folders, writes tables and pictures."""
