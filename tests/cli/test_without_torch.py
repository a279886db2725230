"""The commands that ask for PyTorch only where a model or images are named, without it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Not sys.modules["torch"] = None, which SciPy takes for a PyTorch that is loaded.
WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from geoquant.cli import cli
for line in sys.argv[1:]:
    cli.main(line.split(), prog_name="geoquant", standalone_mode=False)
assert not any(name.partition(".")[0] == "torch" for name in sys.modules)
"""
COMMANDS = {
    "demo": ["demo"],
    "those of latents": [
        "fit latents.npy -k 3",
        "assign latents.npy --codebook latents.codebook.safetensors -o again.npy",
        "inspect latents.codebook.safetensors",
        "compare latents.codebook.safetensors latents.codebook.safetensors --latents latents.npy",
        "explore latents.codebook.safetensors --latents latents.npy -o latent.html",
        "export latents.codebook.safetensors --to projector --latents latents.npy -o projector",
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_needs_no_torch_runs_without_it(name: str, latents: Path) -> None:
    """They end well where PyTorch is not installed."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *COMMANDS[name]]
    tree = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
