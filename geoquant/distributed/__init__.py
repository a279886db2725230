"""Latents that one machine does not hold: the same graph, assignment and energy, in partitions."""
