"""How much memory is found to be there, and what is refused."""

from __future__ import annotations

import mmap
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.errors import InputError, ResourceError
from geoquant.files import write_npy
from geoquant.memory import available_memory, require_memory, resident_bytes, shown

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0])
BOOK = gq.fit_codebook([[0.0], [1.0], [8.0]], 2, random_state=0).codebook
MEMINFO = "MemTotal:  9000 kB\nMemFree:  100 kB\nMemAvailable:  4000 kB\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    """A folder that looks like the root of a machine."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_without_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    """Memory is read in kilobytes of 1024 bytes, and counts what can be freed."""
    assert available_memory(machine(tmp_path, {"proc/meminfo": MEMINFO})) == 4000 * 1024


def test_where_the_system_tells_nothing_it_is_none(tmp_path: Path) -> None:
    """Other systems have no such files."""
    assert available_memory(tmp_path) is None


@pytest.mark.parametrize(
    ("limit", "usage", "expected"),
    [
        ("3000000", "2000000", 1_000_000 + 50_000),
        ("max", "2000000", 4000 * 1024),
        ("900000000", "2000000", 4000 * 1024),
        ("2000000", "3000000", 0),
    ],
)
def test_a_group_of_version_2_limits(tmp_path: Path, limit: str, usage: str, expected: int) -> None:
    """What a group leaves is its limit less what it uses, but for pages of files."""
    folder = "sys/fs/cgroup/batch/job"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/batch/job/step\n",
        f"{folder}/memory.max": limit + "\n",
        f"{folder}/memory.current": usage + "\n",
        f"{folder}/memory.stat": "anon 7\ninactive_file 50000\n",
    }
    assert available_memory(machine(tmp_path, files)) == expected


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    """A group within the limit of one that is nearly full gets what that leaves."""
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/outer/inner\n",
        "sys/fs/cgroup/outer/memory.max": "1000000",
        "sys/fs/cgroup/outer/memory.current": "900000",
        "sys/fs/cgroup/outer/inner/memory.max": "2000000",
        "sys/fs/cgroup/outer/inner/memory.current": "100000",
    }
    assert available_memory(machine(tmp_path, files)) == 100_000


def test_groups_of_version_1_limit(tmp_path: Path) -> None:
    """The controller of memory is found among others; no limit is a very large number there."""
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "9:cpu,cpuacct:/\n4:memory:/box\n1:name=systemd:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "7",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "500000",
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "400000",
    }
    assert available_memory(machine(tmp_path, files)) == 100_000


def test_what_fits_is_let_through() -> None:
    """Exactly as much as may be used is not too much."""
    require_memory(1000, 1000, "cure")


def test_what_does_not_fit_names_both_and_the_cure() -> None:
    """The error says how much is needed, how much there is, and what to do."""
    message = r"needs about 3.0 GB of memory, 2.0 GB may be used \(max_memory\): eat less, or set "
    with pytest.raises(ResourceError, match=message):
        require_memory(3 * 10**9, 2 * 10**9, "eat less")


def test_what_the_machine_has_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit of the user's, what is available counts; if nobody knows, nothing does."""
    monkeypatch.setattr("geoquant.memory.available_memory", lambda: 2_000_000)
    require_memory(2_000_000, None, "cure")
    with pytest.raises(ResourceError, match=r"about 2\.1 MB of memory, 2\.0 MB are available"):
        require_memory(2_100_000, None, "cure")
    monkeypatch.setattr("geoquant.memory.available_memory", lambda: None)
    require_memory(10**15, None, "cure")


@pytest.mark.parametrize("limit", [0, -1, 1.5, "8GB", True])
def test_limits_that_are_no_number_of_bytes_are_refused(limit: Any) -> None:
    """A limit is a positive integer."""
    with pytest.raises(InputError, match="max_memory must be an integer"):
        require_memory(1, limit, "cure")


def test_resident_bytes_grow_with_what_is_held() -> None:
    """Twenty megabytes that are mapped anew and written to are seen."""
    before = resident_bytes()
    with mmap.mmap(-1, 20_000_000) as held:
        held.write(bytes(20_000_000))
        assert before == 0 or resident_bytes() - before > 15_000_000


def test_numbers_of_bytes_are_shown_in_decimal_units() -> None:
    """As disks and files are; thousands are set apart."""
    assert [shown(n) for n in (0, 999_900_000, 10**9, 1234 * 10**9)] == [
        "0.0 MB",
        "999.9 MB",
        "1.0 GB",
        "1,234.0 GB",
    ]


LIMITS = "Max address space  {}  unlimited  bytes\nMax data size  {}  9  bytes\n"


@pytest.mark.parametrize(
    ("space", "data", "expected"),
    [
        ("unlimited", "unlimited", 4000 * 1024),
        (30 * mmap.PAGESIZE, "unlimited", 10 * mmap.PAGESIZE),
        ("unlimited", 30 * mmap.PAGESIZE, 25 * mmap.PAGESIZE),
        (30 * mmap.PAGESIZE, 6 * mmap.PAGESIZE, mmap.PAGESIZE),
        (mmap.PAGESIZE, "unlimited", 0),
    ],
)
def test_limits_of_the_process_count(
    tmp_path: Path, space: object, data: object, expected: int
) -> None:
    """What ``ulimit`` sets, less what the process has of it."""
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/limits": LIMITS.format(space, data),
        "proc/self/statm": "20 9 8 1 0 5 0\n",
    }
    assert available_memory(machine(tmp_path, files)) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc")
@pytest.mark.parametrize("beyond", [100, 400])
def test_fit_under_a_limit_of_address_space_is_refused(tmp_path: Path, beyond: int) -> None:
    """In one line, with exit code 4, before the file, of 256 MB, is read."""
    write_npy(tmp_path / "z.npy", np.zeros((2_000_000, 32), np.float32))
    script = (
        "import re, resource, sys\n"
        "import geoquant.fit, scipy.sparse, sklearn.neighbors\n"  # what a fit needs is there
        "from geoquant.cli import main\n"
        "held = 1024 * int(re.search(r'VmSize:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (held + ({beyond} << 20),) * 2)\n"
        "sys.exit(main(['fit', 'z.npy', '-k', '8']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("Error: ")
    assert "this needs about" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["z.npy"]


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda x: gq.fit_codebook(x, 2), "geoquant.fit.check_latents"),
        (lambda x: gq.fit_codebook(x, 2), "geoquant.graph.knn.check_latents"),
        (lambda x: gq.fit_multistage(x, 2), "geoquant.multistage_fit.check_latents"),
        (gq.knn_graph, "geoquant.graph.knn.check_latents"),
        (lambda x: gq.nearest_neighbors(x, 1), "geoquant.graph.knn.check_latents"),
        (lambda x: BOOK.assign(x), "geoquant.codebook.check_latents"),
        (lambda x: gq.nearest_source(GRAPH, [0]), "geoquant.graph.shortest_paths.check_nodes"),
        (lambda x: gq.geodesic_kmedoids(GRAPH, 2), "geoquant.clustering.kmedoids.as_generator"),
    ],
)
def test_arrays_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, call: Any, part: str) -> None:
    """NumPy's MemoryError becomes ResourceError on the way out."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise MemoryError("Unable to allocate 8 TiB")

    x = np.arange(4, dtype=np.float32)[:, None]
    monkeypatch.setattr(part, refuse)
    with pytest.raises(ResourceError, match="not enough memory: Unable to allocate 8 TiB"):
        call(x)
