"""What is printed: ``--format``, its short forms, and the variable of the environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from geoquant.cli import cli
from tests.cli.conftest import assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


@pytest.mark.parametrize("asked", [("--format", "json"), ("--json",), ("--format=json", "--json")])
def test_json(run: Run, latents: Path, asked: tuple[str, ...]) -> None:
    """One JSON object on stdout and nothing on stderr, however it is asked for."""
    outcome = run("fit", latents, "-k", 3, *asked)
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["k"] == 3


@pytest.mark.parametrize("asked", [("--format", "quiet"), ("-q",), ("--quiet",)])
def test_quiet(run: Run, latents: Path, folder: Path, asked: tuple[str, ...]) -> None:
    """Nothing is printed, and the files are written all the same."""
    assert run("fit", latents, "-k", 3, *asked) == (0, "", "")
    assert (folder / "latents.codebook.safetensors").exists()
    book = "latents.codebook.safetensors"
    assert run("inspect", book, *asked) == (0, "", "")
    assert run("compare", book, book, "--latents", latents, *asked) == (0, "", "")


@pytest.mark.parametrize("variable", [None, "", "human", "auto"])
@pytest.mark.parametrize("asked", [(), ("--format", "auto"), ("--format", "human")])
def test_human(
    run: Run,
    latents: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    asked: tuple[str, ...],
) -> None:
    """A table, unless something else is asked for."""
    if variable is not None:
        monkeypatch.setenv("GEOQUANT_FORMAT", variable)
    outcome = run("fit", latents, "-k", 3, *asked)
    assert outcome.out.splitlines()[0].strip() == "latents.npy: 3 codes"


def test_variable_of_the_environment(
    run: Run, latents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GEOQUANT_FORMAT is what auto means; what is asked for goes first."""
    monkeypatch.setenv("GEOQUANT_FORMAT", "json")
    assert json.loads(run("fit", latents, "-k", 3).out)["k"] == 3
    assert run("fit", latents, "-k", 3, "--format", "human").out.startswith("latents.npy")
    assert run("fit", latents, "-k", 3, "-q").out == ""
    monkeypatch.setenv("GEOQUANT_FORMAT", "yaml")
    assert_usage_error(run("fit", latents, "-k", 3), "GEOQUANT_FORMAT", "'yaml'")


@pytest.mark.parametrize(
    "asked",
    [("--json", "-q"), ("--format", "human", "--json"), ("--format", "quiet", "--json")],
)
def test_two_formats_at_once(run: Run, latents: Path, asked: tuple[str, ...]) -> None:
    """Two formats contradict each other."""
    assert_usage_error(run("fit", latents, "-k", 3, *asked), "json", "choose one")


def test_every_command_has_the_options() -> None:
    """All commands print in the same formats, but for the one that prints a script."""
    without = [
        name
        for name, command in cli.commands.items()
        if "output_format" not in {parameter.name for parameter in command.params}
    ]
    assert without == ["completion"]
