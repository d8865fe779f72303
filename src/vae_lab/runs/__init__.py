"""Reads and writes run folders: the only package that knows what lies in one."""
