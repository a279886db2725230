"""Builds the compiled kernels; everything else is in pyproject.toml.

GEOQUANT_BUILD=debug keeps the asserts of the kernels and turns warnings into errors; narrow does so
too, and numbers nodes with 16 bits, so that tests reach the end of what a number holds.
"""

import os
from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

BUILD = os.environ.get("GEOQUANT_BUILD", "release")
DEBUG = BUILD in ("debug", "narrow")
WARNINGS = ["-Wall", "-Wextra", *(["-Werror"] if DEBUG or "CI" in os.environ else [])]
OPTIMISATION = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-DNDEBUG"]
NODES = ["-DGEOQUANT_NODE_BITS=16"] if BUILD == "narrow" else []

ParallelCompile(default=0).install()
setup(
    ext_modules=[
        Pybind11Extension(
            "geoquant._core",
            sources=sorted(glob("csrc/*.cpp")),
            depends=sorted(glob("csrc/*.h")),
            cxx_std=17,
            # No contraction to fused multiply-add: the same bits on every processor.
            extra_compile_args=[*WARNINGS, *OPTIMISATION, *NODES, "-ffp-contract=off"],
        )
    ]
)
