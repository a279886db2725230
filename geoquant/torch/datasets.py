"""Images to train on: MNIST, Fashion-MNIST, CelebA, a folder of images, an array in a file."""

from __future__ import annotations

import gzip
import math
import os
import struct
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pooch
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.nn import functional

from geoquant.arguments import check_count
from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.files import PathLike, open_regular
from geoquant.latents import read_latents

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence

Split: TypeAlias = Literal["train", "test"]
UInt8Array: TypeAlias = npt.NDArray[np.uint8]
PixelArray: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

#: The environment variable that names the folder of data sets.
DATA_VARIABLE = "GEOQUANT_DATA"

# Of every ten rows of a source without parts of its own, the last is for testing.
_TEST_EVERY = 10
_MAX_IDX_BYTES = 1 << 30
_MAX_LIST_BYTES = 64 << 20
_MAX_SIDE = 4096
_CELEBA_SIDE = 64
_CELEBA_PARTS = {"train": "0", "test": "2"}
_BLOCK_ROWS = 1024
# No format that runs another program, as EPS does.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}


class _Mirror(NamedTuple):
    """Where a data set is fetched from, and the SHA-256 of each file."""

    url: str
    checksums: dict[str, str]


_MIRRORS = {
    "mnist": _Mirror(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        {
            "train-images-idx3-ubyte.gz": (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": (
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
    ),
    # This host has no https; the checksums are what makes the files those of the authors.
    "fashion-mnist": _Mirror(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": (
                "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
            ),
            "train-labels-idx1-ubyte.gz": (
                "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
            ),
        },
    ),
}
_NAMES = (*_MIRRORS, "celeba")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, with their classes where these are known.

    Parameters
    ----------
    pixels : ndarray of uint8 or float32, shape (n, C, H, W)
        Bytes, or floats in [0, 1].
    labels : ndarray of int64, shape (n,), or None
        Class of each image, from 0.
    name : str
        Where they come from.

    Raises
    ------
    InputError
        If pixels or labels have another shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.torch import ImageSet
    >>> data = ImageSet(np.full((2, 1, 28, 28), 255, dtype=np.uint8), None, "white")
    >>> len(data), data.image_shape
    (2, (1, 28, 28))
    >>> data.images([0]).max().item()
    1.0
    """

    pixels: PixelArray
    labels: npt.NDArray[np.int64] | None
    name: str

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype not in (np.uint8, np.float32):
            raise InputError(
                "pixels must be uint8 or float32 of shape (n, C, H, W), found "
                f"{self.pixels.dtype} of {self.pixels.shape}; load_images gives such"
            )
        if self.labels is not None and self.labels.shape != (len(self),):
            raise InputError(
                f"labels must have shape ({len(self)},), one for each image, found "
                f"{self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def images(self, index: Sequence[int] | slice | npt.NDArray[Any] | None = None) -> torch.Tensor:
        """Images as a tensor.

        Parameters
        ----------
        index : slice, sequence or array of int or bool, optional
            Which; default: all.

        Returns
        -------
        Tensor of float32, shape (n, C, H, W)
            In [0, 1].
        """
        chosen = torch.from_numpy(np.array(self.pixels if index is None else self.pixels[index]))
        return chosen.float() / 255 if chosen.dtype == torch.uint8 else chosen


def load_images(
    source: PathLike,
    split: Split = "train",
    *,
    image_size: int | None = None,
    limit: int | None = None,
    download: bool = False,
) -> ImageSet:
    """Read images to train on, or those kept for testing.

    Parameters
    ----------
    source : str or path
        "mnist", "fashion-mnist" or "celeba", looked for in the folder that the environment
        variable GEOQUANT_DATA names and in the user's cache; a folder of images (write ``./mnist``
        if it has one of these names); or an ``.npy`` file of shape (n, H, W), (n, C, H, W) or
        (n, H, W, C), with C = 1 or 3, of bytes or floats in [0, 1].
    split : {'train', 'test'}
        The parts of the data set, for a folder its sub-folders ``train`` and ``test``. Where
        there are none, every tenth image is for testing.
    image_size : int, optional
        Height and width to which the middle square of each image is resized. Default: as stored,
        for "celeba" 64.
    limit : int, optional
        How many images to read at most, the first ones.
    download : bool
        Fetch "mnist" or "fashion-mnist" into the user's cache if it is missing.

    Returns
    -------
    ImageSet
        Images of a folder are sorted by their paths. They are grey if all of them are, otherwise
        RGB, transparency left out; if each is in exactly one sub-folder, these are the classes, by
        name.

    Raises
    ------
    InputError
        If an argument is out of range or the source is of no known kind.
    FileFormatError
        If data are missing, damaged or of another kind, or images differ in size.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.torch import load_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "images.npy")
    ...     write_npy(path, np.zeros((20, 8, 8), dtype=np.uint8))
    ...     load_images(path, "test").pixels.shape
    (2, 1, 8, 8)
    """
    if split not in get_args(Split):
        raise InputError(f"split must be 'train' or 'test', found {split!r}")
    if image_size is not None:
        image_size = check_count(image_size, "image_size", 1, _MAX_SIDE)
    if limit is not None:
        limit = check_count(limit, "limit", 1)
    name = os.fspath(source)
    if name == "celeba":
        return _load_celeba(split, image_size or _CELEBA_SIDE, limit)
    if name in _MIRRORS:
        return _resized(_load_mnist(name, split, limit, download=download), image_size)
    if Path(name).suffix.lower() == ".npy":
        return _resized(_load_array(Path(name), split, limit), image_size)
    if Path(name).is_dir():
        return _load_folder(Path(name), split, image_size, limit)
    raise InputError(
        f"source must be {', '.join(map(repr, _NAMES))}, a folder of images or an .npy file, "
        f"found {name!r}, which is none of these; check the path"
    )


# ------------------------------------------------------------------- MNIST and Fashion-MNIST


def _load_mnist(name: str, split: Split, limit: int | None, *, download: bool) -> ImageSet:
    prefix = {"train": "train", "test": "t10k"}[split]
    files = [f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"]
    paths = [_find_or_fetch(name, file, download=download) for file in files]
    images, labels = (read_idx(path, rank) for path, rank in zip(paths, (3, 1), strict=True))
    if len(images) != len(labels):
        raise FileFormatError(
            f"{paths[1]}: must have one label for each of the {len(images)} images of "
            f"{paths[0].name}, found {len(labels)}; take both files from the same source"
        )
    return ImageSet(images[:limit, None], labels[:limit].astype(np.int64), f"{name} {split}")


def _find_or_fetch(name: str, file: str, *, download: bool) -> Path:
    folders = _places(name)
    for folder in folders:
        for path in (folder / file, folder / file.removesuffix(".gz")):
            if path.is_file():
                return path
    if download:
        return _fetch(name, file)
    raise FileFormatError(
        f"{name}: {file} is missing, in {' and in '.join(map(str, folders))}; fetch it with "
        f"download=True (--download), or let {DATA_VARIABLE} name the folder that has {name}/"
    )


def _places(name: str) -> list[Path]:
    """Folders in which a data set may lie, the first first."""
    given = os.environ.get(DATA_VARIABLE)
    return [Path(root) / name for root in (given, pooch.os_cache("geoquant")) if root]


def _fetch(name: str, file: str) -> Path:
    mirror, folder = _MIRRORS[name], Path(pooch.os_cache("geoquant")) / name
    try:
        pooch.retrieve(
            mirror.url + file,
            known_hash=f"sha256:{mirror.checksums[file]}",
            fname=file,
            path=folder,
        )
    except (OSError, ValueError) as error:  # no network; another checksum
        raise FileFormatError(
            f"{name}: {mirror.url}{file} cannot be fetched: {error}; fetch it by other means and "
            f"put it into {folder}"
        ) from error
    return folder / file


def read_idx(path: PathLike, rank: int) -> UInt8Array:
    r"""Read bytes in the IDX format of MNIST, packed with gzip or not.

    Parameters
    ----------
    path : str or path
        A regular file.
    rank : int
        Axes that the array must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of another kind, or of more than 1 GiB.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.torch.datasets import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(b"\0\0\x08\x01" + b"\0\0\0\x02" + b"\x07\x03")
    ...     read_idx(path, 1)
    array([7, 3], dtype=uint8)
    """
    with open_regular(path) as stream, _gzip_errors_name(path):
        is_packed = stream.peek(2)[:2] == b"\x1f\x8b"
        unpacked = gzip.GzipFile(fileobj=stream) if is_packed else stream
        shape = _read_idx_shape(unpacked, rank, path)
        expected = math.prod(shape)
        raw = unpacked.read(expected + 1)
    if len(raw) != expected:
        found = "more" if len(raw) > expected else f"only {len(raw)}"
        raise _damaged(
            path, f"the header promises {expected} bytes of shape {shape}, found {found}"
        )
    return np.frombuffer(raw, dtype=np.uint8).reshape(shape)


def _read_idx_shape(stream: io.BufferedIOBase, rank: int, path: PathLike) -> tuple[int, ...]:
    magic, expected = stream.read(4), bytes((0, 0, 8, rank))
    if magic != expected:
        raise _damaged(path, f"must begin with {expected.hex()}, found {magic.hex() or 'nothing'}")
    lengths = stream.read(4 * rank)
    if len(lengths) != 4 * rank:
        raise _damaged(path, "ends within its header")
    shape = struct.unpack(f">{rank}I", lengths)
    if 0 in shape or math.prod(shape) > _MAX_IDX_BYTES:
        raise _damaged(path, f"must hold between 1 and {_MAX_IDX_BYTES} bytes, found shape {shape}")
    return shape


@contextmanager
def _gzip_errors_name(path: PathLike) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(path, f"cannot be unpacked: {error}") from error
    except MemoryError as error:
        raise ResourceError(f"{os.fspath(path)}: there is no memory for its array") from error


def _damaged(path: PathLike, found: str) -> FileFormatError:
    return FileFormatError(
        f"{os.fspath(path)}: {found}; the file is damaged or no IDX file: remove it and fetch it "
        "again"
    )


# -------------------------------------------------------------------------------- one array


def _load_array(path: Path, split: Split, limit: int | None) -> ImageSet:
    stored = read_latents(path)
    if stored.dtype != np.uint8 and stored.dtype.kind != "f":
        raise FileFormatError(
            f"{path}: images must be bytes or floats in [0, 1], found dtype {stored.dtype}; "
            "convert them with astype(numpy.uint8)"
        )
    rows = _split_rows(len(stored), split)[:limit]
    if not rows.size or 0 in stored.shape:
        raise FileFormatError(
            f"{path}: has no images for split {split!r}, found shape {stored.shape}; give at least "
            f"{_TEST_EVERY}"
        )
    chosen = _channels_first(stored, path)[rows]
    if chosen.dtype == np.uint8:
        return ImageSet(np.ascontiguousarray(chosen), None, f"{path.name} {split}")
    low, high = float(chosen.min()), float(chosen.max())
    if not 0 <= low <= high <= 1:
        raise FileFormatError(
            f"{path}: floats must lie in [0, 1], found {low:.3g} to {high:.3g}; rescale them, or "
            "save bytes with astype(numpy.uint8)"
        )
    return ImageSet(np.ascontiguousarray(chosen, dtype=np.float32), None, f"{path.name} {split}")


def _split_rows(n: int, split: Split) -> npt.NDArray[np.intp]:
    is_test = np.arange(n) % _TEST_EVERY == _TEST_EVERY - 1
    return np.flatnonzero(is_test == (split == "test"))


def _channels_first(stored: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The array as (n, C, H, W), not copied."""
    if stored.ndim == 3:
        return stored[:, None]
    if stored.ndim == 4 and stored.shape[1] in (1, 3):
        return stored
    if stored.ndim == 4 and stored.shape[3] in (1, 3):
        return np.moveaxis(stored, 3, 1)
    raise FileFormatError(
        f"{path}: images must have shape (n, H, W), (n, C, H, W) or (n, H, W, C) with C = 1 or 3, "
        f"found {stored.shape}; reshape the array"
    )


def _resized(data: ImageSet, size: int | None) -> ImageSet:
    """The middle square of every image, resized; the same data where it is so already."""
    height, width = data.image_shape[1:]
    if size is None or (height, width) == (size, size):
        return data
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    shape = (len(data), data.image_shape[0], size, size)
    pixels: PixelArray = np.empty(shape, dtype=data.pixels.dtype)
    for start in range(0, len(data), _BLOCK_ROWS):
        block = data.images(slice(start, start + _BLOCK_ROWS))
        block = functional.interpolate(
            block[:, :, top : top + side, left : left + side],
            size=(size, size),
            mode="bilinear",
            antialias=True,
        )
        if pixels.dtype == np.uint8:
            block = (block * 255).round()
        pixels[start : start + len(block)] = block.numpy()
    return ImageSet(pixels, data.labels, data.name)


# ------------------------------------------------------------------------ folders of images


def _load_celeba(split: Split, size: int, limit: int | None) -> ImageSet:
    images, listing = "img_align_celeba", "list_eval_partition.txt"
    places = _places("celeba")
    found = [place for place in places if (place / images).is_dir()]
    if not found:
        raise FileFormatError(
            f"celeba: {images}/ is missing, in {' and in '.join(map(str, places))}; fetch it and "
            f"{listing} from the authors' page, who ask for consent to their terms, and let "
            f"{DATA_VARIABLE} name the folder that has celeba/"
        )
    folder = found[0] / images
    wanted = _read_partition(found[0] / listing, _CELEBA_PARTS[split])
    present = set(os.listdir(folder))
    files = [folder / name for name in wanted if name in present][:limit]
    if not files:
        raise FileFormatError(f"{folder}: holds none of the {len(wanted)} images of {split!r}")
    return ImageSet(_read_images(files, "RGB", (size, size)), None, f"celeba {split}")


def _read_partition(path: Path, part: str) -> list[str]:
    with open_regular(path) as stream:
        raw = stream.read(_MAX_LIST_BYTES + 1)
    lines = raw.decode("latin1").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    bad = next((row for row in rows if len(row) != 2 or row[1] not in ("0", "1", "2")), None)
    if len(raw) > _MAX_LIST_BYTES or bad is not None:
        raise FileFormatError(
            f"{path}: each line must be the name of an image and 0, 1 or 2, found "
            f"{' '.join(bad or ['too long a file'])!r}; fetch it again"
        )
    return [name for name, in_part in rows if in_part == part]


def _load_folder(folder: Path, split: Split, size: int | None, limit: int | None) -> ImageSet:
    parts = [folder / part for part in get_args(Split)]
    if all(part.is_dir() for part in parts):
        found = {part.name: _image_files(part) for part in parts}
        chosen, everything = found[split], [file for files in found.values() for file in files]
        root = folder / split
    else:
        everything, root = _image_files(folder), folder
        chosen = [everything[row] for row in _split_rows(len(everything), split)]
    if not chosen:
        raise FileFormatError(
            f"{folder}: has no images for split {split!r}, found {len(everything)} in all; images "
            f"are files with the suffix {', '.join(sorted(_SUFFIXES))}"
        )
    classes = _class_names(everything)
    labels = [classes.index(file.parts[0]) for file in chosen[:limit]] if classes else None
    files = [root / file for file in chosen[:limit]]
    mode, shape = _common_mode_and_size(files, size)
    return ImageSet(
        _read_images(files, mode, shape),
        None if labels is None else np.array(labels, dtype=np.int64),
        f"{folder.name} {split}",
    )


def _image_files(folder: Path) -> list[Path]:
    """Paths of images relative to the folder they are in, sorted."""
    found = [
        Path(parent, name).relative_to(folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")
    ]
    return sorted(found, key=lambda path: path.as_posix())


def _class_names(files: list[Path]) -> list[str]:
    """Names of the sub-folders if each image is in exactly one; otherwise none."""
    if any(len(file.parts) != 2 for file in files):
        return []
    return sorted({file.parts[0] for file in files})


def _common_mode_and_size(files: list[Path], size: int | None) -> tuple[str, tuple[int, int]]:
    """Mode that can hold all images, and their one size as width and height."""
    is_grey, first = True, None
    for file in files:
        with _opened(file) as image:
            is_grey = is_grey and image.mode in _GREY_MODES
            first = first or image.size
            if size is None and image.size != first:
                raise FileFormatError(
                    f"{file}: images must have one size, found {_by(image.size)} here and "
                    f"{_by(first)} in {files[0]}; give image_size= (--image-size)"
                )
    return "L" if is_grey else "RGB", first if size is None and first else (size or 1, size or 1)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _read_images(files: list[Path], mode: str, size: tuple[int, int]) -> UInt8Array:
    """Images as (n, C, H, W); each cut to its middle and resized where its size is another."""
    width, height = size
    try:
        pixels = np.empty((len(files), height, width, len(mode)), dtype=np.uint8)
    except MemoryError as error:
        raise ResourceError(
            f"there is no memory for {len(files)} images of {_by(size)}; give limit= or a smaller "
            "image_size="
        ) from error
    for row, file in enumerate(files):
        with _opened(file) as image:
            converted = image.convert(mode)
            if converted.size != size:
                converted = ImageOps.fit(converted, size)
            pixels[row] = np.asarray(converted).reshape(pixels.shape[1:])
    return np.ascontiguousarray(np.moveaxis(pixels, 3, 1))


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """An image whose size and mode are read; whatever is wrong with it names the file."""
    with open_regular(file) as stream, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(stream, formats=_FORMATS) as image:
                if image.mode not in _GREY_MODES | _COLOUR_MODES:
                    raise FileFormatError(
                        f"{file}: pixels must have 8 bits a channel, found mode {image.mode}; "
                        "convert it"
                    )
                yield image
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise FileFormatError(f"{file}: is too large an image: {error}; shrink it") from error
        except FileFormatError:
            raise
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
            raise FileFormatError(
                f"{file}: cannot be read as an image: {error}; remove it or save it anew"
            ) from error
