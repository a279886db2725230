"""Discrete codes from the latents of a trained autoencoder, measured along the data manifold.

Start with `GeodesicKMeans` or `fit_codebook`; every step they take is a function here.
Names are imported on first use.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("geoquant")


def __getattr__(name: str) -> Any:
    if name != "_core":
        return _public(name)
    try:
        return import_module("geoquant._core")
    except ImportError as error:
        raise ImportError(
            "geoquant._core, the compiled kernels, cannot be loaded in this Python "
            f"({error}); install geoquant anew, or run `make setup` in its source"
        ) from error
