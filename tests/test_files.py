"""The atomic writer under every failure, and the strict reader under every malformed header."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load as load_elsewhere
from safetensors.numpy import save as save_elsewhere

from geoquant import files
from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.files import (
    byte_count,
    open_regular,
    read_json_object,
    write_atomically,
    write_folder,
    write_npy,
    write_scratch,
)
from geoquant.tensor_files import (
    content_hash,
    read_safetensors,
    safetensors_outlines,
    write_safetensors,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, NEW = b"the old content", b"the new content, of another length"

#: Kills the process at the n-th call of one system call of the writer.
KILLED = """
import os, signal, sys
from geoquant.files import write_atomically
name, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
original = getattr(os, name)
def kill(*arguments):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(os, name, kill)
write_atomically(path, [b"the new content", b", of another length"])
"""

LIMITED = """
import resource, sys
from geoquant.files import write_atomically
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
try:
    write_atomically(sys.argv[1], bytes(3000))
except OSError as error:
    print(error.filename)
resource.setrlimit(resource.RLIMIT_FSIZE, before)  # for what watches the tests
"""

#: Stops in the middle of a write until its input is closed.
SLOW = """
import sys
from geoquant.files import write_atomically
def blocks():
    yield b"slow"
    print("started", flush=True)
    sys.stdin.read()
    yield b" but sure"
write_atomically(sys.argv[1], blocks())
"""


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def with_header(header: object, data: bytes = b"") -> bytes:
    """A safetensors file of any header, given as bytes or as what JSON makes of it."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(
    dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4), **more: object
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


# ---------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    "data",
    [
        NEW,
        bytearray(NEW),
        memoryview(NEW),
        memoryview(np.arange(6.0).reshape(2, 3)),
        memoryview(np.empty((0, 3))),
        [NEW[:3], b"", NEW[3:]],
        [],
        b"",
    ],
)
def test_writes_what_it_is_given(tmp_path: Path, data: Any) -> None:
    """Bytes, views and blocks arrive unchanged, and nothing else is left in the folder."""
    path = tmp_path / "out"
    path.write_bytes(OLD)
    write_atomically(path, data)
    assert path.read_bytes() == b"".join(data if isinstance(data, list) else [data])
    assert names_in(tmp_path) == ["out"]


def test_a_folder_is_made_for_its_files(tmp_path: Path) -> None:
    """It and those above it appear; what it held before stays."""
    folder = tmp_path / "above" / "folder"
    write_folder(folder, {"a": b"1", "b": [b"2", b"3"]})
    write_folder(folder, {"a": b"4"})
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == {
        "a": b"4",
        "b": b"23",
    }


def test_a_folder_of_files_that_cannot_be_written_is_gone(tmp_path: Path) -> None:
    """Content that fails half-way leaves neither file nor folder, and an older one as it was."""

    def failing() -> Any:
        yield b"1"
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        write_folder(tmp_path / "above" / "folder", {"a": b"1", "b": failing()})
    assert names_in(tmp_path) == []
    write_folder(tmp_path / "folder", {"a": OLD})
    with pytest.raises(InputError, match="no more"):
        write_folder(tmp_path / "folder", {"a": NEW, "b": failing()})
    assert names_in(tmp_path / "folder") == ["a"]
    assert (tmp_path / "folder" / "a").read_bytes() == OLD
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_folder(tmp_path / "file" / "folder", {"a": b"1"})
    assert names_in(tmp_path) == ["file", "folder"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes three bytes at a time still gets all of them."""
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", lambda to, data: write(to, data[:3]))
        write_atomically(tmp_path / "out", NEW)
    assert (tmp_path / "out").read_bytes() == NEW


def test_write_that_makes_no_progress_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that takes no bytes is not asked for ever."""
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", lambda to, data: 0)
        with pytest.raises(OSError, match="wrote nothing") as caught:
            write_atomically(tmp_path / "out", NEW)
    assert caught.value.errno == errno.EIO
    assert names_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_mode_is_that_of_an_ordinary_file(tmp_path: Path) -> None:
    """The file gets the permissions that open() would give it."""
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "out", NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    """Writing to a link replaces what it points to and keeps the link."""
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "out", tmp_path / "link"
    target.write_bytes(OLD)
    link.symlink_to(target)
    write_atomically(link, NEW)
    assert link.is_symlink()
    assert target.read_bytes() == NEW


@pytest.mark.parametrize(
    "name", ["a" * 255, "two\nlines", "ü", ".tmp", "-rf", os.fsdecode(b"\xff\xfe")], ids=ascii
)
def test_unusual_names(tmp_path: Path, name: str) -> None:
    """Every name that the file system takes can be written, the longest included."""
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("the file system takes no such name")
    write_atomically(tmp_path / name, NEW)
    assert names_in(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == NEW


def test_name_that_is_too_long(tmp_path: Path) -> None:
    """A name that the file system does not take is an OSError that has it, and nothing is left."""
    with pytest.raises(OSError, match="a" * 256):
        write_atomically(tmp_path / ("a" * 256), NEW)
    assert names_in(tmp_path) == []


def test_hard_link_is_replaced(tmp_path: Path) -> None:
    """Another name of the old file keeps the old content."""
    (tmp_path / "out").write_bytes(OLD)
    os.link(tmp_path / "out", tmp_path / "other")
    write_atomically(tmp_path / "out", NEW)
    assert (tmp_path / "out").read_bytes() == NEW
    assert (tmp_path / "other").read_bytes() == OLD


def test_link_to_nothing_is_followed(tmp_path: Path) -> None:
    """What a link points to is made if it is not there; without its folder that is an error."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", NEW)
    assert (tmp_path / "target").read_bytes() == NEW
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere" / "target")
    with pytest.raises(FileNotFoundError, match="lost"):
        write_atomically(tmp_path / "lost", NEW)


def test_loop_of_links_is_not_replaced(tmp_path: Path) -> None:
    """A link to itself stays, and the error has its name."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="loop"):
        write_atomically(tmp_path / "loop", NEW)
    assert names_in(tmp_path) == ["loop"]
    assert (tmp_path / "loop").is_symlink()


def test_mapped_file_is_replaced_under_its_readers(tmp_path: Path) -> None:
    """Who has mapped the old file goes on to see the old content, whole."""
    path = tmp_path / "out.npy"
    write_npy(path, np.arange(5000))
    mapped = np.load(path, mmap_mode="r")
    write_npy(path, np.zeros(3))
    np.testing.assert_array_equal(mapped, np.arange(5000))
    assert np.load(path).tolist() == [0, 0, 0]


#: Writes one character many times over, again and again.
WRITER = """
import sys
from geoquant.files import write_atomically
for _ in range(60):
    write_atomically(sys.argv[1], sys.argv[2].encode() * 100_000)
"""


def test_processes_that_write_one_file(tmp_path: Path) -> None:
    """Whoever looks meanwhile sees what one of them wrote, whole, and nothing is left behind."""
    path = tmp_path / "out"
    path.write_bytes(b"a" * 100_000)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "bc"
    ]
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes()
        assert (len(content), len(set(content))) == (100_000, 1)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("make", "code", "text"),
    [
        (os.mkdir, errno.EISDIR, os.strerror(errno.EISDIR)),
        (os.mkfifo, errno.EINVAL, "exists and is not a regular file"),
    ],
)
def test_what_is_no_file_is_not_replaced(tmp_path: Path, make: Any, code: int, text: str) -> None:
    """A folder or a pipe of that name stays."""
    path = tmp_path / "out"
    make(path)
    before = path.lstat().st_mode
    with pytest.raises(OSError, match="out") as caught:
        write_atomically(path, NEW)
    found = caught.value
    assert (found.errno, found.strerror, found.filename) == (code, text, str(path))
    assert path.lstat().st_mode == before


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that does not exist is an OSError with the path that was asked for."""
    path = tmp_path / "nowhere" / "out"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, NEW)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("name", ["null\0byte", "half a \ud800"])
def test_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    """It is an OSError with the path, as for every other name that the system refuses."""
    with pytest.raises(OSError, match=r"half a|null") as caught:
        write_atomically(tmp_path / name, NEW)
    assert caught.value.errno == errno.EINVAL
    assert str(caught.value.__cause__) == caught.value.strerror
    assert caught.value.filename == str(tmp_path / name)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, ResourceError),
        (errno.EDQUOT, ResourceError),
        (errno.EIO, OSError),
        (errno.EACCES, PermissionError),
        (errno.EROFS, OSError),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "replace"])
def test_any_failing_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type[Exception]
) -> None:
    """Fail the first, second, ... call until none is left: old or new is there, and no rest."""
    path = tmp_path / "out"
    original = getattr(os, call)
    for n in range(1, 10):
        path.write_bytes(OLD)
        calls = 0

        def fail(*arguments: Any, at: int = n) -> Any:
            nonlocal calls
            calls += 1
            if calls != at:
                return original(*arguments)
            if call == "close":
                original(*arguments)
            raise OSError(code, os.strerror(code))

        error: Exception | None = None
        with monkeypatch.context() as patch:
            patch.setattr(files.os, call, fail)
            try:
                write_atomically(path, [NEW[:5], NEW[5:]])
            except (OSError, ResourceError) as caught:
                error = caught
        assert names_in(tmp_path) == ["out"]
        if calls < n:
            assert error is None
            break
        # Only forcing the folder to disk, and closing it, come after the rename.
        after_rename = call in ("fsync", "close") and n == 2
        assert path.read_bytes() == (NEW if after_rename else OLD)
        if call == "close" and after_rename:
            assert error is None
            continue
        assert isinstance(error, kind)
        assert str(path) in str(error)
    assert 2 <= n < 9
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_source_that_stops(tmp_path: Path, stop: type[BaseException]) -> None:
    """If the blocks themselves cannot be produced, the old file stays and the error is theirs."""

    def blocks() -> Any:
        yield NEW
        raise stop("no more")

    (tmp_path / "out").write_bytes(OLD)
    with pytest.raises(stop, match="no more"):
        write_atomically(tmp_path / "out", blocks())
    assert (tmp_path / "out").read_bytes() == OLD
    assert names_in(tmp_path) == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("call", "count", "content"),
    [
        ("write", 1, OLD),
        ("write", 2, OLD),
        ("fsync", 1, OLD),
        ("close", 1, OLD),
        ("replace", 1, OLD),
        ("fsync", 2, NEW),
    ],
)
def test_kill_at_any_moment(tmp_path: Path, call: str, count: int, content: bytes) -> None:
    """After kill -9 the file is complete, and the next write removes what was left behind."""
    path = tmp_path / "out"
    path.write_bytes(OLD)
    assert run(KILLED, call, count, path).returncode == -signal.SIGKILL
    assert path.read_bytes() == content
    assert len(names_in(tmp_path)) == (2 if content == OLD else 1)
    write_atomically(path, NEW)
    assert names_in(tmp_path) == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX resource limits")
def test_size_limit_of_the_user(tmp_path: Path) -> None:
    """When the system stops the write half-way, the old file stays and the error has its name."""
    path = tmp_path / "out"
    path.write_bytes(OLD)
    assert run(LIMITED, path).stdout.strip() == str(path)
    assert path.read_bytes() == OLD
    assert names_in(tmp_path) == ["out"]


def test_writer_at_work_is_left_alone(tmp_path: Path) -> None:
    """Two writers of one file do not disturb each other; the last to finish wins."""
    path = tmp_path / "out"
    command = [sys.executable, "-c", SLOW, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as slow:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "started\n"
        write_atomically(path, NEW)
        assert path.read_bytes() == NEW
        assert len(names_in(tmp_path)) == 2
        slow.communicate()
    assert slow.returncode == 0
    assert path.read_bytes() == b"slow but sure"
    assert names_in(tmp_path) == ["out"]


def test_nested_writes_in_one_process(tmp_path: Path) -> None:
    """A second write in the same process, as from another thread, keeps the first's temporary."""

    def blocks() -> Any:
        yield b"outer"
        write_atomically(tmp_path / "out", b"inner")

    write_atomically(tmp_path / "out", blocks())
    assert (tmp_path / "out").read_bytes() == b"outer"


def test_other_files_are_not_swept(tmp_path: Path) -> None:
    """Only temporaries of the same target are removed."""
    path = tmp_path / "out"
    assert run(KILLED, "write", 2, tmp_path / "other").returncode == -signal.SIGKILL
    (tmp_path / ".geoquant-notes").write_bytes(OLD)
    before = names_in(tmp_path)
    write_atomically(path, NEW)
    assert names_in(tmp_path) == sorted([*before, "out"])


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EIO, FileFormatError), (errno.ENOMEM, ResourceError)]
)
def test_file_that_cannot_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    """A file that opens and then cannot be used is an error of a reader, and is closed again."""
    (tmp_path / "in").write_bytes(OLD)
    streams = []

    def fail(descriptor: int) -> None:
        streams.append(descriptor)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fstat", fail)
        with pytest.raises(kind, match="in: "), open_regular(tmp_path / "in"):
            pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(streams[0])


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "notes",
        "-1-2.tmp",
        f"{os.getpid()}-{files._PROCESS}-ab.tmp",
        "99999999999999999999-ab-cd.tmp",
    ],
)
def test_temporaries_that_may_be_in_use_stay(tmp_path: Path, rest: str) -> None:
    """Those that name no process, this one, or one that no system can have."""
    path = tmp_path / "out"
    (tmp_path / (files._temporary_prefix(str(path)) + rest)).write_bytes(OLD)
    before = names_in(tmp_path)
    write_atomically(path, NEW)
    assert names_in(tmp_path) == sorted([*before, "out"])


@pytest.mark.parametrize(("found", "is_removed"), [(ProcessLookupError, True), (None, False)])
@pytest.mark.parametrize("pid", [1, os.getpid() + 1])
def test_temporaries_of_another_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pid: int,
    found: type[OSError] | None,
    is_removed: bool,
) -> None:
    """They go if it is gone; it is asked after with a signal that does nothing."""
    asked = []

    def kill(*arguments: int) -> None:
        asked.append(arguments)
        if found is not None:
            raise found

    path = tmp_path / "out"
    stale = Path(files._temporary_prefix(str(path)) + f"{pid}-ab-cd.tmp")
    (tmp_path / stale).write_bytes(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "kill", kill)
        write_atomically(path, NEW)
    assert asked == [(pid, 0)]
    assert (tmp_path / stale).exists() is not is_removed


def test_temporaries_of_another_user_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may not be signalled is there."""

    def kill(pid: int, number: int) -> None:
        raise PermissionError

    stale = tmp_path / f"{files._temporary_prefix(str(tmp_path / 'out'))}1-ab-cd.tmp"
    stale.write_bytes(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "kill", kill)
        write_atomically(tmp_path / "out", NEW)
    assert stale.exists()


def test_temporaries_of_an_earlier_process_of_the_same_number_go(tmp_path: Path) -> None:
    """In a container the process that was killed and this one may both be number 1."""
    stale = tmp_path / f"{files._temporary_prefix(str(tmp_path / 'out'))}{os.getpid()}-ab-cd.tmp"
    stale.write_bytes(OLD)
    write_atomically(tmp_path / "out", NEW)
    assert names_in(tmp_path) == ["out"]


def test_temporary_is_always_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of its name, which somebody may have put there, is not written into."""
    path = str(tmp_path / "out")
    (tmp_path / "private").write_bytes(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(files.secrets, "token_hex", lambda count: "0" * 2 * count)
        os.symlink(tmp_path / "private", files._temporary_name(path))
        with pytest.raises(FileExistsError):
            write_atomically(path, NEW)
    assert (tmp_path / "private").read_bytes() == OLD
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be written into all the same; what is left in it stays."""

    def scandir(folder: str) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "scandir", scandir)
        write_atomically(tmp_path / "out", NEW)
    assert names_in(tmp_path) == ["out"]


def test_temporary_that_cannot_be_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of others never stops a write."""

    def unlink(path: str) -> None:
        raise PermissionError

    stale = tmp_path / f"{files._temporary_prefix(str(tmp_path / 'out'))}{os.getpid()}-ab-cd.tmp"
    stale.write_bytes(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "unlink", unlink)
        write_atomically(tmp_path / "out", NEW)
    assert names_in(tmp_path) == sorted([stale.name, "out"])


def test_file_system_that_cannot_force_a_folder_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its EINVAL is no failure, for the file itself was forced."""
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", refuse_folders)
        write_atomically(tmp_path / "out", NEW)
    assert (tmp_path / "out").read_bytes() == NEW


def test_windows_has_no_folders_to_open_nor_processes_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a write opens its file only, for bytes as they are, and leaves every temporary."""

    def kill(pid: int, number: int) -> None:
        raise ProcessLookupError

    path = str(tmp_path / "out")
    stale = files._temporary_prefix(path) + "1-ab-cd.tmp"
    (tmp_path / stale).write_bytes(OLD)
    opened, original = [], os.open

    def opening(name: str, flags: int, mode: int) -> int:
        opened.append((name, flags))
        return original(name, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", opening)
        patch.setattr(files.os, "kill", kill)
        patch.setattr(files.os, "O_BINARY", os.O_SYNC, raising=False)
        patch.setattr(files.os, "name", "nt")
        write_atomically(path, NEW)
    ((name, flags),) = opened
    assert name.endswith(".tmp")
    assert flags == os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_SYNC
    assert names_in(tmp_path) == sorted([stale, "out"])


# -------------------------------------------------------------------------------------- npy


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12, dtype=">i2")[::-2],
        np.zeros((0, 3), dtype=np.float32),
        np.array(5.0),
        np.array(["a", "bcd"]),
    ],
)
def test_npy_round_trip(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    """NumPy reads back values, shape and dtype."""
    write_npy(tmp_path / "a.npy", array)
    loaded = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(loaded, array, strict=True)


@pytest.mark.parametrize(
    "kind",
    [
        [("\u65e5", "f4")],
        [(f"a field with a long name {i}", "f4") for i in range(3000)],
    ],
)
def test_npy_refuses_fields_that_do_not_fit_in_its_header(tmp_path: Path, kind: Any) -> None:
    """Names beyond latin-1, and more of them than 64 KiB hold."""
    with pytest.raises(InputError, match=r"array must have a dtype .* rename its fields") as caught:
        write_npy(tmp_path / "a.npy", np.zeros(1, kind))
    assert len(str(caught.value)) < 400
    assert names_in(tmp_path) == []


def test_npy_refuses_masked_entries(tmp_path: Path) -> None:
    """The format has no place for a mask; an empty one is none."""
    array = np.ma.masked_array([1, 2], [False, True])
    with pytest.raises(InputError, match="array must have no masked entries, found 1"):
        write_npy(tmp_path / "a.npy", array)
    assert names_in(tmp_path) == []
    write_npy(tmp_path / "a.npy", array[:1])
    assert np.load(tmp_path / "a.npy").tolist() == [1]


def test_npy_refuses_objects(tmp_path: Path) -> None:
    """Python objects would need pickle."""
    with pytest.raises(InputError, match="Python objects"):
        write_npy(tmp_path / "a.npy", np.array([{}]))
    assert names_in(tmp_path) == []


# ------------------------------------------------------------------------------ safetensors

DTYPES = st.sampled_from(["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"])
ARRAYS = DTYPES.flatmap(
    lambda code: hnp.arrays(
        np.dtype(code), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(st.dictionaries(NAMES, ARRAYS, max_size=4), st.dictionaries(NAMES, NAMES, max_size=3))
def test_safetensors_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: dict[str, np.ndarray[Any, Any]],
    metadata: dict[str, str],
) -> None:
    """Our reader and the library read back what we write, and we read what the library writes."""
    path = tmp_path_factory.mktemp("round") / "a.safetensors"
    write_safetensors(path, arrays, metadata)
    ours, texts = read_safetensors(path, canonical=True)
    theirs = load_elsewhere(path.read_bytes())
    # Empty metadata instead of none makes the library write a header that is not JSON.
    path.write_bytes(save_elsewhere(arrays, metadata or None))
    foreign, foreign_texts = read_safetensors(path)
    assert texts == foreign_texts == metadata
    assert set(ours) == set(theirs) == set(foreign) == set(arrays)
    assert set(safetensors_outlines(path)) == set(arrays)
    for name, array in arrays.items():
        for loaded in (ours[name], theirs[name], foreign[name]):
            np.testing.assert_array_equal(loaded, array, strict=True)


def test_safetensors_bytes_by_hand(tmp_path: Path) -> None:
    """The bytes are those that the format prescribes, wide elements first."""
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.array([7], np.uint8), "b": np.array([1], ">i2")}, {"k": "v"})
    header = (
        b'{"__metadata__":{"k":"v"},"b":{"dtype":"I16","shape":[1],"data_offsets":[0,2]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}'
    )
    padded = header + b" " * (-len(header) % 8)
    assert path.read_bytes() == struct.pack("<Q", len(padded)) + padded + b"\1\0\7"


def test_safetensors_bytes_do_not_depend_on_order(tmp_path: Path) -> None:
    """Names and metadata given in another order make the same file."""
    one, two = np.zeros(2, np.float32), np.ones(3, np.float32)
    write_safetensors(tmp_path / "a", {"one": one, "two": two}, {"x": "1", "y": "2"})
    write_safetensors(tmp_path / "b", {"two": two, "one": one}, {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_safetensors_reads_only_what_is_asked_for(tmp_path: Path) -> None:
    """Arrays that are not named are skipped, and the named one is at its right place."""
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.arange(5.0), "b": np.arange(3, dtype=np.int32)}, {})
    arrays, _ = read_safetensors(path, names=["b"])
    assert list(arrays) == ["b"]
    np.testing.assert_array_equal(arrays["b"], [0, 1, 2])


@pytest.mark.parametrize(
    ("arrays", "metadata", "message"),
    [
        ({"a": np.zeros(2, complex)}, {}, "complex128"),
        ({"a": np.array(["x"])}, {}, "<U1"),
        ({"__metadata__": np.zeros(2)}, {}, "__metadata__"),
        ({}, {"k": 1}, "strings to strings"),
        ({}, {"k": "x" * (1 << 20)}, "1048576"),
        ({}, {"k": "\ud800"}, "Unicode"),
    ],
)
def test_safetensors_refuses_to_write(
    tmp_path: Path, arrays: Any, metadata: Any, message: str
) -> None:
    """What could not be read back is not written."""
    with pytest.raises(InputError, match=message):
        write_safetensors(tmp_path / "a", arrays, metadata)
    assert names_in(tmp_path) == []


GOOD = with_header({"a": tensor()}, b"abcd")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too few"),
        (GOOD[:7], "too few"),
        (struct.pack("<Q", 1 << 63) + b"{}", "claims a header"),
        (struct.pack("<Q", 3) + b"{}", "claims a header"),
        (struct.pack("<Q", 0), "must start with"),
        (with_header(b" {123456789}"), r"must start with '{', found b' {123456'; the file is dam"),
        (with_header(b"[]"), "must start with"),
        (with_header(b"{"), "strict JSON"),
        (with_header(b"{}x"), "strict JSON"),
        (with_header(b'{"\xff": 1}'), "strict JSON"),
        (with_header(b'{"a":' * 100_000), "strict JSON"),
        (with_header(b'{"a":' + b"9" * 5000 + b"}"), "strict JSON"),
        (with_header(b'{"a":NaN}'), "strict JSON"),
        (with_header(b'{"a":Infinity}'), "strict JSON"),
        (with_header(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}'), "shape"),
        (struct.pack("<Q", 1 << 32) + b"{}", "claims a header of 4294967296 bytes"),
        (with_header(b'{"a":1,"a":1}'), "repeated"),
        (with_header(b'{"__metadata__":{"k":"v","k":"v"}}'), "repeated"),
        (with_header({"__metadata__": {"k": 1}}), "metadata must"),
        (with_header({"__metadata__": ["k"]}), "metadata must"),
        (with_header({"a": 1}), "tensor 'a' must have dtype, shape and data_offsets only"),
        (with_header({"a": tensor(more=1)}, b"abcd"), "only"),
        (with_header({"a": tensor("BF16", (2,))}, b"abcd"), "tensor 'a' has dtype 'BF16'.*F32"),
        (with_header({"a": tensor(["F32"])}, b"abcd"), "dtype"),
        (with_header({"a": tensor(shape=1)}, b"abcd"), r"'a' has shape 1 and offsets \[0, 4\]"),
        (with_header({"a": tensor(shape=[True])}, b"abcd"), "shape"),
        (with_header({"a": tensor(shape=[1.0])}, b"abcd"), "shape"),
        (
            with_header({"a": tensor(shape=[-1])}, b"abcd"),
            r"tensor 'a' of dtype F32 and shape \[-1\] does not fill its bytes \[0, 4\]",
        ),
        (with_header({"a": tensor(shape=[2])}, b"abcd"), "does not fill"),
        (with_header({"a": tensor(shape=[1] * 33)}, b"abcd"), "does not fill"),
        (with_header({"a": tensor(shape=[1 << 62, 0], offsets=[0, 0])}), "does not fill"),
        (with_header({"a": tensor(shape=[1 << 62], offsets=[0, 1 << 64])}), "does not fill"),
        (with_header({"a": tensor(offsets=[0, 4, 8])}, b"abcd"), "offsets"),
        (with_header({"a": tensor(offsets=[4, 0])}, b"abcd"), "does not fill"),
        (with_header({"a": tensor(offsets=[-4, 0])}, b"abcd"), "starts at -4"),
        (with_header({"a": tensor(offsets=[4, 8])}, b"abcdefgh"), "starts at 4"),
        (with_header({"a": tensor(), "b": tensor()}, b"abcd"), "starts at 0, expected 4"),
        (with_header({"a": tensor(), "b": tensor(offsets=[2, 6])}, b"abcdef"), "starts at 2"),
        (with_header({"a": tensor(), "b": tensor(offsets=[5, 9])}, b"abcdefghi"), "starts at 5"),
        (with_header({"a": tensor("BOOL", (1,), (0, 1))}, b"\2"), "truth value"),
        (GOOD[:-1], "the file holds 3"),
        (GOOD + b"!", "the file holds 5"),
    ],
)
def test_safetensors_refuses_to_read(tmp_path: Path, content: bytes, message: str) -> None:
    """Every irregular file is a FileFormatError that names it and says what was found."""
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_safetensors(path)
    assert str(path) in str(caught.value)


def test_header_limit(tmp_path: Path) -> None:
    """A header longer than allowed is refused before it is read, one as long is not."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(with_header({"a": tensor()}, b"abcd"))
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert list(safetensors_outlines(path, max_header_bytes=length)) == ["a"]
    with pytest.raises(FileFormatError, match=f"at most {length - 1}"):
        safetensors_outlines(path, max_header_bytes=length - 1)


def test_header_of_a_hundred_megabytes(tmp_path: Path) -> None:
    """A header that a file does hold, but is too long, is not read."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 100_000_000) + b"{")
    os.truncate(path, 100_000_008)
    with pytest.raises(FileFormatError, match=r"header of 100000000 bytes .* at most 1048576"):
        read_safetensors(path)


def test_longest_header_that_is_written(tmp_path: Path) -> None:
    """It is the longest that is read."""
    path = tmp_path / "a.safetensors"
    empty = len('{"__metadata__":{"k":""}}')
    write_safetensors(path, {}, {"k": "x" * ((1 << 20) - empty)})
    assert path.stat().st_size == 8 + (1 << 20)
    assert len(read_safetensors(path)[1]["k"]) == (1 << 20) - empty
    with pytest.raises(InputError, match="take 1048584 bytes, the limit is 1048576"):
        write_safetensors(path, {}, {"k": "x" * ((1 << 20) - empty + 1)})


def test_claims_are_checked_before_memory_is_asked_for(tmp_path: Path) -> None:
    """A small file that claims 8 EiB is refused as damaged, not for lack of memory."""
    path = tmp_path / "a.safetensors"
    shape, size = [(1 << 61) - 1], (1 << 63) - 4
    path.write_bytes(with_header({"a": tensor(shape=shape, offsets=[0, size])}))
    with pytest.raises(FileFormatError, match="holds 0"):
        read_safetensors(path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} ',
        b'{"a":{"shape":[1],"dtype":"F32","data_offsets":[0,4]}}',
        b'{"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"__metadata__":{},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ],
)
def test_canonical_header(tmp_path: Path, header: bytes) -> None:
    """Valid headers that we would write differently are refused only where that is asked for."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(with_header(header, b"abcd"))
    assert len(read_safetensors(path)[0]) == 1
    with pytest.raises(FileFormatError, match="the way geoquant writes"):
        read_safetensors(path, canonical=True)


def test_random_damage_is_a_format_error(tmp_path: Path) -> None:
    """Whatever is changed in a file, reading succeeds or is a FileFormatError."""
    random = np.random.default_rng(0)
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.zeros((2, 3)), "b": np.zeros(2, bool)}, {"k": "v"})
    content = path.read_bytes()
    outcomes = set()
    for _ in range(2000):
        damaged = bytearray(content)
        for place in random.integers(len(content), size=random.integers(1, 4)):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged[: random.integers(len(content) // 2, 2 * len(content))])
        try:
            read_safetensors(path)
            outcomes.add("read")
        except FileFormatError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_no_memory_for_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound file too large for memory is a ResourceError with its size."""

    def empty(*arguments: Any, **options: Any) -> None:
        raise MemoryError

    path = tmp_path / "a.safetensors"
    path.write_bytes(GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(files.np, "empty", empty)
        with pytest.raises(ResourceError, match=r"a\.safetensors: .* no memory for 4 bytes"):
            read_safetensors(path)


def test_file_that_becomes_shorter_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an array, because somebody cut the file short after its header was read, is refused."""
    path, empty = tmp_path / "a.safetensors", np.empty
    write_safetensors(path, {"a": np.zeros(100_000)}, {})

    def cutting(*arguments: Any, **options: Any) -> Any:
        os.truncate(path, 400_000)
        return empty(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files.np, "empty", cutting)
        with pytest.raises(FileFormatError, match="became shorter while it was read"):
            read_safetensors(path)


# ---------------------------------------------------------------------- what is not a file


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is a FileFormatError that says so."""
    with pytest.raises(FileFormatError, match="no such file"):
        read_safetensors(tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="needs pipes and devices with names")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Folders, pipes and devices are refused at once."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FileFormatError, match="not a regular file"):
            read_safetensors(path)


def test_unopenable_paths(tmp_path: Path) -> None:
    """A loop of links and a name that no file can have are FileFormatErrors."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", "null\0byte"):
        with pytest.raises(FileFormatError, match="cannot be opened"):
            read_safetensors(path)


def test_no_descriptor_is_leaked(tmp_path: Path) -> None:
    """Success and refusal both close what they opened."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not list open files")
    good, bad = tmp_path / "good", tmp_path / "bad"
    before = len(os.listdir("/proc/self/fd"))
    write_atomically(good, GOOD)
    write_atomically(bad, GOOD[:-1])
    read_safetensors(good)
    for path in (bad, tmp_path):
        with pytest.raises(FileFormatError):
            read_safetensors(path)
        with pytest.raises(IsADirectoryError):
            write_atomically(tmp_path, b"")
    assert len(os.listdir("/proc/self/fd")) == before


# ------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("content", [b"{}", b' {"a": {"b": [1, 2.5, null, "\xc3\xbc"]}}\n'])
def test_json_object(tmp_path: Path, content: bytes) -> None:
    """What an object holds is what the standard library reads."""
    (tmp_path / "a.json").write_bytes(content)
    assert read_json_object(tmp_path / "a.json") == json.loads(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not strict JSON: Expecting value"),
        (b"{} {}", "is not strict JSON: Extra data"),
        (b'{"a":1,"a":1}', "is not strict JSON: a key is repeated"),
        (b'{"a":-Infinity}', "is not strict JSON: -Infinity is not a number of JSON"),
        (b'{"a":"\xff"}', "is not strict JSON: 'utf-8'"),
        (b"\xef\xbb\xbf{}", "is not strict JSON: Unexpected UTF-8 BOM"),
        (b"9" * 5000, "is not strict JSON: Exceeds the limit"),
        (b"[" * 100_000, "is not strict JSON: maximum recursion depth"),
        (b"[]", "must hold a JSON object, found list"),
        (b"null", "must hold a JSON object, found NoneType"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Everything but one object of strict JSON is a FileFormatError with the path."""
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        read_json_object(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_longest_json_object(tmp_path: Path) -> None:
    """The limit itself may be reached, and is 1 MiB unless more is allowed."""
    path = tmp_path / "a.json"
    path.write_bytes(b"{}".ljust(1 << 20))
    assert read_json_object(path) == {}
    path.write_bytes(b"{}".ljust((1 << 20) + 1))
    with pytest.raises(FileFormatError, match="longer than 1048576 bytes"):
        read_json_object(path)
    assert read_json_object(path, max_bytes=(1 << 20) + 1) == {}


# ------------------------------------------------------------------------------------- hash


def test_content_hash_by_hand() -> None:
    """The sum is over an outline in JSON and then the bytes by name."""
    arrays = {"b": np.array([1], "u1"), "a": np.array([[2, 3]], ">i2")}
    outline = '[[["a", "I16", [1, 2]], ["b", "U8", [1]]], {"k": "v"}]'
    expected = hashlib.sha256(outline.encode() + b"\2\0\3\0\1").hexdigest()
    assert content_hash(arrays, {"k": "v", "content_sha256": "anything"}) == expected


def test_content_hash_does_not_depend_on_order() -> None:
    """Of names, of metadata, of numbers in memory, nor of bytes in numbers."""
    one, two = np.arange(6, dtype=np.int32).reshape(2, 3), np.ones(3, np.float32)
    first = content_hash({"one": one, "two": two}, {"x": "1", "y": "2"})
    turned = np.asfortranarray(one.astype(">i4"))
    assert content_hash({"two": two, "one": turned}, {"y": "2", "x": "1"}) == first


@pytest.mark.parametrize(
    ("arrays", "metadata"),
    [
        ({"b": np.zeros(4, np.int32)}, {"k": "v"}),
        ({"a": np.zeros(4, np.uint32)}, {"k": "v"}),
        ({"a": np.zeros((2, 2), np.int32)}, {"k": "v"}),
        ({"a": np.array([0, 0, 0, 1], np.int32)}, {"k": "v"}),
        ({"a": np.zeros(4, np.int32)}, {"k": "w"}),
        ({"a": np.zeros(4, np.int32)}, {}),
        ({"a": np.zeros(4, np.int32), "b": np.zeros(0, np.int32)}, {"k": "v"}),
    ],
)
def test_content_hash_sees_everything(arrays: Any, metadata: dict[str, str]) -> None:
    """Another name, dtype, shape, value or text is another sum."""
    assert content_hash(arrays, metadata) != content_hash({"a": np.zeros(4, np.int32)}, {"k": "v"})


@pytest.mark.parametrize(
    ("shape", "itemsize", "expected"),
    [
        ((), 4, 4),
        ((0, 5), 4, 0),
        ((1 << 61,), 4, None),
        ((0, 1 << 62), 4, None),
        ((-1,), 4, None),
        ((1,) * 32, 8, 8),
        ((1,) * 33, 1, None),
        ((1 << 63,), 1, None),
        ((1 << 100, 0), 1, None),
        (((1 << 63) - 1,), 1, (1 << 63) - 1),
    ],
)
def test_byte_count(shape: tuple[int, ...], itemsize: int, expected: int | None) -> None:
    """Shapes that no array can have have no number of bytes."""
    assert byte_count(shape, itemsize) == expected


def test_a_scratch_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """What fails on the way leaves the old content, and no file of its own."""
    target = tmp_path / "state.bin"
    write_scratch(target, [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_scratch(target, broken())
    assert [file.name for file in tmp_path.iterdir()] == ["state.bin"]
    assert target.read_bytes() == b"old"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_scratch(tmp_path / "nowhere" / "state.bin", [b""])
