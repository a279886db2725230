"""Builds the compiled kernels; everything else is in pyproject.toml.

GEOQUANT_BUILD=debug keeps the asserts of the kernels and turns warnings into errors.
"""

import os
from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

DEBUG = os.environ.get("GEOQUANT_BUILD", "release") == "debug"
WARNINGS = ["-Wall", "-Wextra", *(["-Werror"] if DEBUG or "CI" in os.environ else [])]
OPTIMISATION = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-DNDEBUG"]

ParallelCompile(default=0).install()
setup(
    ext_modules=[
        Pybind11Extension(
            "geoquant._core",
            sources=sorted(glob("csrc/*.cpp")),
            depends=sorted(glob("csrc/*.h")),
            cxx_std=17,
            # No contraction to fused multiply-add: the same bits on every processor.
            extra_compile_args=[*WARNINGS, *OPTIMISATION, "-ffp-contract=off"],
        )
    ]
)
