"""Results of the stages of a long fit in a folder, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.clustering.alternate import Step
from geoquant.errors import FileFormatError, InputError
from geoquant.files import PathLike, system_errors_name
from geoquant.tensor_files import HASH_KEY, content_hash, read_safetensors, write_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

Arrays: TypeAlias = "dict[str, npt.NDArray[Any]]"

_FORMAT = "geoquant-checkpoint"
_SUFFIX = ".checkpoint.safetensors"
#: Start of the names of folders within a checkpoint, which hold those of the parts of a fit.
PART_PREFIX = "stage-"
_STEP_ARRAYS = ("centres", "energy_history", "n_rounds", "is_converged", "generator")


class Checkpoint:
    """Stages of one fit, each kept whole as soon as it is done.

    Every stage follows from its inputs and the state of the generator of random numbers, which is
    kept with it, so that a fit which goes on gives the same bits as one that was never stopped.

    Parameters
    ----------
    folder : path
        Made if it is not there. Nothing else should be kept in it.
    identity : dict
        What the fit is of: parameters, and hashes of the data; JSON can hold it.
    resume : bool, default=False
        Whether to go on from what an earlier fit left in the folder.

    Raises
    ------
    InputError
        If the folder holds a checkpoint and `resume` is false.
    ResourceError, OSError
        If the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from geoquant.checkpoint import Checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = Checkpoint(folder, {"seed": 0})
    ...     _ = first.once("ten", ["value"], lambda: {"value": np.array([10])})
    ...     again = Checkpoint(folder, {"seed": 0}, resume=True)
    ...     again.once("ten", ["value"], lambda: {"value": np.array([0])})["value"].item()
    10
    """

    def __init__(
        self, folder: PathLike, identity: Mapping[str, Any], *, resume: bool = False
    ) -> None:
        self.folder = os.fspath(folder)
        self._identity = json.loads(json.dumps(identity))
        with system_errors_name(self.folder):
            os.makedirs(self.folder, exist_ok=True)
        if _kept_files(self.folder) and not resume:
            raise InputError(
                f"the folder {self.folder!r} holds the checkpoint of a fit that was stopped; go on "
                "from it with resume=True (--resume), or remove it"
            )

    def once(self, stage: str, names: Collection[str], make: Callable[[], Arrays]) -> Arrays:
        """What a stage gives: as it was kept, or made now and kept.

        Parameters
        ----------
        stage : str
            Its name, fit for the name of a file.
        names : collection of str
            Those of the arrays that it gives.
        make : callable
            Gives the arrays by their names.

        Returns
        -------
        dict of ndarray

        Raises
        ------
        InputError
            If what was kept is of other data or parameters.
        FileFormatError
            If it is damaged.
        ResourceError, OSError
            If it cannot be written.
        """
        path = os.path.join(self.folder, stage + _SUFFIX)
        if os.path.exists(path):
            arrays = self._read(path)
            if set(arrays) != set(names):
                raise _damaged(path)
            return arrays
        arrays = make()
        texts = {"format": _FORMAT, "identity": json.dumps(self._identity, sort_keys=True)}
        write_safetensors(path, arrays, texts | {HASH_KEY: content_hash(arrays, texts)})
        return arrays

    def step(self, stage: str, generator: np.random.Generator, make: Callable[[], Step]) -> Step:
        """A step of a clustering; the generator is left as making the step leaves it."""

        def as_arrays() -> Arrays:
            step = make()
            return {
                "centres": step.centres,
                "energy_history": np.array(step.energy_history),
                "n_rounds": np.array(step.n_rounds),
                "is_converged": np.array(step.is_converged),
                "generator": _state_bytes(generator),
            }

        kept = self.once(stage, _STEP_ARRAYS, as_arrays)
        try:
            generator.bit_generator.state = json.loads(kept["generator"].tobytes())
            return Step(
                kept["centres"],
                kept["energy_history"].tolist(),
                int(kept["n_rounds"]),
                bool(kept["is_converged"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise _damaged(os.path.join(self.folder, stage + _SUFFIX)) from error

    def _read(self, path: str) -> Arrays:
        try:
            arrays, texts = read_safetensors(path, canonical=True)
        except FileFormatError as error:  # its cure is that of files with a source
            raise _damaged(path) from error
        if texts.get("format") != _FORMAT or texts.get(HASH_KEY) != content_hash(arrays, texts):
            raise _damaged(path)
        found = _identity_in(texts, path)
        for name in sorted(self._identity.keys() | found.keys()):
            if found.get(name) != self._identity.get(name):
                raise InputError(
                    f"the checkpoint in {self.folder!r} is of a fit with {name} = "
                    f"{found.get(name)!r}, found {self._identity.get(name)!r}; give that, or "
                    "remove the checkpoint to begin anew"
                )
        return arrays


def remove_checkpoint(folder: PathLike) -> None:
    """Remove what fits kept in a folder, and the folder if nothing else is in it.

    Parameters
    ----------
    folder : path
        What was given as ``checkpoint``; nothing happens if it is not there.

    Raises
    ------
    OSError
        If something cannot be removed.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from geoquant.checkpoint import Checkpoint, remove_checkpoint
    >>> folder = os.path.join(tempfile.mkdtemp(), "kept")
    >>> _ = Checkpoint(folder, {}).once("ten", ["value"], lambda: {"value": np.array([10])})
    >>> remove_checkpoint(folder)
    >>> os.path.exists(folder)
    False
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        return
    for name in _kept_files(folder):
        os.unlink(os.path.join(folder, name))
    for name in os.listdir(folder):
        if name.startswith(PART_PREFIX):
            remove_checkpoint(os.path.join(folder, name))
    if not os.listdir(folder):
        os.rmdir(folder)


def _kept_files(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(_SUFFIX)]


def _identity_in(texts: Mapping[str, str], path: str) -> dict[str, Any]:
    try:
        found = json.loads(texts["identity"])
    except (LookupError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _damaged(path: str) -> FileFormatError:
    return FileFormatError(
        f"{path}: is no checkpoint of geoquant, or damaged; remove it to do its stage anew"
    )


def array_hash(array: npt.NDArray[Any] | None) -> str:
    """SHA-256 of an array's values, dtype and shape, for the identity of a fit.

    Parameters
    ----------
    array : ndarray or None

    Returns
    -------
    str
        Hexadecimal digits; "none" for None.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.checkpoint import array_hash
    >>> array_hash(np.zeros(2)) == array_hash(np.zeros(4)[::2])
    True
    """
    return "none" if array is None else content_hash({"array": array}, {})


def _state_bytes(generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """State of a generator, as bytes of JSON."""
    text = json.dumps(generator.bit_generator.state, default=lambda array: array.tolist())
    return np.frombuffer(text.encode(), np.uint8).copy()
