"""Saves, fits and loads in which the n-th system call of a kind fails, with tests/faults.c loaded.

``python -m tests.failing_files FOLDER SHARE`` fails that share of the calls that each of `WORKS`
makes on files in the folder, and prints figures as JSON.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from geoquant.cli import main
from geoquant.errors import FileFormatError, ResourceError
from geoquant.files import npy_blocks, write_npy, write_together
from geoquant.tensor_files import write_safetensors
from tests.faults import END, HALF, Calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
#: Calls on files, and how each is made to fail.
FAILURES: dict[str, tuple[int, ...]] = {
    "write": (*DISK_FULL, errno.EIO, errno.EINTR, HALF),
    "read": (errno.EIO, errno.EINTR, errno.ESTALE, HALF, END),
    "open64": (*DISK_FULL, errno.EIO, errno.EINTR, errno.EMFILE, errno.EACCES),
    "mmap64": (errno.EIO, errno.ENOMEM),
    "fsync": (*DISK_FULL, errno.EIO, errno.EINTR),
    "close": (*DISK_FULL, errno.EIO, errno.EINTR),
    "rename": (*DISK_FULL, errno.EIO, errno.EINTR),
    "mkdir": (*DISK_FULL, errno.EIO),
    **dict.fromkeys(
        ("unlink", "rmdir", "opendir", "stat64", "lstat64", "fstat64", "lseek64"), (errno.EIO,)
    ),
}
#: Nothing was written if one of these fails, so success must not be told; unless Python may ask
#: again, or goes on with the rest.
ESSENTIAL, HARMLESS = ("write", "fsync", "rename"), (errno.EINTR, HALF)
#: What may fail once, and what may fail from some moment on, as where a disk is full.
LASTING = (*ESSENTIAL, "open64", "close", "read")
X = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
#: More than a buffer of a stream holds, so that they are read in parts.
MANY = np.random.default_rng(1).normal(size=(3_000, 2)).astype(np.float32)
OLD, NEW = (gq.fit_codebook(X, k, random_state=0, n_jobs=1) for k in (3, 4))


def blocks_of(fitted: gq.FittedCodebook) -> tuple[bytes, bytes]:
    """What the files of a codebook and of its codes hold."""
    return b"".join(map(bytes, fitted.codebook.file_blocks())), b"".join(
        map(bytes, npy_blocks(fitted.codes))
    )


class Wrong(Exception):
    """What a failure has led to, if it is not what it may lead to."""


class Save:
    """A codebook and codes, over older ones."""

    def __init__(self, folder: Path) -> None:
        self.paths = folder / "a.codebook.safetensors", folder / "a.codes.npy"
        self.old, self.new = blocks_of(OLD), blocks_of(NEW)

    def prepare(self) -> None:
        """The older ones."""
        for path, content in zip(self.paths, self.old, strict=True):
            path.write_bytes(content)

    def run(self) -> None:
        """One save."""
        write_together(dict(zip(self.paths, self.new, strict=True)))

    def check(self, error: BaseException | None, code: int) -> None:
        """Both are whole, and new if there was no error; nothing else is there."""
        found = tuple(path.read_bytes() for path in self.paths)
        if any(have not in pair for have, *pair in zip(found, self.old, self.new, strict=True)):
            raise Wrong("a file is torn")
        if error is None and found != self.new:
            raise Wrong("success was told, and the files are not the new ones")
        require_only(self.paths)
        require_written(error, code)


class Fit:
    """A fit with a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkpoint"
        self.expected = blocks_of(NEW)

    def prepare(self) -> None:
        """No checkpoint."""

    def run(self) -> None:
        """One fit."""
        self.require_equal(self.fitted())

    def fitted(self) -> gq.FittedCodebook:
        """What comes of a fit that goes on where it was, if it was anywhere."""
        return gq.fit_codebook(X, 4, random_state=0, n_jobs=1, checkpoint=self.folder, resume=True)

    def require_equal(self, fitted: gq.FittedCodebook) -> None:
        """It is, bit for bit, what a fit without failures gives."""
        if blocks_of(fitted) != self.expected:
            raise Wrong("another result")

    def check(self, error: BaseException | None, code: int) -> None:
        """Nothing that is not whole is kept, and the fit can go on from it."""
        if self.folder.is_dir():
            require_only(list(self.folder.glob("*.checkpoint.safetensors")))
        self.require_equal(self.fitted())
        if self.folder.exists():
            raise Wrong("the checkpoint is still there")
        require_written(error, code)


class Load:
    """A codebook and latents, from each kind of file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected = [*blocks_of(NEW)[:1], *[MANY.tobytes()] * 3]

    def prepare(self) -> None:
        """The files."""
        NEW.codebook.save(self.folder / "a.safetensors")
        write_npy(self.folder / "a.npy", MANY)
        np.savez(self.folder / "a.npz", x=MANY)
        write_safetensors(self.folder / "x.safetensors", {"x": MANY}, {})

    def run(self) -> None:
        """One load of each."""
        book = gq.Codebook.load(self.folder / "a.safetensors")
        names = ("a.npy", "a.npz", "x.safetensors")
        latents = [gq.read_latents(self.folder / name).tobytes() for name in names]
        if [b"".join(map(bytes, book.file_blocks())), *latents] != self.expected:
            raise Wrong("other content")

    def check(self, error: BaseException | None, code: int) -> None:
        """The errors of a reader only."""
        kind = ResourceError if code == errno.ENOMEM else FileFormatError
        if error is not None and not isinstance(error, kind):
            raise Wrong(f"{kind.__name__} was expected")


class Command:
    """``geoquant fit`` with a checkpoint, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.save = Save(folder)
        self.latents = folder.with_name("latents.npy")
        self.said = folder.with_name("said")
        self.checkpoint = folder / "checkpoint"
        write_npy(self.latents, X)

    def prepare(self) -> None:
        """Older files, and no checkpoint."""
        self.save.prepare()
        for file in self.checkpoint.glob("*"):
            file.unlink()

    def run(self) -> None:
        """One command; its exit code becomes the error."""
        words = ["fit", self.latents, "-k", 4, "--n-jobs", 1, "--checkpoint", self.checkpoint]
        child = os.fork()
        if child == 0:
            os.dup2(os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            os.dup2(2, 1)
            try:
                main([*map(str, words), "--quiet", "--output", str(self.save.paths[0])])
            except SystemExit as end:
                os._exit(int(end.code or 0))
            finally:
                os._exit(99)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise SystemExit(code)

    def check(self, error: BaseException | None, code: int) -> None:
        """Exit code 4 and one line, with whole files; or 0, with the new ones."""
        found = tuple(path.read_bytes() for path in self.save.paths)
        pairs = zip(found, self.save.old, strict=True)
        said = self.said.read_text()
        if error is None:
            gq.load_codebook(self.save.paths[0])
            if any(have == old for have, old in pairs) or found[1] != self.save.new[1]:
                raise Wrong("success was told, and the files are not the new ones")
        elif error.args != (4,) or said.count("\n") != 1 or not said.startswith("Error: "):
            raise Wrong(f"exit code {error.args} after {said!r}")
        kept = [self.checkpoint] if self.checkpoint.exists() else []
        require_only([*self.save.paths, *kept])


WORKS = {"save": Save, "checkpointed fit": Fit, "load": Load, "command": Command}


def require_only(paths: Any) -> None:
    """Nothing else is where these are."""
    for folder in {path.parent for path in paths}:
        left = set(folder.iterdir()) - set(paths)
        if left:
            raise Wrong(f"{sorted(left)} was left behind")


def require_written(error: BaseException | None, code: int) -> None:
    """The errors of a writer only."""
    kind = ResourceError if code in DISK_FULL else OSError
    if error is not None and not isinstance(error, kind):
        raise Wrong(f"{kind.__name__} was expected")
    if isinstance(error, OSError) and not error.filename:
        raise Wrong("the error names no file")


def points(work: Any, calls: Calls) -> Iterator[tuple[str, int, int, int]]:
    """Every call of every kind that the work makes, with every way to fail, once or for good."""
    for name, codes in FAILURES.items():
        work.prepare()
        calls.failing(name, 0, 0, 0)
        work.run()
        n_made = calls.n_counted()
        for at, code in itertools.product(range(1, n_made + 1), codes):
            yield name, at, at, code
            if name in LASTING and code not in HARMLESS:
                yield name, at, sys.maxsize, code


def tried(work: Any, calls: Calls, name: str, first: int, last: int, code: int) -> tuple[bool, str]:
    """Whether a failure was an error, and what is wrong after it, if anything is."""
    work.prepare()
    n_open = len(os.listdir("/proc/self/fd"))
    error: BaseException | None = None
    calls.failing(name, first, last, code)
    try:
        work.run()
    except (Exception, SystemExit) as caught:  # whatever it is, the check judges it
        error = caught.with_traceback(None)
    calls.failing(name, 0, 0, 0)
    try:
        if isinstance(error, Wrong):
            raise error
        if error is None and name in ESSENTIAL and code not in HARMLESS:
            raise Wrong("success was told")
        work.check(error, code)
        if len(os.listdir("/proc/self/fd")) != n_open:
            raise Wrong("a descriptor is still open")
    except Exception as wrong:
        return True, f"{name} {first} to {last} {code}: {error!r}: {wrong!r}"
    return error is not None, ""


def campaign(folder: Path, make: Callable[[Path], Any], share: float) -> dict[str, Any]:
    """Try that share of the points of one work."""
    folder.mkdir(parents=True)
    work, calls = make(folder), Calls(folder)
    every = list(points(work, calls))
    step = max(1, round(1 / share))
    found = [tried(work, calls, *point) for point in itertools.islice(every, 0, None, step)]
    unclean = [wrong for _, wrong in found if wrong]
    return {"points": len(found), "errors": sum(e for e, _ in found), "unclean": unclean}


if __name__ == "__main__":
    figures = {
        name: campaign(Path(sys.argv[1], name.replace(" ", "-"), "out"), make, float(sys.argv[2]))
        for name, make in WORKS.items()
    }
    print(json.dumps(figures))
