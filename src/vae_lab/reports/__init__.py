"""What many runs found, side by side: read from their folders, written as tables and pictures."""
