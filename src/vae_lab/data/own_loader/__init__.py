"""DataLoaders of the user's own."""
