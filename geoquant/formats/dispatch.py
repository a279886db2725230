"""Which reader a file or folder is given to."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, cast

from geoquant.errors import FileFormatError
from geoquant.formats.npy import open_npy
from geoquant.formats.npz import open_npz
from geoquant.formats.safetensors_file import open_safetensors
from geoquant.urls import is_url, url_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from geoquant.formats.stored import PathLike, Stored

    Opener = Callable[[PathLike, str | None], AbstractContextManager[Stored]]

#: The function that opens files of a suffix; those of optional libraries are imported on use.
_OPENERS: dict[str, str] = {
    ".parquet": "parquet.open_parquet",
    ".pq": "parquet.open_parquet",
    ".arrow": "arrow_ipc.open_arrow",
    ".feather": "arrow_ipc.open_arrow",
    ".ipc": "arrow_ipc.open_arrow",
    ".h5": "hdf5.open_hdf5",
    ".hdf5": "hdf5.open_hdf5",
    ".zarr": "zarr_store.open_zarr",
    ".zarr.zip": "zarr_store.open_zarr",
    ".pt": "torch_file.open_torch",
    ".pth": "torch_file.open_torch",
}
_ALWAYS: dict[str, Opener] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".safetensors": open_safetensors,
}
_CODE_SUFFIXES = (".pkl", ".pickle", ".ckpt", ".bin", ".joblib")
_INNER = "::"
_LOCAL_ONLY = (".h5", ".hdf5", ".pt", ".pth")
#: Files by which folders of two formats are known, whatever their name.
_ZARR_STORE = {"zarr.json", ".zarray", ".zgroup"}
_DATASET = {"state.json", "dataset_dict.json"}
_STORES = _ZARR_STORE | _DATASET


def known_suffix(name: str) -> str | None:
    """The suffix of a name that says which reader takes the file, if one does.

    Examples
    --------
    >>> from geoquant.formats.dispatch import known_suffix
    >>> known_suffix("a.b.NPY"), known_suffix("a.zarr.zip"), known_suffix("a.csv")
    ('.npy', '.zarr.zip', None)
    """
    found = [suffix for suffix in (*_ALWAYS, *_OPENERS) if name.lower().endswith(suffix)]
    return found[0] if found else None


def located(path: PathLike, key: str | None = None) -> tuple[str, str | None]:
    """File and key of a path that may name both, as ``file.h5::/train/z`` does.

    Parameters
    ----------
    path : str or PathLike
        A path that exists is that of the file, whatever is in its name; or an address.
    key : str, optional
        Must be left out where the path names the array.

    Returns
    -------
    file : str
    key : str or None

    Raises
    ------
    FileFormatError
        If path and key both name an array.

    Examples
    --------
    >>> from geoquant.formats.dispatch import located
    >>> located("latents.h5::/train/z"), located("latents.h5", "z")
    (('latents.h5', '/train/z'), ('latents.h5', 'z'))
    """
    whole = url_of(path) or os.fspath(path)
    file, sign, inner = whole.partition(_INNER)
    if not sign or os.path.lexists(whole):
        return whole, key
    if key is not None:
        raise FileFormatError(
            f"{whole}: names an array, and so does key={key!r}; leave one of them out"
        )
    return file, inner or None


def open_array(path: PathLike, key: str | None = None) -> AbstractContextManager[Stored]:
    """Open an array in a file or folder of any known format.

    Parameters
    ----------
    path, key
        As for :func:`geoquant.latents.read_latents`.

    Returns
    -------
    context manager of Stored
        What is known from headers; the array is read within the block.

    Raises
    ------
    FileFormatError, ResourceError, ImportError
        As :func:`geoquant.latents.read_latents`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.formats.dispatch import open_array
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_npy(pathlib.Path(folder, "part-1.npy"), np.zeros((3, 2)))
    ...     write_npy(pathlib.Path(folder, "part-2.npy"), np.ones((2, 2)))
    ...     with open_array(folder) as stored:
    ...         stored.shape
    (5, 2)
    """
    file, key = located(path, key)
    suffix = known_suffix(os.path.basename(os.path.normpath(file)))
    if suffix in _LOCAL_ONLY and is_url(file):
        raise FileFormatError(f"{file}: files {suffix} are not read at addresses; copy it here")
    if suffix is not None:
        return opener(suffix)(file, key)
    if os.path.isdir(file):
        return _open_folder(file, key)
    if is_folder_of_shards(file):
        return _imported("shards.open_shards", "shards")(file, key)
    if is_manifest(file):
        return _imported("shards.open_manifest", "manifests")(file, key)
    raise _unknown(file)


def is_manifest(path: PathLike) -> bool:
    """Whether a file is a list of shards, as its suffix says.

    Examples
    --------
    >>> from geoquant.formats.dispatch import is_manifest
    >>> is_manifest("nowhere.json")
    False
    """
    has_suffix = os.fspath(path).lower().endswith((".json", ".txt"))
    return has_suffix and (os.path.isfile(path) or is_url(path))


def is_folder_of_shards(path: PathLike) -> bool:
    """Whether a path is a folder, and not a store in one of the formats that are folders.

    An address whose suffix says nothing is taken for one.

    Examples
    --------
    >>> from geoquant.formats.dispatch import is_folder_of_shards
    >>> is_folder_of_shards("latents.npy")
    False
    """
    name = os.path.basename(os.path.normpath(path))
    if is_url(path):
        return known_suffix(name) is None and not is_manifest(path)
    if not os.path.isdir(path) or known_suffix(name) is not None:
        return False
    return not _STORES & set(os.listdir(path))


def opener(suffix: str) -> Opener:
    """The reader of a known suffix.

    Examples
    --------
    >>> from geoquant.formats.dispatch import opener
    >>> opener(".npz").__name__
    'open_npz'
    """
    if suffix in _ALWAYS:
        return _ALWAYS[suffix]
    return _imported(_OPENERS[suffix], suffix)


def _imported(place: str, kind: str) -> Opener:
    """A reader by module and name, or the error that says how to install its library."""
    module, _, function = place.partition(".")
    try:
        return cast("Opener", getattr(import_module(f"geoquant.formats.{module}"), function))
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "geoquant"):
            raise
        extra = "torch" if library == "torch" else "io"
        raise ImportError(
            f"geoquant.formats reads {kind} with {library}, which is not installed; "
            f"install it with: pip install 'geoquant[{extra}]'"
        ) from error


def _open_folder(folder: str, key: str | None) -> AbstractContextManager[Stored]:
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        raise FileFormatError(f"{folder}: cannot be read: {error.strerror}") from error
    if names & _ZARR_STORE:
        return opener(".zarr")(folder, key)
    if names & _DATASET:
        return _imported("dataset_folder.open_dataset", "datasets")(folder, key)
    return _imported("shards.open_shards", "shards")(folder, key)


def _unknown(file: str) -> FileFormatError:
    suffix = os.path.splitext(file)[1].lower()
    cure = "save them with numpy.save(path, latents)"
    if suffix in _CODE_SUFFIXES:
        cure = "such files can run code when opened; load it where you trust it and "
        cure += "numpy.save(path, tensor.detach().cpu().float().numpy())"
    elif not os.path.lexists(file):
        return FileFormatError(f"{file}: no such file or folder")
    known = ", ".join((*_ALWAYS, *_OPENERS))
    return FileFormatError(
        f"{file}: latents are read from files {known} and folders of them, found suffix "
        f"{suffix!r}; {cure}"
    )
