"""``geoquant completion``, and the answers that a shell gets."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import assert_usage_error
from tests.cli.test_main import HEAVY, fresh_python

Run = Callable[..., Any]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script(run: Run, shell: str) -> None:
    """A script on stdout that asks geoquant; the shell itself, where it is here, can read it."""
    outcome = run("completion", shell)
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert "_GEOQUANT_COMPLETE" in outcome.out
    if path := shutil.which(shell):
        subprocess.run([path, "-n"], input=outcome.out, text=True, check=True)


def test_other_shells_are_refused(run: Run) -> None:
    """The error lists the shells there are."""
    assert_usage_error(run("completion", "tcsh"), "'bash', 'zsh', 'fish'")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("geoquant co", ["plain,completion", "plain,compare"]),
        ("geoquant fit --algo", ["plain,--algorithm"]),
        ("geoquant fit --codewords m", ["plain,mean", "plain,medoid"]),
        ("geoquant assign --codebook la", ["file,la"]),
    ],
)
def test_answers(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: str, expected: list[str]
) -> None:
    """Commands, options and choices are completed; names of files are left to the shell."""
    monkeypatch.setenv("_GEOQUANT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert run().out.splitlines() == expected


def test_answers_are_light(monkeypatch: pytest.MonkeyPatch) -> None:
    """To complete a word nothing heavy is loaded: the user waits for it."""
    monkeypatch.setenv("_GEOQUANT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "geoquant f")
    monkeypatch.setenv("COMP_CWORD", "1")
    code = (
        "import contextlib, sys\nfrom geoquant.cli import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = fresh_python("-c", code)
    assert done.stdout.startswith("plain,fit\n")
    assert set(done.stdout.partition("loaded:")[2].split()) & HEAVY == set()
