"""Runs many trainings: the jobs of a sweep, their launchers, the grid and the search."""
