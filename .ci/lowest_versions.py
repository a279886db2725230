"""Prints the lowest releases that pyproject.toml allows; what only tests need is pinned.

``make test-lowest`` installs them, so that the lower bounds are releases that work.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Extras whose bounds are tried too.
EXTRAS = ("distributed", "io", "plot", "torch")
#: Of any release that goes with the others.
ANY = ("pandas",)
#: What is pinned: tools of the tests and of the build, and PyTorch, whose old builds are huge.
PINNED = (
    "cloudpickle",
    "faiss-cpu",
    "hypothesis",
    "kmedoids",
    "pybind11",
    "pytest",
    "pytest-timeout",
    "setuptools",
    "torch",
)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]
    lowest = (one.replace(">=", "==") for one in asked if one.split(">=")[0] not in PINNED)
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = (pin for pin in pins if pin.split("==")[0].lower() in PINNED)
    print(*lowest, *pinned, *ANY, sep="\n")


if __name__ == "__main__":
    main()
