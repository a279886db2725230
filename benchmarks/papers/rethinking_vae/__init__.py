"""The systems of "Rethinking VAE: From continuous to discrete representations", measured."""
