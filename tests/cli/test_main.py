from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.cli import main
from geoquant.cli.progress_bar import ProgressBar
from tests.cli.conftest import assert_interrupted, assert_one_line_error, assert_usage_error, blobs

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
HEAVY = {"torch", "numba", "sklearn", "faiss", "scipy", "matplotlib", "rich"}
COMMANDS = [
    "train",
    "encode",
    "fit",
    "assign",
    "inspect",
    "export",
    "reconstruct",
    "prior",
    "sample",
    "demo",
]


def fresh_python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the interpreter anew, without the developer's request for eager imports."""
    environment = {name: value for name, value in os.environ.items() if name != "EAGER_IMPORT"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


# -------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(run: Run, flag: str) -> None:
    """Help is on stdout, names every command, and is a success."""
    outcome = run(flag)
    assert (outcome.exit_code, outcome.err) == (0, "")
    for command in COMMANDS:
        assert f"\n  {command} " in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(run: Run, command: str) -> None:
    """Each command explains itself."""
    outcome = run(command, "--help")
    assert outcome.exit_code == 0
    assert outcome.out.startswith(f"Usage: geoquant {command}")


def test_version(run: Run) -> None:
    """--version tells the version of the package."""
    outcome = run("--version")
    assert outcome.exit_code == 0
    assert gq.__version__ in outcome.out


@pytest.mark.parametrize(
    "code",
    [
        "import geoquant",
        "import geoquant.cli",
        "import sys\n"
        "from geoquant.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0",
        "import sys\n"
        "from geoquant.cli import main\n"
        "try:\n    main(['fit', '--help'])\nexcept SystemExit as end:\n    assert end.code == 0",
    ],
    ids=["import geoquant", "import geoquant.cli", "--help", "fit --help"],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    """Neither importing the package nor asking for help loads a heavy library."""
    done = fresh_python("-c", code + "\nimport sys\nprint('loaded:', *sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.rpartition("loaded:")[2].split()}
    assert "geoquant" in loaded
    assert loaded & HEAVY == set()


def test_python_dash_m() -> None:
    """``python -m geoquant`` is the same program, name and exit codes included."""
    helped = fresh_python("-m", "geoquant", "--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith("Usage: geoquant ")
    failed = fresh_python("-m", "geoquant", "inspect", "gone")
    assert failed.returncode == 3
    assert failed.stderr == "Error: gone: no such file\n"


# ------------------------------------------------------------------------------------------ errors


def test_no_command(run: Run) -> None:
    """Without a command the help is shown and the exit code is 2."""
    outcome = run()
    assert outcome.exit_code == 2
    assert "Usage: geoquant" in outcome.err + outcome.out


@pytest.mark.parametrize("arguments", [["frobnicate"], ["--frobnicate"]])
def test_unknown_commands_and_options(run: Run, arguments: list[str]) -> None:
    """They are named, with exit code 2."""
    assert_usage_error(run(*arguments), "frobnicate")


def test_arguments_default_to_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a list, sys.argv counts."""
    monkeypatch.setattr(sys, "argv", ["geoquant", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert gq.__version__ in capsys.readouterr().out


def test_debug_shows_the_traceback(run: Run, folder: Path) -> None:
    """--debug shows all that led to an error before its one line; the exit code is the same."""
    np.save(folder / "nan.npy", blobs() * np.nan)
    assert_one_line_error(run("fit", "nan.npy", "-k", 2), 3, "nan.npy")
    done = fresh_python("-m", "geoquant", "--debug", "fit", "nan.npy", "-k", "2")
    assert "Traceback (most recent call last):" in done.stderr
    assert "geoquant.errors.FileFormatError: nan.npy" in done.stderr
    assert done.returncode == 3


def test_unexpected_errors_are_one_line_too(
    run: Run, latents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the program itself says so, and that --debug shows where, with exit code 1."""

    def fault(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("geoquant.fit.fit_codebook", fault)
    outcome = run("fit", latents, "-k", 2)
    assert_one_line_error(outcome, 1, "unexpected ZeroDivisionError: oops", "--debug")


def test_keyboard_interrupt(run: Run, latents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with 130 and one line, even with --debug."""

    def interrupt(self: ProgressBar, stage: str, done: int, total: int) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressBar, "__call__", interrupt)
    for flags in ([], ["--debug"]):
        assert_interrupted(run(*flags, "fit", latents, "-k", 2))


def test_closed_pipe_is_quiet(run: Run, latents: Path) -> None:
    """A reader that goes away ends the program with 141 and no word."""
    run("fit", latents, "-k", 3, "-q")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed_pipe:
        done = subprocess.run(
            [sys.executable, "-m", "geoquant", "inspect", "latents.codebook.safetensors"],
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, b"")


# ---------------------------------------------------------------------------------- progress bar


class Terminal:
    """A stderr that somebody looks at."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second of work the stages are shown on stderr."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("geoquant.cli.progress_bar._PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar(enabled=True) as progress:
        progress("neighbours", 1, 4)
        progress("swaps", 2, 8)
    assert "neighbours" in terminal.text
    assert "swaps" in terminal.text


@pytest.mark.parametrize("case", ["not a terminal", "not enabled", "done within a second"])
def test_progress_bar_is_silent(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shown to a file, if it is switched off, or if the work is short."""
    terminal = Terminal()
    monkeypatch.setattr(terminal, "isatty", lambda: case != "not a terminal")
    monkeypatch.setattr(sys, "stderr", terminal)
    patience = 1e9 if case == "done within a second" else 0.0
    monkeypatch.setattr("geoquant.cli.progress_bar._PATIENCE", patience)
    with ProgressBar(enabled=case != "not enabled") as progress:
        progress("neighbours", 1, 4)
    assert terminal.text == ""
