"""How the page comes to the image of a latent: by layers that it computes, or by pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_count
from geoquant.errors import InputError

FloatArray: TypeAlias = npt.NDArray[np.float32]
#: From latents (n, d) to images (n, C, H, W) in [0, 1].
Decode: TypeAlias = Callable[[FloatArray], npt.ArrayLike]

#: More weights than this are not put into a page; it shows decoded pictures instead.
MOST_WEIGHTS = 1_500_000
#: By how much a pixel may differ from the model's own, in [0, 1].
_TOLERANCE = 1 / 64

_ACTIVATIONS: dict[str, Callable[[FloatArray], npt.NDArray[Any]]] = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, np.float32(0.01) * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-np.clip(x, -60, 60))),
    "silu": lambda x: x / (1 + np.exp(-np.clip(x, -60, 60))),
}


class Layer(NamedTuple):
    """A linear map and what is done to each number after it.

    Attributes
    ----------
    weight : ndarray of shape (n_out, n_in), float32
        Rounded to float16 in the page.
    bias : ndarray of shape (n_out,), float32
        Added.
    activation : str
        'none', 'relu', 'leaky_relu', 'elu', 'tanh', 'sigmoid' or 'silu'.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.explorer import Layer, LayeredDecoder
    >>> layer = Layer(np.eye(4, 2, dtype=np.float32), np.zeros(4, np.float32), "sigmoid")
    >>> LayeredDecoder((layer,), image_shape=(1, 2, 2))([[0.0, 0.0]]).shape
    (1, 1, 2, 2)
    """

    weight: FloatArray
    bias: FloatArray
    activation: str


@dataclass(frozen=True)
class LayeredDecoder:
    """A decoder that is small enough to be computed by the page itself.

    Parameters
    ----------
    layers : sequence of Layer
        In order; none if latents are pixels already.
    image_shape : tuple of int
        Channels (1 or 3), height and width.
    white : float, default=1.0
        What the last layer gives for a white pixel; 0 is black.

    Raises
    ------
    InputError
        If there are not 1 or 3 channels.

    Examples
    --------
    >>> from geoquant.explorer import LayeredDecoder
    >>> digits = LayeredDecoder((), image_shape=(1, 2, 2), white=16.0)
    >>> digits([[0.0, 8.0, 16.0, 99.0]]).tolist()
    [[[[0.0, 0.5], [1.0, 1.0]]]]
    """

    layers: Sequence[Layer]
    image_shape: tuple[int, int, int]
    white: float = 1.0

    def __post_init__(self) -> None:
        check_image_shape(self.image_shape)

    def __call__(self, latents: npt.ArrayLike) -> FloatArray:
        """Images (n, C, H, W) in [0, 1] of latents (n, d)."""
        numbers = np.asarray(latents, np.float32)
        for layer in self.layers:
            sums = numbers @ layer.weight.T + layer.bias
            numbers = _ACTIVATIONS[layer.activation](sums).astype(np.float32, copy=False)
        pixels = math.prod(self.image_shape)
        if numbers.shape[1] != pixels:
            raise InputError(
                f"decode must give {pixels} numbers for images of {self.image_shape}, found "
                f"{numbers.shape[1]}; give the image_shape of the latents"
            )
        images: FloatArray = np.clip(numbers / np.float32(self.white), 0, 1)
        return images.reshape(-1, *self.image_shape)

    def rounded(self) -> LayeredDecoder:
        """The same with weights as the page has them.

        Returns
        -------
        LayeredDecoder

        Examples
        --------
        >>> import numpy as np
        >>> from geoquant.explorer import Layer, LayeredDecoder
        >>> third = Layer(np.full((1, 1), 1 / 3, np.float32), np.zeros(1, np.float32), "none")
        >>> decoder = LayeredDecoder((third,), image_shape=(1, 1, 1)).rounded()
        >>> bool(decoder.layers[0].weight[0, 0] == np.float16(1 / 3))
        True
        """
        layers = tuple(
            Layer(_as_float16(w).astype(np.float32), _as_float16(b).astype(np.float32), activation)
            for w, b, activation in self.layers
        )
        return LayeredDecoder(layers, self.image_shape, self.white)

    @property
    def n_weights(self) -> int:
        """How many numbers the layers hold."""
        return sum(layer.weight.size + layer.bias.size for layer in self.layers)


def check_image_shape(shape: Sequence[int]) -> None:
    """Refuse what the page cannot show as an image.

    Parameters
    ----------
    shape : sequence of int
        Channels, height and width.

    Raises
    ------
    InputError
        If there are not 1 or 3 channels, or it is no such shape.

    Examples
    --------
    >>> from geoquant.explorer.decoders import check_image_shape
    >>> check_image_shape((1, 28, 28))
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(
            f"image_shape must be (C, H, W) with 1 or 3 channels, found {tuple(shape)!r}"
        )
    for side in shape[1:]:
        check_count(side, "a side of image_shape", 1)


def as_decoder(decode: Any, latents: FloatArray) -> LayeredDecoder | Decode | None:
    """What the page can compute itself, if there is such a thing; else the callable.

    Parameters
    ----------
    decode : LayeredDecoder, VAEAdapter, callable or None
        As for `write_explorer`.
    latents : ndarray of shape (n, d), float32
        A few, on which the layers found are compared with the model.

    Returns
    -------
    LayeredDecoder, callable or None

    Raises
    ------
    InputError
        If it is nothing of that.

    Examples
    --------
    >>> from geoquant.explorer.decoders import as_decoder
    >>> as_decoder(None, None) is None
    True
    """
    if isinstance(decode, LayeredDecoder):
        decode(latents)  # says what does not fit
        return decode
    if hasattr(decode, "decode_array"):
        own: Decode = decode.decode_array
        return _layers_of_adapter(decode, latents) or own
    if decode is None or callable(decode):
        taken: Decode | None = decode
        return taken
    raise InputError(
        "decode must be a callable from latents to images, a VAEAdapter or a LayeredDecoder, found "
        f"{type(decode).__name__}"
    )


def _layers_of_adapter(adapter: Any, latents: FloatArray) -> LayeredDecoder | None:
    """A model's decoder as layers, if it is made of such and they give the same images."""
    from geoquant.torch.layers import plain_layers

    expected = adapter.decode_array(latents)
    found = plain_layers(adapter.module)
    if found is None or expected.shape[1] not in (1, 3):
        return None
    # What follows the last layer is seldom one of the decoder's parts.
    for last in (found[-1][2], "sigmoid"):
        layers = [Layer(*layer) for layer in found]
        layers[-1] = layers[-1]._replace(activation=last)
        decoder = LayeredDecoder(tuple(layers), expected.shape[1:])
        if decoder.n_weights <= MOST_WEIGHTS and _gives(decoder, latents, expected):
            return decoder
    return None


def _gives(decoder: LayeredDecoder, latents: FloatArray, expected: FloatArray) -> bool:
    try:
        found = decoder.rounded()(latents)
    except ValueError:  # the layers do not fit one another, or the images
        return False
    return bool(np.abs(found - np.clip(expected, 0, 1)).max() <= _TOLERANCE)


def _as_float16(array: FloatArray) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(np.float16)
