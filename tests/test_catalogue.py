"""The page of hostile inputs names tests that exist, and no input twice."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "hostile_inputs.md"
LEAST_ROWS = 120

_ROW = re.compile(r"^\| (?P<input>.+?) \| (?P<answer>.+?) \| `(?P<test>[^`]+)` \|$")
_TEST = re.compile(r"(?P<file>tests/[\w/]+\.py)::(?P<function>\w+)(?:\[(?P<case>.+)\])?")


class Row(NamedTuple):
    """A line of a table: its section, the input, and the test that tries it."""

    section: str
    input: str
    file: str
    function: str
    case: str | None


@cache
def rows() -> list[Row]:
    """Every row of the page."""
    found, section = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not line.startswith(("| ---", "| input", "| fault")):
            row = _ROW.match(line)
            assert row, line
            test = _TEST.fullmatch(row["test"])
            assert test, line
            found.append(
                Row(section, row["input"], test["file"], test["function"], test["case"]),
            )
    return found


@cache
def functions(file: str) -> set[str]:
    """Names of the functions in a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_named_test_exists() -> None:
    """Whoever follows a row finds the function."""
    missing = [row for row in rows() if row.function not in functions(row.file)]
    assert missing == []


def test_every_named_case_exists(request: pytest.FixtureRequest) -> None:
    """The text in brackets is a part of the name of a case, where all tests are collected."""
    config = request.config
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not is_whole or config.option.keyword or getattr(config.option, "lf", False):
        pytest.skip("only some tests are collected")
    cases: dict[tuple[str, str], list[str]] = {}
    for item in request.session.items:
        file, _, name = item.nodeid.partition("::")
        function, _, case = name.rpartition("::")[2].partition("[")
        cases.setdefault((file, function), []).append(case)
    missing = [
        row
        for row in rows()
        if row.case is not None
        and (row.file, row.function) in cases
        and not any(row.case in case for case in cases[row.file, row.function])
    ]
    assert missing == []


def test_no_row_is_there_twice() -> None:
    """Within a table every input is said once."""
    named = [(row.section, row.input) for row in rows()]
    assert sorted(set(named)) == sorted(named)


def test_there_are_many_rows() -> None:
    """The catalogue is not cut short by mistake."""
    assert len(rows()) >= LEAST_ROWS
    assert {row.section for row in rows()} == {"Arrays", "Graphs", "Files", "Saving and running"}
