"""Tries an installed wheel: every public name, and the commands that need no data.

Run by ``.ci/test_wheels`` and by cibuildwheel, from outside of the tree.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import geoquant

TREE = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> str:
    """What a command prints; it has to end well."""
    command = [sys.executable, "-m", "geoquant", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def main() -> None:
    place = Path(geoquant.__file__).resolve()
    if place.parent == TREE / "geoquant":
        sys.exit(f"{place} is the tree's own: start outside of it, with the wheel installed")
    missing = [name for name in geoquant.__all__ if not hasattr(geoquant, name)]
    if missing:
        sys.exit(f"{place}: no {', '.join(missing)}")
    if version("geoquant") not in run("--version"):
        sys.exit("geoquant --version tells another version")
    run("doctor")
    said = run("demo")
    if "explorer.html" not in said:
        sys.exit(f"geoquant demo wrote no explorer: {said}")
    print(said)
    print(f"geoquant {version('geoquant')}, Python {sys.version.split()[0]}: fine")


if __name__ == "__main__":
    main()
