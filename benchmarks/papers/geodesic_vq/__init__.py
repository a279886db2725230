"""The paper "VQ-VAE a posteriori with Geodesic Quantization": its table and figure, measured."""
