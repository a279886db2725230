"""A cluster with TLS, made by the commands of the guide, whose certificates are asked for."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("distributed")
if shutil.which("openssl") is None:
    pytest.skip("needs openssl", allow_module_level=True)

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Path(__file__).parents[2] / "docs" / "how_to" / "distributed.md"
PROGRAMS = {
    "dask": [sys.executable, "-m", "dask"],
    "geoquant": [sys.executable, "-c", "from geoquant.cli import main; main()"],
    "openssl": ["openssl"],
}
VARIABLES = "DASK_DISTRIBUTED__COMM__TLS__"


class Guide:
    """The commands of the section on clusters, with a folder and a port of this machine."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        section = GUIDE.read_text(encoding="utf-8").partition("## On a cluster")[2]
        blocks = re.findall(r"```text\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
        here = {"/certificates": str(folder), "/shared": str(folder), "8786": port}
        here |= {"//host": "//127.0.0.1", "--host host": "--host 127.0.0.1", "-k 1024": "-k 5"}
        text = "".join(blocks)
        for there, replacement in here.items():
            assert there in text
            text = text.replace(there, replacement)
        lines = [shlex.split(line) for line in text.splitlines()]
        self.folder = folder
        self.address = f"tls://127.0.0.1:{port}"
        self.variables = dict(line[1].split("=", 1) for line in lines if line[0] == "export")
        self.commands = [line for line in lines if line[0] != "export"]

    def of(self, *start: str) -> list[list[str]]:
        """The commands that start with these words."""
        return [line for line in self.commands if line[: len(start)] == list(start)]

    def surroundings(self, *, without: str | None = None, **others: str) -> dict[str, str]:
        """The environment of the commands."""
        variables = {name: v for name, v in self.variables.items() if name != without}
        return {**os.environ, "OMP_NUM_THREADS": "1", **variables, **others}

    def run(self, command: list[str], **environment: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*PROGRAMS[command[0]], *command[1:]],
            cwd=self.folder,
            env=self.surroundings(**environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def running(self, command: list[str]) -> Iterator[None]:
        """Let a command run for as long as the block lasts."""
        with (self.folder / f"{command[1]}.log").open("w") as log:
            process = subprocess.Popen(
                [*PROGRAMS[command[0]], *command[1:]],
                cwd=self.folder,
                env=self.surroundings(),
                stdout=log,
                stderr=log,
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(timeout=60)


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    """Of a folder with certificates, shards and a scheduler with its workers."""
    guide = Guide(tmp_path_factory.mktemp("cluster"))
    for command in guide.of("openssl"):
        done = guide.run(command)
        assert done.returncode == 0, done.stderr
    (guide.folder / "scratch").mkdir()
    (guide.folder / "shards").mkdir()
    x = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    for i, block in enumerate(np.array_split(x, 4)):
        np.save(guide.folder / "shards" / f"part{i}.npy", block)
    with guide.running(*guide.of("dask", "scheduler")), guide.running(*guide.of("dask", "worker")):
        yield guide


def wait_for_workers(guide: Guide) -> None:
    """Until the scheduler has them."""
    code = (
        "import sys; from distributed import Client\n"
        "Client(sys.argv[1], timeout=60).wait_for_workers(2, timeout=60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, guide.address],
        env=guide.surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_guide(guide: Guide) -> None:
    """Fit and assign through TLS write the bytes that one process writes."""
    wait_for_workers(guide)
    for command in [*guide.of("geoquant", "fit"), *guide.of("geoquant", "assign")]:
        done = guide.run(command)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    fit = ["geoquant", "fit", "shards", "-k", "5", "-o", "one.codebook.safetensors"]
    assert guide.run(fit).returncode == 0
    folder = guide.folder
    found = (folder / "shards.codebook.safetensors").read_bytes()
    assert found == (folder / "one.codebook.safetensors").read_bytes()
    for name in ("shards.codes", "codes"):
        parts = [np.load(folder / name / f"part{i}.codes.npy") for i in range(4)]
        assert np.concatenate(parts).tolist() == np.load(folder / "one.codes.npy").tolist()
    assert list((folder / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "environment", "words"),
    [
        ("fit", {"without": f"{VARIABLES}CA_FILE"}, f"{VARIABLES}CA_FILE is not set"),
        ("assign", {"without": f"{VARIABLES}CLIENT__CERT"}, f"{VARIABLES}CLIENT__CERT is not set"),
        ("assign", {f"{VARIABLES}CLIENT__KEY": "/no/key.pem"}, "names '/no/key.pem', where no"),
    ],
    ids=["authority", "certificate", "key"],
)
def test_without_certificates(
    guide: Guide, command: str, environment: dict[str, str], words: str
) -> None:
    """One line that names the variable; exit code 2."""
    done = guide.run(*guide.of("geoquant", command), **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"scheduler {guide.address} needs certificates, and {VARIABLES}" in done.stderr
    assert words in done.stderr


def test_certificates_of_another_authority(guide: Guide, tmp_path: Path) -> None:
    """They open nothing: one line, exit code 2."""
    other = Guide(tmp_path)
    for command in other.of("openssl"):
        assert other.run(command).returncode == 0
    done = guide.run(*guide.of("geoquant", "assign"), **other.variables)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"scheduler {guide.address} cannot be used" in done.stderr
    assert "certificates of one authority" in done.stderr


def test_without_tls_the_cluster_does_not_answer(guide: Guide) -> None:
    """Who speaks plainly on the loopback interface is told of TLS."""
    (command,) = guide.of("geoquant", "assign")
    plain = [word.replace("tls://", "tcp://") for word in command]
    done = guide.run(plain)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be used" in done.stderr
    assert "with TLS if this is tls:// and only then" in done.stderr
