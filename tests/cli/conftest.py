from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from geoquant.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Outcome(NamedTuple):
    exit_code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def run_main(*arguments: Any) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        return Outcome(int(caught.value.code or 0), *capsys.readouterr())

    return run_main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the commands run; output 200 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def blobs() -> np.ndarray:
    """Three heaps far apart, for which KMeans would do."""
    centre = np.repeat([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]], 20, axis=0)
    return (centre + np.random.default_rng(0).normal(size=(60, 2))).astype(np.float32)


def spiral() -> np.ndarray:
    """A curve whose turns lie close, for which KMeans would not do."""
    angle = np.linspace(2, 22, 300)
    return np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1).astype(np.float32)


@pytest.fixture
def latents(folder: Path) -> Path:
    """A file of sixty latents in three heaps."""
    np.save(folder / "latents.npy", blobs())
    return folder / "latents.npy"


@pytest.fixture
def spiral_latents(folder: Path) -> Path:
    """A file of three hundred latents along a spiral."""
    np.save(folder / "spiral.npy", spiral())
    return folder / "spiral.npy"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_one_line_error(outcome: Outcome, exit_code: int, *words: str) -> None:
    """Nothing on stdout; on stderr one line, without a traceback, with all of `words`."""
    assert outcome.exit_code == exit_code, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith("\n")
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err


def assert_interrupted(outcome: Outcome, *, goes_on: bool = False) -> None:
    """Exit code 130 and one line, below the terminal's own ``^C``."""
    left = (
        "the same command goes on after the last whole epoch" if goes_on else "nothing was written"
    )
    assert outcome == (130, "", f"\nError: interrupted; {left}\n")


def assert_usage_error(outcome: Outcome, *words: str) -> None:
    """Exit code 2, nothing on stdout, no traceback, all of `words` on stderr."""
    assert outcome.exit_code == 2, outcome
    assert outcome.out == ""
    assert "Error: " in outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err
