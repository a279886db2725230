"""The examples in the help of every command work, one after the other in one folder."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest

from geoquant.cli import cli
from geoquant.cli.command import Command

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]

#: Each needs what those before it wrote.
STORY = [
    "doctor",
    "completion",
    "demo",
    "train",
    "encode",
    "fit",
    "assign",
    "inspect",
    "compare",
    "report",
    "explore",
    "export",
    "reconstruct",
    "prior",
    "sample",
]


#: What examples need beside PyTorch, by a word in them.
LIBRARIES = {
    "parquet": "pyarrow",
    "vector-quantize-pytorch": "vector_quantize_pytorch",
    "diffusers": "diffusers",
}


def is_possible(line: str) -> bool:
    """Whether the libraries are installed that an example needs."""
    needed = [LIBRARIES[word] for word in line.split() if word in LIBRARIES]
    return all(map(find_spec, needed))


def test_every_command_has_examples() -> None:
    """And each is a part of the story."""
    assert sorted(STORY) == sorted(cli.commands)
    for command in cli.commands.values():
        assert isinstance(command, Command)
        assert command.examples


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def few_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An MNIST of few images, and a folder of pictures."""
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("torch")
    monkeypatch.setenv("GEOQUANT_DATA", str(folder / "data"))
    rng = np.random.default_rng(0)
    (folder / "data/mnist").mkdir(parents=True)
    for part, n in {"train": 200, "t10k": 40}.items():
        write_idx(
            folder / f"data/mnist/{part}-images-idx3-ubyte", rng.integers(0, 255, (n, 12, 12))
        )
        write_idx(folder / f"data/mnist/{part}-labels-idx1-ubyte", rng.integers(0, 10, n))
    (folder / "images").mkdir()
    for i in range(30):
        pixels = rng.integers(0, 255, (8, 8), np.uint8)
        image.fromarray(pixels).save(folder / "images" / f"{i}.png")
    return folder


def test_examples(run: Run, few_images: Path) -> None:
    """Every line of every help, as it stands there, ends well and writes what it names."""
    lines = [line for name in STORY for line in cli.commands[name].examples]
    for line in filter(is_possible, [*lines, *cli.examples]):
        words, _, redirected = line.partition("  #")[0].partition(" > ")
        program, *arguments = shlex.split(words)
        assert program == "geoquant"
        outcome = run(*arguments)
        assert outcome.exit_code == 0, (line, outcome)
        if "-o" in arguments:
            assert (few_images / arguments[arguments.index("-o") + 1]).exists(), line
        assert outcome.out or not redirected


@pytest.mark.parametrize("name", ["", *cli.commands])
def test_help_shows_them_whole(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A line can be copied from a terminal of 80 columns: it is not wrapped."""
    monkeypatch.setenv("COLUMNS", "80")
    command: Any = cli.commands[name] if name else cli
    shown = run(*name.split(), "--help").out.partition("Examples:\n")[2]
    assert shown.splitlines() == [f"  {line}" for line in command.examples]


def test_summaries_fit_into_a_terminal() -> None:
    """In the list of commands no sentence is cut off at 80 columns."""
    cut = [
        name
        for name, command in cli.commands.items()
        if command.get_short_help_str(80 - len(max(cli.commands, key=len)) - 6).endswith("...")
    ]
    assert cut == []
    assert isinstance(cli, click.Group)
