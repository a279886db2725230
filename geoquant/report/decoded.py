"""What a decoder makes of codewords, latents and paths, and how far that is from the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.errors import InputError
from geoquant.report.subject import sample_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Images: TypeAlias = npt.NDArray[np.float32]
Decode: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.ArrayLike]

#: Latents of which images are compared.
ERROR_ROWS = 2000
_BLOCK_ROWS = 500


def decoded(decode: Decode, latents: npt.NDArray[np.float32]) -> Images:
    """Images of latents, in blocks, checked.

    Parameters
    ----------
    decode : callable
        From latents (n, d) to images (n, C, H, W) or (n, H, W), in [0, 1].
    latents : ndarray of shape (n, d), float32
        Latents.

    Returns
    -------
    ndarray of shape (n, C, H, W), float32
        Cut off at 0 and 1.

    Raises
    ------
    InputError
        If `decode` gives anything else.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.report.decoded import decoded
    >>> decoded(lambda z: z.reshape(-1, 1, 2, 2), np.ones((3, 4), np.float32)).shape
    (3, 1, 2, 2)
    """
    found = [
        checked_images(decode(latents[i : i + _BLOCK_ROWS]), len(latents[i : i + _BLOCK_ROWS]))
        for i in range(0, len(latents), _BLOCK_ROWS)
    ]
    return np.concatenate(found)


def checked_images(images: npt.ArrayLike, n: int, name: str = "what decode gives") -> Images:
    """Images as floats in [0, 1], or an error that says what is wrong with them.

    Parameters
    ----------
    images : array-like of shape (n, C, H, W) or (n, H, W)
        Floats, or bytes of 0 to 255; of one or three channels.
    n : int
        How many there must be.
    name : str
        What the error calls them.

    Returns
    -------
    ndarray of shape (n, C, H, W), float32

    Raises
    ------
    InputError
        If there are others, or a pixel is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.report.decoded import checked_images
    >>> float(checked_images(np.full((1, 2, 2), 51, np.uint8), 1).max())
    0.20000000298023224
    """
    given = np.asarray(images)
    given = given[:, None] if given.ndim == 3 else given
    if given.ndim != 4 or len(given) != n or given.shape[1] not in (1, 3) or 0 in given.shape:
        raise InputError(
            f"{name} must be images of shape ({n}, C, H, W) with 1 or 3 channels, found "
            f"{np.shape(images)}"
        )
    if given.dtype.kind not in "fiu":
        raise InputError(f"{name} must be real numbers in [0, 1] or bytes, found {given.dtype}")
    pixels: Images = given.astype(np.float32)
    if given.dtype == np.uint8:
        pixels /= 255
    if not np.isfinite(pixels).all():
        raise InputError(f"{name} must be finite, found NaN or infinity; look at the decoder")
    return np.clip(pixels, 0, 1)


def image_errors(
    decode: Decode,
    latents: npt.NDArray[np.float32],
    words: Mapping[str, npt.NDArray[np.float32]],
    images: Any = None,
    *,
    max_rows: int = ERROR_ROWS,
) -> dict[str, Any]:
    """Mean squared error of a pixel, of several stand-ins for the same latents.

    Parameters
    ----------
    decode : callable
        As for `decoded`.
    latents : ndarray of shape (n, d), float32
        Latents.
    words : mapping of str to ndarray of shape (n, d), float32
        What stands for each latent, such as its codeword.
    images : array-like of shape (n, C, H, W), optional
        What was encoded; what the latents are decoded to by default.
    max_rows : int, default=2000
        How many latents to decode, chosen at random.

    Returns
    -------
    dict
        ``n_rows``, ``beside`` ('images' or 'decoded latents') and ``mean_squared_error`` by name,
        beside images also of the latents themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.report.decoded import image_errors
    >>> z = np.full((2, 4), 0.5, np.float32)
    >>> found = image_errors(lambda z: z.reshape(-1, 1, 2, 2), z, {"codes": z - 0.5})
    >>> found["mean_squared_error"]
    {'codes': 0.25}
    """
    rows = sample_of(len(latents), max_rows)
    own = decoded(decode, latents[rows])
    stand_ins = {name: decoded(decode, given[rows]) for name, given in words.items()}
    target = own
    if images is not None:
        target = checked_images(images[rows], len(rows), "images")
        stand_ins = {"latents": own, **stand_ins}
    if target.shape != own.shape:
        raise InputError(
            f"images must have the shape of what decode gives, {own.shape[1:]}, found "
            f"{target.shape[1:]}"
        )
    errors = {name: float(np.square(seen - target).mean()) for name, seen in stand_ins.items()}
    return {
        "n_rows": len(rows),
        "beside": "decoded latents" if images is None else "images",
        "mean_squared_error": errors,
    }
