"""One face for every trained autoencoder: images to latents, and back."""

from __future__ import annotations

import inspect
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import nn

from geoquant.arguments import check_choice, check_count
from geoquant.errors import InputError
from geoquant.latents import check_latents
from geoquant.torch.autoencoders import load_model
from geoquant.torch.datasets import ImageSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt


Granularity: TypeAlias = Literal["image", "site"]

#: Attributes of what `encode` gives that are the latents, in the order in which they are tried.
_LATENT_ATTRIBUTES = ("latents", "latent", "embedding")
_IMAGE_ATTRIBUTES = ("sample", "reconstruction")
#: Keys of a configuration without which latents cannot be used elsewhere.
_SCALE_KEYS = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")


@dataclass(frozen=True)
class Check:
    """What goes into a model and comes out, tried on a few images.

    Parameters
    ----------
    model : str
        What was detected.
    image_shape : tuple of int
        Of one image.
    latent_shape : tuple of int
        Of one image's latent, before it is cut into rows.
    granularity : {'image', 'site'}
        What a row is.
    rows_per_image, dim : int
        Rows of one image, each one token or as many as there are stages, and numbers of a row.
    is_deterministic : bool
        Whether encoding twice gives the same.
    round_trip_error : float
        Mean absolute difference of pixels after encoding and decoding; 1 is black for white.
    latent_std : float
        Standard deviation of the latents.
    dtype, device : str
        Of the latents.
    warnings : tuple of str
        What looks wrong, in words.
    """

    model: str
    image_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    granularity: Granularity
    rows_per_image: int
    dim: int
    is_deterministic: bool
    round_trip_error: float
    latent_std: float
    dtype: str
    device: str
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        rows = "1 row" if self.rows_per_image == 1 else f"{self.rows_per_image} rows"
        lines = [
            f"model        {self.model}",
            f"image        {_times(self.image_shape)}",
            f"latent       {_times(self.latent_shape)}, {self.dtype} on {self.device}, "
            f"standard deviation {self.latent_std:.3g}",
            f"rows         per {self.granularity}: {rows} of {self.dim} numbers an image",
            f"encoding     {'the same' if self.is_deterministic else 'not the same'} twice",
            f"round trip   mean error of a pixel {self.round_trip_error:.4f}",
        ]
        return "\n".join([*lines, *(f"warning      {text}" for text in self.warnings)])


class VAEAdapter:
    """Encoding and decoding of a trained model in one form; made by `wrap`.

    Latents are rows: one an image, or one a site. Images are floats in [0, 1].

    Parameters
    ----------
    encode, decode : callable
        From images (n, C, H, W) to latents and back, in the range that the model works with.
    name : str
        What the model is called.
    module : Module or None
        Whose parameters and mode they depend on; None of plain functions.
    granularity : {'image', 'site'}
        What a row of latents is.
    image_range : (float, float)
        Values of black and white that the model works with.
    latent_shape : tuple of int, optional
        Of one image's latent; default: learned when an image is encoded.
    metadata : dict, optional
        What has to be known to use the latents elsewhere, such as their scale.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import VAE, VAEAdapter
    >>> adapter = VAEAdapter.wrap(VAE(image_shape=(1, 8, 8), latent_dim=3))
    >>> adapter
    VAEAdapter(VAE: encode gives (mean, log-variance), granularity='image', image_range=(0, 1))
    >>> adapter.encode_array(torch.zeros(5, 1, 8, 8)).shape
    (5, 3)
    >>> adapter.decode_array([[0.0, 0.0, 0.0]]).shape
    (1, 1, 8, 8)
    >>> adapter.check(torch.zeros(5, 1, 8, 8)).is_deterministic
    True

    Of tensors, with gradients where they are on:

    >>> images = torch.zeros(5, 1, 8, 8)
    >>> adapter.decode(adapter.encode(images)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        encode: Callable[[torch.Tensor], Any],
        decode: Callable[[torch.Tensor], Any],
        *,
        name: str,
        module: nn.Module | None,
        granularity: Granularity,
        image_range: tuple[float, float],
        latent_shape: tuple[int, ...] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._encode, self._decode = encode, decode
        self._name, self.module = name, module
        self.granularity, self.image_range = granularity, image_range
        self.latent_shape = latent_shape
        self.metadata = metadata or {}
        self._form = ""
        is_plain = granularity == "image" and image_range == (0, 1)
        is_own = module is not None and getattr(decode, "__self__", None) is module
        if is_plain and is_own and hasattr(module, "decode_logits"):
            self.decode_logits: Callable[[torch.Tensor], torch.Tensor] = module.decode_logits  # type: ignore[union-attr, assignment]

    @classmethod
    def wrap(
        cls,
        model: Any = None,
        *,
        encode: Callable[[torch.Tensor], Any] | None = None,
        decode: Callable[[torch.Tensor], Any] | None = None,
        granularity: Granularity = "image",
        image_range: tuple[float, float] | None = None,
        latent_shape: Sequence[int] | None = None,
    ) -> VAEAdapter:
        """Adapt a model.

        Parameters
        ----------
        model : object or path, optional
            A module with ``encode`` and ``decode``, one of diffusers among them, or the folder
            of a model of geoquant. ``encode`` may give a tensor, (mean, log-variance), a
            distribution, or an object with ``latent_dist``, ``latents``, ``latent`` or
            ``embedding``; of a distribution its mode or mean is taken. ``decode`` may give a
            tensor or an object with ``sample`` or ``reconstruction``.
        encode, decode : callable, optional
            Take the place of the model's own.
        granularity : {'image', 'site'}
            'image': an image's whole latent is one row. 'site': each site of a latent (C, H, W)
            is a row of C numbers.
        image_range : (float, float), optional
            Values of black and white that the model works with. Default: (-1, 1) for models of
            diffusers, otherwise (0, 1). What a model decodes is clipped to another range than
            (0, 1), which networks with such a range leave.
        latent_shape : sequence of int, optional
            Of one image's latent; default: learned when an image is encoded. Only needed to decode
            rows of spatial latents before anything was encoded.

        Returns
        -------
        VAEAdapter

        Raises
        ------
        InputError
            If the model has no ``encode`` or ``decode``, or an argument is out of range.
        FileFormatError
            If the folder holds no model of geoquant.

        Examples
        --------
        >>> from geoquant.torch import VAEAdapter
        >>> flat = VAEAdapter.wrap(
        ...     encode=lambda images: images.flatten(1), decode=lambda z: z.reshape(-1, 1, 2, 2)
        ... )
        >>> flat.decode_array([[0.0, 0.0, 1.0, 1.0]]).tolist()
        [[[[0.0, 0.0], [1.0, 1.0]]]]
        """
        check_choice(granularity, "granularity", get_args(Granularity))
        if isinstance(model, str | os.PathLike):
            model = load_model(model)
        if image_range is None:
            image_range = (-1, 1) if _is_of_diffusers(model) else (0, 1)
        low, high = image_range
        if not low < high:
            raise InputError(f"image_range must be (black, white), found {image_range!r}")
        return cls(
            encode or _method(model, "encode"),
            decode or _decode_without_quantizer(_method(model, "decode")),
            name=_name_of(model),
            module=model if isinstance(model, nn.Module) else None,
            granularity=granularity,
            image_range=(low, high),
            latent_shape=None if latent_shape is None else tuple(latent_shape),
            metadata=_scales_of(model),
        )

    def __repr__(self) -> str:
        form = self._form or _form_of_encode(self._encode)
        given = f": encode gives {form}" if form else ""
        return (
            f"VAEAdapter({self._name}{given}, granularity={self.granularity!r}, "
            f"image_range={self.image_range})"
        )

    @property
    def decoder(self) -> nn.Module | None:
        """The module behind `decode`, whose parameters fits keep as they are; None of callables."""
        return self.module

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        parameters = iter(()) if self.module is None else self.module.parameters()
        first = next(parameters, None)
        return torch.device("cpu") if first is None else first.device

    @property
    def _dtype(self) -> torch.dtype:
        parameters = iter(()) if self.module is None else self.module.parameters()
        return next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Latents of images, as rows.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1], on the model's device.

        Returns
        -------
        Tensor of float32, shape (n, d), or (n * sites, C)

        Raises
        ------
        InputError
            If the images do not fit the model, or ``encode`` gives something unknown.
        """
        latents = self._latents(images).float()
        if self.granularity == "image":
            return latents.flatten(1)
        if latents.ndim < 3:
            raise InputError(
                f"granularity 'site' is for latents (n, C, H, W), found {tuple(latents.shape)}; "
                "use granularity='image'"
            )
        return latents.movedim(1, -1).reshape(-1, latents.shape[1])

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images of rows of latents.

        Parameters
        ----------
        latents : Tensor of shape (n, d), or (n * sites, C)
            On the model's device.

        Returns
        -------
        Tensor of float32, shape (n, C, H, W)
            In [0, 1], as far as a model that works with (0, 1) keeps to it.

        Raises
        ------
        InputError
            If the rows do not fit the model, or ``decode`` gives something unknown.
        """
        low, high = self.image_range
        with _errors_say(f"decode of latents of shape {tuple(latents.shape)}"):
            decoded = _image_of(self._decode(self._unflattened(latents).to(self._dtype))).float()
        return decoded if (low, high) == (0, 1) else ((decoded - low) / (high - low)).clamp(0, 1)

    def encode_array(
        self, images: ImageSet | torch.Tensor | npt.ArrayLike, *, batch_size: int = 256
    ) -> npt.NDArray[np.float32]:
        """Latents of many images, in batches, with the model in evaluation mode.

        Parameters
        ----------
        images : ImageSet or array_like of shape (n, C, H, W)
            Floats in [0, 1], or bytes.
        batch_size : int
            Images at a time.

        Returns
        -------
        ndarray of float32, shape (n, d) or (n * sites, C)

        Raises
        ------
        InputError
            As `encode`, or if images are out of [0, 1] or latents are not finite.
        """
        batch_size = check_count(batch_size, "batch_size", 1)
        found = []
        with self._evaluating():
            for batch in _batches_of_images(images, batch_size):
                found.append(_finite(self.encode(batch.to(self.device)), "encode"))
        return torch.cat(found).numpy()

    def decode_array(
        self, latents: npt.ArrayLike, *, batch_size: int = 256
    ) -> npt.NDArray[np.float32]:
        """Images of many rows of latents, in batches, with the model in evaluation mode.

        Parameters
        ----------
        latents : array_like of shape (n, d), or (n * sites, C)
            Rows.
        batch_size : int
            Images at a time.

        Returns
        -------
        ndarray of float32, shape (n, C, H, W)

        Raises
        ------
        InputError
            As `decode`, or if images are not finite.
        """
        rows = latent_rows(latents)
        per_image = self._rows_per_image()
        if len(rows) % per_image:
            raise InputError(
                f"latents must be {per_image} rows for each image, found {len(rows)} rows"
            )
        size = check_count(batch_size, "batch_size", 1) * per_image
        with self._evaluating():
            found = [
                _finite(self.decode(rows[start : start + size].to(self.device)), "decode")
                for start in range(0, len(rows), size)
            ]
        return torch.cat(found).numpy()

    def check(self, images: ImageSet | torch.Tensor | npt.ArrayLike) -> Check:
        """Try a few images before anything long starts.

        Parameters
        ----------
        images : ImageSet or array_like of shape (n, C, H, W)
            At least one; the first eight are taken.

        Returns
        -------
        Check
            Its text says what goes in, what comes out, and what looks wrong.

        Raises
        ------
        InputError
            If the images do not fit the model, its latents are not finite, or it gives something
            unknown.
        """
        batch = next(_batches_of_images(images, 8)).to(self.device)
        with self._evaluating():
            latents, again = self._latents(batch), self._latents(batch)
            rows = self.encode(batch)
            decoded = self.decode(rows)
            _finite(rows, "encode")
            _finite(decoded, "decode")
        if decoded.shape != batch.shape:
            raise InputError(
                f"decode gives images of shape {tuple(decoded.shape)}, expected "
                f"{tuple(batch.shape)}; give decode= a callable that does"
            )
        is_same = torch.equal(latents, again)
        return Check(
            model=f"{self._name}: encode gives {self._form}",
            image_shape=tuple(batch.shape[1:]),
            latent_shape=tuple(latents.shape[1:]),
            granularity=self.granularity,
            rows_per_image=len(rows) // len(batch),
            dim=rows.shape[1],
            is_deterministic=is_same,
            round_trip_error=float((decoded - batch).abs().mean()),
            latent_std=float(latents.float().std(correction=0)),
            dtype=str(latents.dtype).removeprefix("torch."),
            device=str(latents.device),
            warnings=tuple(self._warnings(batch, latents, decoded, is_same)),
        )

    def _warnings(
        self, images: torch.Tensor, latents: torch.Tensor, decoded: torch.Tensor, is_same: bool
    ) -> Iterator[str]:
        if not is_same:
            yield "encoding twice gives two latents: give encode= the mean, or fix the noise"
        average = (images - images.mean(0)).abs().mean()
        if len(images) > 1 and (decoded - images).abs().mean() > average:
            yield (
                "decoded images are further from the images than these from their average: is the "
                f"model trained, and image_range={self.image_range} right?"
            )
        if self.granularity == "image" and latents.ndim > 2:
            sites = latents[0, 0].numel()
            yield (
                f"latents have {sites} sites: granularity='site' would give {sites} rows of "
                f"{latents.shape[1]} numbers an image instead of one of {latents[0].numel()}"
            )

    def _latents(self, images: torch.Tensor) -> torch.Tensor:
        """Latents in the model's own shape."""
        self._check_images(images)
        low, high = self.image_range
        scaled = images if (low, high) == (0, 1) else images * (high - low) + low
        with _errors_say(f"encode of images of shape {tuple(images.shape)}"):
            latents, self._form = _latent_of(self._encode(scaled.to(self._dtype)))
        if len(latents) != len(images) or latents.ndim < 2:
            raise InputError(
                f"encode gives latents of shape {tuple(latents.shape)} for {len(images)} images; "
                "the first axis must be the images"
            )
        shape = tuple(latents.shape[1:])
        if self.latent_shape not in (None, shape):
            raise InputError(
                f"encode gives latents of shape {shape} for images of {tuple(images.shape[1:])}, "
                f"and gave or was said to give {self.latent_shape}; wrap the model once more for "
                "images of another size"
            )
        self.latent_shape = shape
        return latents

    def _check_images(self, images: torch.Tensor) -> None:
        if not isinstance(images, torch.Tensor) or not images.is_floating_point():
            found = getattr(images, "dtype", type(images).__name__)
            raise InputError(f"images must be a floating tensor in [0, 1], found {found}")
        if images.ndim != 4 or len(images) == 0:
            raise InputError(f"images must have shape (n, C, H, W), found {tuple(images.shape)}")
        if images.device != self.device:
            raise InputError(
                f"images are on {images.device}, the model on {self.device}; move one of them: "
                f"images.to({str(self.device)!r})"
            )

    def _rows_per_image(self) -> int:
        if self.granularity == "image":
            return 1
        return int(np.prod(self._known_latent_shape()[1:]))

    def _known_latent_shape(self) -> tuple[int, ...]:
        if self.latent_shape is None:
            raise InputError(
                "the shape of a latent is not known yet; encode or check some images first, or "
                "give latent_shape to VAEAdapter.wrap"
            )
        return self.latent_shape

    def _unflattened(self, rows: torch.Tensor) -> torch.Tensor:
        """Latents in the model's own shape, of rows."""
        if self.granularity == "image" and self.latent_shape is None:
            return rows
        shape = self._known_latent_shape()
        dim = shape[0] if self.granularity == "site" else math.prod(shape)
        if rows.ndim != 2 or rows.shape[1] != dim or rows.shape[0] % self._rows_per_image():
            raise InputError(
                f"latents must be rows of {dim} numbers, {self._rows_per_image()} for each image, "
                f"found shape {tuple(rows.shape)}; use a codebook of this model's latents"
            )
        if self.granularity == "image":
            return rows.reshape(-1, *shape)
        channels, *sites = shape
        return rows.reshape(-1, *sites, channels).movedim(-1, 1)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients; the model's modes are put back."""
        modules = [] if self.module is None else [(m, m.training) for m in self.module.modules()]
        try:
            for module, _ in modules:
                module.training = False
            with torch.no_grad():
                yield
        finally:
            for module, was_training in modules:
                module.training = was_training


def latent_rows(latents: npt.ArrayLike) -> torch.Tensor:
    """Rows of latents as a tensor, checked; copied only where they must not be written to.

    Parameters
    ----------
    latents : array_like of shape (n, d)
        As for `check_latents`.

    Returns
    -------
    Tensor of float32, shape (n, d)

    Raises
    ------
    InputError
        If they cannot be used.

    Examples
    --------
    >>> from geoquant.torch.vae_adapter import latent_rows
    >>> latent_rows([[1.0, 2.0]])
    tensor([[1., 2.]])
    """
    rows = check_latents(latents)
    # PyTorch knows no tensors that are not to be written to, and warns.
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def _method(model: Any, name: str) -> Callable[[torch.Tensor], Any]:
    found = getattr(model, name, None)
    if not callable(found):
        what = "no model was given" if model is None else f"{type(model).__name__} has none"
        raise InputError(
            f"a model with {name} is needed, and {what}; give VAEAdapter.wrap {name}=, a callable"
        )
    return found  # type: ignore[no-any-return]


def _decode_without_quantizer(
    decode: Callable[[torch.Tensor], Any],
) -> Callable[[torch.Tensor], Any]:
    """A VQModel of diffusers would quantize once more, by its own codebook."""
    try:
        parameters = inspect.signature(decode).parameters
    except (TypeError, ValueError):
        return decode
    if "force_not_quantize" not in parameters:
        return decode
    return lambda latents: decode(latents, force_not_quantize=True)  # type: ignore[call-arg]


def _name_of(model: Any) -> str:
    if model is None:
        return "callables"
    return f"{'diffusers ' if _is_of_diffusers(model) else ''}{type(model).__name__}"


def _is_of_diffusers(model: Any) -> bool:
    return any(kind.__module__.split(".")[0] == "diffusers" for kind in type(model).__mro__)


def _form_of_encode(encode: Callable[[torch.Tensor], Any]) -> str:
    """What `encode` gives, where our own models say it in their types."""
    if getattr(encode, "__module__", "") != "geoquant.torch.autoencoders":
        return ""
    is_pair = str(encode.__annotations__["return"]).startswith("tuple")
    return "(mean, log-variance)" if is_pair else "a tensor"


def _scales_of(model: Any) -> dict[str, Any]:
    """Scales and shifts of a model's configuration, which its latents need elsewhere."""
    config = getattr(model, "config", None)
    values = {name: getattr(config, name, None) for name in _SCALE_KEYS}
    return {name: value for name, value in values.items() if value is not None}


def _latent_of(output: Any) -> tuple[torch.Tensor, str]:
    """Latents in what `encode` gave, and what it was in words."""
    if isinstance(output, torch.Tensor):
        return output, "a tensor"
    if isinstance(output, tuple | list) and output and isinstance(output[0], torch.Tensor):
        if len(output) == 1:
            return output[0], "a tensor"
        if len(output) == 2 and getattr(output[1], "shape", None) == output[0].shape:
            return output[0], "(mean, log-variance)"
    distribution = getattr(output, "latent_dist", None)
    if distribution is not None:
        return distribution.mode(), "latent_dist, its mode taken"
    for name in _LATENT_ATTRIBUTES:
        if isinstance(found := getattr(output, name, None), torch.Tensor):
            return found, name
    if isinstance(output, torch.distributions.Distribution):
        return output.mean, "a distribution, its mean taken"
    raise InputError(
        f"encode gives {_in_words(output)}, expected a tensor, (mean, log-variance), a "
        "distribution, or an object with latent_dist, latents, latent or embedding; give encode= a "
        "callable that takes the latents out"
    )


def _image_of(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, tuple | list) and output and isinstance(output[0], torch.Tensor):
        return output[0]
    for name in _IMAGE_ATTRIBUTES:
        if isinstance(found := getattr(output, name, None), torch.Tensor):
            return found
    raise InputError(
        f"decode gives {_in_words(output)}, expected a tensor or an object with sample or "
        "reconstruction; give decode= a callable that takes the images out"
    )


def _in_words(output: Any) -> str:
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {', '.join(type(o).__name__ for o in output)}"
    return f"a {type(output).__name__}"


@contextmanager
def _errors_say(what: str) -> Iterator[None]:
    """A model's own complaint about shapes, with what it was given."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{what} failed: {first}; check the number of channels and the size"
        ) from error


def _batches_of_images(
    images: ImageSet | torch.Tensor | npt.ArrayLike, batch_size: int
) -> Iterator[torch.Tensor]:
    """Batches of floats in [0, 1]."""
    if not isinstance(images, ImageSet | torch.Tensor):
        images = np.asarray(images)
    if len(images) == 0:
        raise InputError("images must be at least one, found none")
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        if isinstance(images, ImageSet):
            yield images.images(rows)
            continue
        batch = torch.as_tensor(images[rows])
        yield batch / 255 if batch.dtype == torch.uint8 else _in_unit_range(batch.float())


def _in_unit_range(images: torch.Tensor) -> torch.Tensor:
    low, high = float(images.min()), float(images.max())
    # Written so that NaN is refused as well.
    if not 0 <= low <= high <= 1:
        raise InputError(
            f"images must lie in [0, 1], found {low:.3g} to {high:.3g}; rescale them, and say "
            "with image_range what the model works with"
        )
    return images


def _finite(values: torch.Tensor, function: str) -> torch.Tensor:
    """Values on the CPU, or an error where some are not finite."""
    if not bool(torch.isfinite(values).all()):
        raise InputError(
            f"{function} gives values that are not finite; check the model's weights, image_range "
            "and, in half precision, its range of numbers"
        )
    return values.cpu()


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
