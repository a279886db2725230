"""Discrete codes from the latents of a trained autoencoder, measured along the data manifold.

Start with `GeodesicKMeans` or `fit_codebook`; every step they take is a function here.
Names are imported on first use.
"""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("geoquant")
