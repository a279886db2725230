"""The one family of errors; each is also the built-in error that callers expect."""

from __future__ import annotations


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
