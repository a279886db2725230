"""From latents to a connected weighted graph, and the shortest paths on it."""
