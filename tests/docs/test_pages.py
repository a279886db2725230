"""What the pages show runs: Python, commands of geoquant, and what is said to be printed.

A page is run from top to bottom in a folder of its own. A block that is not to be run has another
language, such as ``text``; a block of ``output`` holds what the Python before it prints.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from geoquant.cli import cli, main
from tests.test_project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4}\S.*\n)+", re.MULTILINE)
RUN = {"python", "bash", "output"}
#: Shown only, or for Sphinx.
SHOWN = re.compile(r"text|\{[\w-]+\}")


class Block(NamedTuple):
    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """The pages that are written by hand."""
    generated = (DOCS / "examples", DOCS / "reference" / "generated")
    return sorted(p for p in DOCS.rglob("*.md") if not any(g in p.parents for g in generated))


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)
        for match in FENCE.finditer(text)
    ]


def readme_blocks() -> list[Block]:
    """The fenced and the indented blocks of the README, which shows commands in the latter."""
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    indented = [
        Block("bash", match[0], text.count("\n", 0, match.start()) + 1)
        for match in INDENTED.finditer(FENCE.sub(lambda m: "\n" * m[0].count("\n"), text))
    ]
    return sorted([*blocks(page), *indented], key=lambda block: block.line)


def commands(block: Block) -> list[list[str]]:
    """The words after ``geoquant`` of each command of a block."""
    joined = block.text.replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in joined.splitlines()]
    return [line[1:] for line in words if line[:1] == ["geoquant"]]


def imported(page_blocks: list[Block]) -> set[str]:
    """Libraries that the Python of a page imports, and that commands need."""
    python = "\n".join(block.text for block in page_blocks if block.language == "python")
    names = set(re.findall(r"^\s*(?:from|import) (\w+)", python, re.MULTILINE))
    called = {
        line[0] for block in page_blocks if block.language == "bash" for line in commands(block)
    }
    text = "\n".join(block.text for block in page_blocks if block.language in RUN)
    needed = {
        "torch": "geoquant.torch" in text or "runs/" in text or called & {"encode", "train"},
        "matplotlib": "geoquant.report" in text or called & {"report"},
        "pyarrow": "--to parquet" in text,
        "vector_quantize_pytorch": "to_vector_quantize_pytorch" in text,
    }
    return names | {library for library, is_needed in needed.items() if is_needed}


@contextlib.contextmanager
def at(page: str, block: Block) -> Iterator[None]:
    """Say where a page fails."""
    try:
        yield
    except (Exception, SystemExit) as error:
        error.add_note(f"{page}, line {block.line}:\n{block.text}")
        raise


def run_command(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0, f"geoquant {shlex.join(words)} ended with {ended.value.code}"


def run(page: str, page_blocks: list[Block], names: dict[str, Any]) -> None:
    """Run the blocks of a page in order, with one set of names."""
    printed = ""
    for block in page_blocks:
        with at(page, block):
            if block.language == "output":
                assert printed == block.text
            elif block.language == "bash":
                for words in commands(block):
                    run_command(words)
            elif block.language == "python":
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    exec(compile(block.text, f"{page}:{block.line}", "exec"), names)
                printed = out.getvalue()


@pytest.fixture
def folder(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the pages take as given, in which they run."""
    copy = tmp_path / "page"
    shutil.copytree(workplace, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("GEOQUANT_DATA", str(copy))
    monkeypatch.setenv("MPLBACKEND", "agg")
    return copy


def require(libraries: set[str]) -> None:
    for library in sorted(libraries):
        pytest.importorskip(library)


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if {block.language for block in blocks(page)} & RUN],
    ids=lambda page: str(page.relative_to(DOCS)),
)
def test_what_a_page_shows_runs(page: Path, folder: Path) -> None:
    """Python and commands run in order, and what is said to be printed is."""
    require(imported(blocks(page)))
    run(page.name, blocks(page), {"__name__": "page"})


def test_what_the_readme_shows_runs(folder: Path) -> None:
    """The README's commands and Python run, with a model and images of the reader's."""
    require({"torch", "matplotlib"})
    import torch

    from geoquant.torch import VAE, load_images

    shutil.rmtree(folder / "runs")  # the README trains its own model
    vae = VAE(hidden_dim=16)
    images = load_images("mnist", limit=200).images()
    mean, logvar = vae.encode(images)
    given = {"any_vae": vae, "images": images, "z": torch.tensor(np.load("latents.npy"))}
    given |= {"mean": mean.detach().numpy(), "logvar": logvar.detach().numpy()}
    run("README.md", readme_blocks(), {"__name__": "page", **given})


def test_every_block_is_run_or_only_shown() -> None:
    """Each block has a language that says which of the two."""
    unclear = [
        f"{page.relative_to(ROOT)}:{block.line} {block.language}"
        for page in pages()
        for block in blocks(page)
        if block.language not in RUN and not SHOWN.fullmatch(block.language)
    ]
    assert unclear == []


def test_blocks_of_commands_hold_nothing_else() -> None:
    """What looks like a command that runs is one that ran."""
    other = [
        f"{page.relative_to(ROOT)}:{block.line} {line}"
        for page in pages()
        for block in blocks(page)
        if block.language == "bash"
        for line in block.text.replace("\\\n", " ").splitlines()
        if not line.startswith("geoquant ")
    ]
    assert other == []


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_a_page_with_an_example(name: str) -> None:
    """The page shows the command's help, an example of it, and is listed."""
    page = DOCS / "commands" / f"{name}.md"
    shown = [line[0] for b in blocks(page) if b.language == "bash" for line in commands(b)]
    assert name in shown
    assert f"{{command-help}} {name}\n" in page.read_text()
    assert re.search(rf"^{name}$", (DOCS / "commands" / "index.md").read_text(), re.MULTILINE)
