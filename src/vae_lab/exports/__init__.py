"""A trained run for other programs: weights, graphs that other runtimes compute, and a card that describes them."""
