"""The folder that all workers see, where tasks leave what is too large to be returned."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoquant.errors import FileFormatError, ResourceError
from geoquant.files import npy_blocks, write_scratch
from geoquant.latents import read_latents


@dataclass(frozen=True)
class Scratch:
    """A folder of arrays by name, each written whole or not at all.

    Parameters
    ----------
    folder : str
        Exists already.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from geoquant.distributed.scratch import Scratch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scratch = Scratch(folder)
    ...     scratch.save("ten", np.arange(10))
    ...     int(scratch.load("ten")[-1])
    9
    """

    folder: str

    def path(self, name: str) -> str:
        """Where the array of that name is, or would be."""
        return os.path.join(self.folder, name + ".npy")

    def save(self, name: str, array: npt.NDArray[Any]) -> None:
        """Write an array."""
        try:
            write_scratch(self.path(name), npy_blocks(array))
        except ResourceError as error:
            raise ResourceError(
                f"{error}; it is the scratch folder of the run: --scratch names another"
            ) from error

    def load(self, name: str) -> npt.NDArray[Any]:
        """Map an array that was written."""
        try:
            return read_latents(self.path(name))
        except FileFormatError as error:
            raise FileFormatError(
                f"{error}; all workers must see the scratch folder {self.folder}, and nothing else "
                "may change it"
            ) from None

    def copy_of(self, name: str) -> npt.NDArray[Any]:
        """Read an array that was written."""
        return np.array(self.load(name))

    def remove(self, name: str) -> None:
        """Remove an array, if it is there."""
        with suppress(FileNotFoundError):
            os.remove(self.path(name))
