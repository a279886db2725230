"""What a run does to the machine beside giving its result: nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

#: Programs by which scikit-learn finds out cores and libraries, and matplotlib fonts.
HARMLESS = ("lscpu", "ldconfig", "gcc", "cc", "ld", "fc-list")
#: Runs a command and lists what it asked the system for, by the audit events of Python.
WATCH = """
import json, os, sys, tempfile

asked = []
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
PATHS = {"os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.link": 2,
         "os.symlink": 2, "os.truncate": 1, "os.chmod": 1, "shutil.rmtree": 1}
RUNS = ("socket.", "subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.fork", "http.",
        "urllib.", "ftplib.", "smtplib.", "pty.", "webbrowser.")

def watch(event, args):
    if event == "open":
        path, mode, flags = args
        if isinstance(path, (str, bytes)) and (flags & WRITING):
            asked.append((event, os.path.realpath(os.fsdecode(path))))
    elif event in PATHS:
        for path in args[: PATHS[event]]:
            if isinstance(path, (str, bytes)):
                asked.append((event, os.path.realpath(os.fsdecode(path))))
    elif event.startswith(RUNS):
        asked.append((event, repr(args)))

sys.addaudithook(watch)
from geoquant.cli import main
try:
    code = main(sys.argv[2:])
except SystemExit as stop:
    code = stop.code
found = list(asked)
with open(sys.argv[1], "w") as stream:
    json.dump({"code": code, "asked": found}, stream)
"""


def asked_by(command: list[str], folder: Path) -> list[tuple[str, str]]:
    """Events of a command that runs in a folder, as a user who has nothing at home yet."""
    home, report = folder / "home", folder / "report.json"
    home.mkdir(exist_ok=True)
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    # matplotlib keeps a list of fonts at home, as for every program that draws; here elsewhere.
    temporary = folder / "temporary"
    environment |= {"TMPDIR": str(temporary), "MPLCONFIGDIR": str(temporary / "matplotlib")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    work = folder / "work"
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(report), *command],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert report.exists(), done.stderr
    said = json.loads(report.read_text())
    assert said["code"] in (0, None), done.stderr
    assert list(home.rglob("*")) == []
    return [(event, detail) for event, detail in said["asked"]]


def asks_harmlessly(event: str, detail: str) -> bool:
    """Whether only the machine is asked what it has."""
    return event == "subprocess.Popen" and any(
        re.match(rf"\(['\"][\w/]*{name}['\"]", detail) for name in HARMLESS
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents and what a fit makes of them, in a folder of their own."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "work").mkdir()
    (folder / "temporary").mkdir()
    latents = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    np.save(folder / "work" / "z.npy", latents)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "fit z.npy -k 8 --checkpoint kept",
        "fit z.npy -k 8 --stages 2 -o stages.safetensors",
        "fit z.npy -k 8 --estimate",
        "assign z.npy --codebook z.codebook.safetensors -o again.npy",
        "inspect z.codebook.safetensors",
        "explore z.codebook.safetensors --latents z.npy",
        "export z.codebook.safetensors --to folder -o to-share",
        "demo -o shown",
    ],
)
def test_nothing_outside_the_output_is_touched(folder: Path, command: str) -> None:
    """No socket, no other process, and no file written but the output and temporaries."""
    asked = asked_by(command.split(), folder)
    allowed = tuple(os.path.realpath(folder / name) + os.sep for name in ("work", "temporary"))
    outside = [
        (event, detail)
        for event, detail in asked
        if not detail.startswith(allowed) and detail != os.devnull
    ]
    assert [asked for asked in outside if not asks_harmlessly(*asked)] == []


def test_the_watch_sees_what_it_is_for(folder: Path) -> None:
    """A command that opens a socket or writes elsewhere would be seen."""
    code = (
        "import os, socket, tempfile; socket.socket().close(); "
        "open(os.path.join(tempfile.gettempdir(), 'x'), 'w').close(); os.system('true')"
    )
    report = folder / "seen.json"
    script = WATCH.replace("from geoquant.cli import main", f"{code}\nmain = lambda _: 0")
    environment = os.environ | {"TMPDIR": str(folder)}
    subprocess.run([sys.executable, "-c", script, str(report)], check=True, env=environment)
    events = {event for event, _ in json.loads(report.read_text())["asked"]}
    assert {"socket.__new__", "open", "os.system"} <= events
