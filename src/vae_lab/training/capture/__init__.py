"""An optimizer step as a CUDA graph."""
