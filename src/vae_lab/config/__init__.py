"""From the command line to objects: the Hydra tree, its checks and its error messages."""
