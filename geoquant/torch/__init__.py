"""PyTorch: autoencoders, quantizer, decoder-fitted codewords, prior. The only importer of torch.

Names are imported on first use.
"""

from importlib.util import find_spec

import lazy_loader

if find_spec("torch") is None:
    raise ImportError(
        "geoquant.torch needs PyTorch, which is not installed; "
        "install it with: pip install 'geoquant[torch]'"
    )

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
