"""Files and names that no command should choke on: an exit code, one line, nothing left behind."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant.cli.progress_bar import ProgressBar
from geoquant.formats import npy
from tests.cli.conftest import assert_one_line_error, assert_usage_error, blobs, contents

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
BOOK = "latents.codebook.safetensors"


def sparse_npy(path: Path) -> None:
    """A header, and a terabyte of holes."""
    header = str({"descr": "<f4", "fortran_order": False, "shape": (1 << 36, 4)}).encode()
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    try:
        os.truncate(path, 10 + len(header) + (1 << 40))
    except OSError:
        pytest.skip("the file system has no room for holes")


FILES: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": os.mkdir,
    "loop of links": lambda path: path.symlink_to(path),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "empty": lambda path: path.write_bytes(b""),
    "CSV": lambda path: path.write_text("1.0,2.0\n3.0,4.0\n"),
    "UTF-16": lambda path: path.write_text("1.0,2.0\n", encoding="utf-16"),
    "pickle": lambda path: path.write_bytes(pickle.dumps(blobs())),
    "archive of a model": lambda path: zipfile.ZipFile(path, "w").writestr("data.pkl", b"\x80"),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "letters": lambda path: path.write_bytes(b"{" * 4096),
}


@pytest.mark.skipif(os.name == "nt", reason="needs pipes, devices and links")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_file_of_latents(run: Run, folder: Path, kind: str, suffix: str) -> None:
    """Exit code 3, one line with the name, and no other file, whatever the suffix says."""
    FILES[kind](folder / f"bad{suffix}")
    assert_one_line_error(run("fit", f"bad{suffix}", "-k", 2), 3, f"bad{suffix}")
    assert os.listdir(folder) == [f"bad{suffix}"]


@pytest.mark.skipif(os.name == "nt", reason="needs pipes, devices and links")
@pytest.mark.usefixtures("latents")
@pytest.mark.parametrize("command", [["assign", "latents.npy", "--codebook"], ["inspect"]])
@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_codebook(run: Run, folder: Path, kind: str, command: list[str]) -> None:
    """The same where a codebook is asked for."""
    FILES[kind](folder / "bad")
    assert_one_line_error(run(*command, "bad"), 3, "bad")
    assert sorted(os.listdir(folder)) == ["bad", "latents.npy"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what is free")
@pytest.mark.parametrize("command", ["fit", "assign"])
def test_a_terabyte_of_holes(run: Run, folder: Path, latents: Path, command: str) -> None:
    """A file that is as large as it says but fits no memory is refused unread, with exit code 4."""
    run("fit", latents, "-k", 3, "-q")
    sparse_npy(folder / "large.npy")
    more = ["-k", 3] if command == "fit" else ["--codebook", BOOK]
    assert_one_line_error(run(command, "large.npy", *more), 4, "needs about", "of memory")


def test_latents_cut_short_while_they_are_read(
    run: Run, latents: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody truncates the file after its header was checked: exit code 3, not SIGBUS."""
    large = np.zeros((50_000, 2), np.float32)
    np.save(latents, large)
    read_header = npy.read_npy_header
    n_calls = 0

    def read_and_cut(*arguments: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        header = read_header(*arguments)
        if n_calls > 1:  # the first is for the memory that it takes
            os.truncate(latents, 8192)
        return header

    monkeypatch.setattr(npy, "read_npy_header", read_and_cut)
    assert_one_line_error(run("fit", latents, "-k", 2), 3, "latents.npy", "cut short")
    assert set(contents(folder)) == {"latents.npy"}


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name", ["two\nlines.npy", "\x1b[31mred.npy", "ü.npy", os.fsdecode(b"\xff.npy")], ids=ascii
)
def test_unusual_names(run: Run, folder: Path, name: str) -> None:
    """Any name that the system takes is read, and an error with it is one printable line."""
    missing = run("fit", name, "-k", 2)
    assert_one_line_error(missing, 3, "no such file")
    assert missing.err[:-1].isprintable()
    try:
        np.save(folder / name, blobs())
    except OSError:
        pytest.skip("the file system takes no such name")
    assert run("fit", name, "-k", 3, "-q").exit_code == 0
    assert len(os.listdir(folder)) == 3


@pytest.mark.parametrize("output", ["b" * 256, "b" * 250])
def test_names_too_long(run: Run, latents: Path, folder: Path, output: str) -> None:
    """A codebook or codes of a name that the system does not take: exit code 4, nothing written."""
    assert_one_line_error(run("fit", latents, "-k", 3, "-o", output), 4, "b" * 250)
    assert set(contents(folder)) == {"latents.npy"}


@pytest.mark.parametrize("command", ["fit", "assign"])
def test_no_name_at_all(run: Run, latents: Path, command: str) -> None:
    """An empty -o, as from a variable that is not set, is a wrong argument."""
    run("fit", latents, "-k", 3, "-q")
    more = ["-k", 3] if command == "fit" else ["--codebook", BOOK]
    assert_usage_error(run(command, latents, *more, "-o", ""), "--output", "name is missing")


@pytest.mark.skipif(os.name == "nt", reason="needs links and devices")
def test_outputs_that_are_no_files(run: Run, latents: Path, folder: Path) -> None:
    """A loop of links, a device and a link into a folder that is gone: exit code 4, the name."""
    (folder / "loop").symlink_to("loop")
    (folder / "lost").symlink_to("nowhere/book")
    for output in ("loop", "lost", "/dev/full"):
        assert_one_line_error(run("fit", latents, "-k", 3, "-o", output), 4, output)
    assert sorted(os.listdir(folder)) == ["latents.npy", "loop", "lost"]


def test_output_that_is_another_name_of_the_input(run: Run, latents: Path, folder: Path) -> None:
    """A link to the latents is refused; a hard link is another file once it is written."""
    before = latents.read_bytes()
    (folder / "link").symlink_to("latents.npy")
    assert_usage_error(run("fit", latents, "-k", 3, "-o", "link"), "link")
    os.link(latents, folder / "hard")
    assert run("fit", latents, "-k", 3, "-o", "hard", "-q").exit_code == 0
    assert latents.read_bytes() == before


# ----------------------------------------------------------------------------------------- signals


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("name", "exit_code", "word"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"), ("SIGHUP", 129, "hung up")],
)
def test_signals_end_a_fit(
    run: Run,
    latents: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    exit_code: int,
    word: str,
) -> None:
    """The exit code is the signal's, one line says so, and no file is touched."""
    run("fit", latents, "-k", 3, "-q")
    before = contents(folder)
    handler = signal.getsignal(getattr(signal, name))
    monkeypatch.setattr(
        ProgressBar, "__call__", lambda *_: signal.raise_signal(getattr(signal, name))
    )
    outcome = run("fit", latents, "-k", 2)
    assert outcome == (exit_code, "", f"\nError: {word}; nothing was written\n")
    assert contents(folder) == before
    assert signal.getsignal(getattr(signal, name)) == handler


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ignored_hang_up_stays_ignored(
    run: Run, latents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under nohup a fit goes on when its terminal is gone."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(ProgressBar, "__call__", lambda *_: signal.raise_signal(signal.SIGHUP))
    try:
        assert run("fit", latents, "-k", 3, "-q").exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("home", [None, "nowhere"])
def test_no_home(run: Run, latents: Path, folder: Path, home: str | None) -> None:
    """Without a home, or with one that is not there, a fit writes the same bytes."""
    run("fit", latents, "-k", 3, "-q")
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    if home is not None:
        environment["HOME"] = str(folder / home)
    command = ["fit", "latents.npy", "-k", "3", "-q", "-o", "again.codebook.safetensors"]
    done = subprocess.run(
        [sys.executable, "-m", "geoquant", *command],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0
    assert (folder / BOOK).read_bytes() == (folder / command[-1]).read_bytes()
    assert not (folder / "nowhere").exists()
