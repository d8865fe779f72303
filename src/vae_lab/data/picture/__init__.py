"""Picture files: a folder of them, and how one is decoded."""
