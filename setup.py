"""Builds the compiled kernels; everything else is in pyproject.toml.

GEOQUANT_BUILD=debug keeps the kernels' asserts and turns warnings into errors; so do narrow, which
numbers nodes with 16 bits, so that tests reach the end of what a number holds, and sanitize, which
stops at what AddressSanitizer or UndefinedBehaviorSanitizer finds.
"""

import os
import sys
from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

BUILD = os.environ.get("GEOQUANT_BUILD", "release")
DEBUG = BUILD in ("debug", "narrow", "sanitize")
WARNINGS = ["-Wall", "-Wextra", *(["-Werror"] if DEBUG or "CI" in os.environ else [])]
OPTIMISATION = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-DNDEBUG"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] * (BUILD == "sanitize")
# What an attacker who found a mistake would have to get past; free in these kernels.
HARDEN = ["-fstack-protector-strong", *([] if DEBUG else ["-D_FORTIFY_SOURCE=2"])]
HARDEN_LINK = ["-Wl,-z,relro", "-Wl,-z,now"] if sys.platform == "linux" else []
NODES = ["-DGEOQUANT_NODE_BITS=16"] if BUILD == "narrow" else []
# No contraction to fused multiply-add: the same bits on every processor.
COMPILE = [*WARNINGS, *OPTIMISATION, *HARDEN, *SANITIZE, *NODES, "-ffp-contract=off"]

ParallelCompile(default=0).install()
setup(
    ext_modules=[
        Pybind11Extension(
            "geoquant._core",
            sources=sorted(glob("csrc/*.cpp")),
            depends=sorted(glob("csrc/*.h")),
            cxx_std=17,
            extra_compile_args=COMPILE,
            extra_link_args=HARDEN_LINK + SANITIZE,
        )
    ]
)
