"""How much memory there is, and the refusal of what does not fit."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from geoquant.arguments import check_count
from geoquant.errors import ResourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNLIMITED = 1 << 60  # what version 1 of control groups gives as "no limit" lies beyond


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take without swapping, being refused or killed.

    The least of what the machine has available, what the control groups of the process (a
    container's, a batch system's) leave it, and what its own limits do (``ulimit -v``, ``-d``);
    memory that holds files and can be freed counts as free.

    Parameters
    ----------
    root : Path, default "/"
        Where ``proc`` and ``sys`` are.

    Returns
    -------
    int or None
        None where the system does not tell (not Linux).

    Examples
    --------
    >>> from geoquant.memory import available_memory
    >>> available = available_memory()
    >>> available is None or available > 0
    True
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if found is None:
        return None
    left = [int(found[1]) * 1024, *_left_in_groups(root), *_left_under_own_limits(root)]
    return max(0, min(left))


def require_memory(needed: int, max_memory: int | None, cure: str) -> None:
    """Raise unless so much memory may be taken.

    Parameters
    ----------
    needed : int
        Bytes, beyond what the process holds.
    max_memory : int or None
        Bytes that may be taken; None: what `available_memory` finds.
    cure : str
        What the error tells the user to do, besides setting `max_memory`.

    Raises
    ------
    ResourceError
        If more is needed.
    InputError
        If `max_memory` is not None or a positive integer.

    Examples
    --------
    >>> from geoquant.memory import require_memory
    >>> require_memory(8 << 20, 4 << 20, "take a sample")
    Traceback (most recent call last):
        ...
    geoquant.errors.ResourceError: this needs about 8.4 MB of memory, 4.2 MB may be used...
    """
    given = max_memory is not None
    limit = check_count(max_memory, "max_memory", 1) if given else available_memory()
    if limit is None or needed <= limit:
        return
    there_is = "may be used (max_memory)" if given else "are available"
    raise ResourceError(
        f"this needs about {shown(needed)} of memory, {shown(limit)} {there_is}: {cure}, or set "
        "max_memory (--max-memory) higher if you know better"
    )


def shown(n_bytes: int) -> str:
    """A number of bytes for people to read.

    Examples
    --------
    >>> from geoquant.memory import shown
    >>> shown(1_234_567), shown(42_000_000_000)
    ('1.2 MB', '42.0 GB')
    """
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.1f} GB"


def _left_under_own_limits(root: Path) -> Iterator[int]:
    """Bytes left of each limit that was set for the process itself."""
    pages = _text(root / "proc/self/statm").split()
    limits = _text(root / "proc/self/limits")
    for name, field in (("Max address space", 0), ("Max data size", 5)):
        found = re.search(rf"^{name} +(\d+)", limits, re.MULTILINE)
        if found and len(pages) > field:
            yield int(found[1]) - int(pages[field]) * os.sysconf("SC_PAGE_SIZE")


def _left_in_groups(root: Path) -> Iterator[int]:
    """Bytes left in each group with a limit that the process is in, those above it included."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            mounted, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mounted = root / "sys/fs/cgroup/memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            yield from _left_in(mounted / folder, limit, usage)


def _left_in(folder: Path, limit: str, usage: str) -> Iterator[int]:
    allowed, used = _text(folder / limit).strip(), _text(folder / usage).strip()
    if allowed.isdecimal() and used.isdecimal() and int(allowed) < _UNLIMITED:
        # Pages of files that nobody has touched lately go first when memory is short.
        stat = _text(folder / "memory.stat")
        cache = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
        yield int(allowed) - int(used) + (int(cache[1]) if cache else 0)


def _text(path: Path) -> str:
    """Content of a file, nothing if it is not there."""
    try:
        return path.read_text()
    except OSError:
        return ""


def resident_bytes() -> int:
    """Bytes that this process holds now; 0 where the system does not tell.

    Examples
    --------
    >>> from geoquant.memory import resident_bytes
    >>> resident_bytes() >= 0
    True
    """
    pages = _text(Path("/proc/self/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0
