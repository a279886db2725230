"""The reference names everything that is public."""

from __future__ import annotations

import importlib
import re
from types import FunctionType

import pytest

from tests.test_project import ROOT

REFERENCE = ROOT / "docs" / "reference"
#: Modules whose public names are listed, and the libraries that they need.
MODULES = {
    "geoquant": "numpy",
    "geoquant.errors": "numpy",
    "geoquant.explorer": "numpy",
    "geoquant.export": "numpy",
    "geoquant.quality": "numpy",
    "geoquant.report": "matplotlib",
    "geoquant.torch": "torch",
    "geoquant.torch.probes": "torch",
}


def listed() -> set[str]:
    """Dotted names in the lists of the reference."""
    names: set[str] = set()
    for page in REFERENCE.glob("*.rst"):
        module = ""
        for line in page.read_text().splitlines():
            if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
                module = found[1]
            elif found := re.fullmatch(r"   ([A-Za-z_]\w*)", line):
                names.add(f"{module}.{found[1]}")
    return names


def public(module: str) -> set[str]:
    """Names of ``__all__``, or else what the module itself defines; of errors the classes."""
    loaded = importlib.import_module(module)
    kinds = (type,) if module == "geoquant.errors" else (type, FunctionType)
    own = {
        name
        for name, value in vars(loaded).items()
        if isinstance(value, kinds) and value.__module__ == module and not name.startswith("_")
    }
    return {f"{module}.{name}" for name in getattr(loaded, "__all__", own)}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    """Nothing public is left out, and nothing is listed that is not there."""
    pytest.importorskip(MODULES[module])
    names = {name for name in listed() if name.rpartition(".")[0] == module}
    wanted = public(module) - {"geoquant.__version__"}
    if module == "geoquant":  # its errors are those of geoquant.errors, and listed there
        wanted -= {name.replace(".errors", "") for name in public("geoquant.errors")}
    assert names == wanted
