"""The one family of errors; each is also the built-in error that callers expect."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class GeoquantError(Exception):
    """Base of every error that geoquant raises on purpose."""


class InputError(GeoquantError, ValueError):
    """An argument or array cannot be used; the message names it, what was found, and the cure."""


class NotConnectedError(InputError):
    """The graph has several components where one is needed."""


class FileFormatError(GeoquantError, ValueError):
    """A file is not what its reader requires."""


class ResourceError(GeoquantError, MemoryError):
    """Memory or disk does not suffice."""


@contextmanager
def memory_errors_typed() -> Iterator[None]:
    """Turn NumPy's errors for lack of memory into ResourceError; also a decorator.

    Examples
    --------
    >>> from geoquant.errors import memory_errors_typed
    >>> with memory_errors_typed():
    ...     raise MemoryError("Unable to allocate 8. TiB")
    Traceback (most recent call last):
        ...
    geoquant.errors.ResourceError: not enough memory: Unable to allocate 8. TiB; give fewer ...
    """
    try:
        yield
    except ResourceError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"not enough memory: {error}; give fewer latents, or free some memory"
        ) from error
