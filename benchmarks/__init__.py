"""Speed, side by side with loops that an expert would write by hand."""
