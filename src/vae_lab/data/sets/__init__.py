"""Data sets by name: embedded, downloaded or drawn."""
