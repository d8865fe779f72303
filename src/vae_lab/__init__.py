"""vae_lab: train variational autoencoders, believe their numbers and see what they learned."""

__version__ = "0.1.0"
