"""Files at addresses such as ``s3://bucket/part-1.npy``, read through fsspec."""

from __future__ import annotations

import io
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geoquant.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A path of pathlib has lost one of the slashes; one letter is a drive.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(/?)(.*)", re.DOTALL)
_VERSIONS = ("ETag", "etag", "LastModified", "mtime", "created")


def url_of(path: str | os.PathLike[str]) -> str | None:
    """The address that a path is, if it is one.

    Parameters
    ----------
    path : str or PathLike
        A path that exists is none, whatever is in its name.

    Returns
    -------
    str or None
        With both slashes, where pathlib has taken one for superfluous.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> from geoquant.urls import url_of
    >>> url_of("s3://bucket/part-1.npy"), url_of(PurePosixPath("file:///part-1.npy"))
    ('s3://bucket/part-1.npy', 'file:///part-1.npy')
    >>> url_of("folder/part-1.npy") is None
    True
    """
    whole = os.fspath(path)
    found = _ADDRESS.fullmatch(whole) if isinstance(whole, str) else None
    if found is None or os.path.lexists(whole):
        return None
    scheme, slash, rest = found.groups()
    if scheme in ("file", "local") and not slash:
        rest = "/" + rest
    return f"{scheme}://{rest}"


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an address.

    Examples
    --------
    >>> from geoquant.urls import is_url
    >>> is_url("memory://part-1.npy"), is_url("part-1.npy")
    (True, False)
    """
    return url_of(path) is not None


def file_system(url: str) -> tuple[Any, str]:
    """What reads an address, and what it calls the file there.

    Parameters
    ----------
    url : str
        As `url_of` gives it.

    Returns
    -------
    file_system : fsspec.AbstractFileSystem
    path : str

    Raises
    ------
    FileFormatError
        If there are no such addresses.
    ImportError
        If fsspec, or the library of such addresses, is not installed.

    Examples
    --------
    >>> from geoquant.urls import file_system
    >>> file_system("nosuch://part-1.npy")  # doctest: +SKIP
    Traceback (most recent call last):
        ...
    geoquant.errors.FileFormatError: nosuch://part-1.npy: cannot be opened: Protocol not known: ...
    """
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            f"{url}: addresses are read with fsspec, which is not installed; install it with: pip "
            "install 'geoquant[distributed]'"
        ) from error
    try:
        system, path = url_to_fs(url)
    except ImportError as error:  # of s3fs, gcsfs, ...
        raise ImportError(f"{url}: {error}") from error
    except Exception as error:  # libraries of stores raise all kinds
        raise _not_opened(url, error) from error
    return system, path


def _not_opened(url: str, error: Exception) -> FileFormatError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return FileFormatError(
        f"{url}: cannot be opened: {said}; see that the address is right and may be read, or copy "
        "the file here"
    )


@contextmanager
def open_url(url: str) -> Iterator[io.BufferedReader]:
    """Open the file at an address; of what is not read, little is fetched.

    Parameters
    ----------
    url : str
        As `url_of` gives it.

    Yields
    ------
    io.BufferedReader
        At its start, seekable.

    Raises
    ------
    FileFormatError, ImportError
        As `file_system`, or if there is no such file.

    Examples
    --------
    >>> from geoquant.urls import open_url
    >>> with open_url("memory://nowhere.npy") as stream:  # doctest: +SKIP
    ...     stream.read()
    Traceback (most recent call last):
        ...
    geoquant.errors.FileFormatError: memory://nowhere.npy: no such file
    """
    system, path = file_system(url)
    try:
        stream = system.open(path, "rb")
    except FileNotFoundError as error:
        raise FileFormatError(f"{url}: no such file") from error
    except Exception as error:
        raise _not_opened(url, error) from error
    with io.BufferedReader(stream) as buffered:
        yield buffered


def names_at(url: str) -> list[str]:
    """Names of what is in the folder at an address.

    Parameters
    ----------
    url : str
        As `url_of` gives it.

    Returns
    -------
    list of str
        In no order.

    Raises
    ------
    FileFormatError, ImportError
        As `open_url`.
    """
    system, path = file_system(url)
    try:
        found = system.ls(path, detail=False)
    except FileNotFoundError as error:
        raise FileFormatError(f"{url}: no such file or folder") from error
    except Exception as error:
        raise _not_opened(url, error) from error
    names = {name.rstrip("/").rpartition("/")[2] for name in found if name != path}
    return [name for name in names if name]


def bytes_at(url: str, most: int) -> bytes | None:
    """The first bytes of a file at an address.

    Parameters
    ----------
    url : str
        As `url_of` gives it.
    most : int
        How many.

    Returns
    -------
    bytes or None
        None if there is no such file.

    Raises
    ------
    FileFormatError, ImportError
        As `file_system`.
    """
    system, path = file_system(url)
    try:
        content: bytes = system.cat_file(path, 0, most)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except Exception as error:
        raise _not_opened(url, error) from error
    return content


def outline_at(url: str) -> dict[str, Any]:
    """What tells a file at an address from what it was before.

    Parameters
    ----------
    url : str
        As `url_of` gives it.

    Returns
    -------
    dict
        Its bytes, and what its store says of the version; empty for a folder.

    Raises
    ------
    FileFormatError, ImportError
        As `file_system`.
    """
    system, path = file_system(url)
    try:
        found = system.info(path)
    except Exception as error:
        raise _not_opened(url, error) from error
    if found.get("type") != "file":
        return {}
    version = next((str(found[name]) for name in _VERSIONS if found.get(name)), "")
    return {"bytes": found.get("size"), "version": version}
