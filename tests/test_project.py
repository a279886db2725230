"""The structure that the project keeps: who imports what, what loads when, what is said where."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "geoquant"

#: Imports point backwards in this list. A name stands for the modules below it that are not listed.
ORDER = [
    "geoquant._core",
    "geoquant.errors",
    "geoquant.arguments",
    "geoquant.progress",
    "geoquant.short_repr",
    "geoquant.default_floats",
    "geoquant.exact_sum",
    "geoquant.urls",
    "geoquant.files",
    "geoquant.tensor_files",
    "geoquant.memory",
    "geoquant.formats",
    "geoquant.latents",
    "geoquant.dask_arrays",
    "geoquant.distinct",
    "geoquant.graph.csr",
    "geoquant.graph.cells",
    "geoquant.graph.knn",
    "geoquant.graph.edge_lengths",
    "geoquant.graph.components",
    "geoquant.graph.shortest_paths",
    "geoquant.graph",
    "geoquant.clustering.result",
    "geoquant.clustering.seeding",
    "geoquant.clustering.alternate",
    "geoquant.checkpoint",
    "geoquant.clustering.swap",
    "geoquant.clustering.multilevel",
    "geoquant.clustering.kmedoids",
    "geoquant.clustering",
    "geoquant.assignment",
    "geoquant.codebook",
    "geoquant.multistage",
    "geoquant.cost_constants",
    "geoquant.work",
    "geoquant.cost",
    "geoquant.fit",
    "geoquant.multistage_fit",
    "geoquant.estimate",
    "geoquant.quality",
    "geoquant.plane",
    "geoquant.pictures",
    "geoquant.card",
    "geoquant.export",
    "geoquant.distributed",
    "geoquant.estimators",
    "geoquant",
    "geoquant.torch.datasets",
    "geoquant.torch.pretrained",
    "geoquant.torch.training",
    "geoquant.torch.networks",
    "geoquant.torch.bottlenecks",
    "geoquant.torch.autoencoders",
    "geoquant.torch.autoencoder_training",
    "geoquant.torch.probes",
    "geoquant.torch.vae_adapter",
    "geoquant.torch.layers",
    "geoquant.torch.quantizer",
    "geoquant.torch.multistage_quantizer",
    "geoquant.torch.reconstruction",
    "geoquant.torch.reassignment",
    "geoquant.torch.refine",
    "geoquant.torch.prior",
    "geoquant.torch.exchange",
    "geoquant.torch.exchange_folders",
    "geoquant.torch",
    "geoquant.report",
    "geoquant.explorer",
    "geoquant.cli",
    "geoquant.__main__",
]
#: Listed for the order of the design, not yet written.
PLANNED: set[str] = set()

#: The only places that may import a library.
HOMES = {
    "dask": ("geoquant.dask_arrays", "geoquant.distributed"),
    "distributed": ("geoquant.distributed",),
    "fsspec": ("geoquant.urls",),
    "h5py": ("geoquant.formats",),
    "huggingface_hub": ("geoquant.torch",),
    "matplotlib": ("geoquant.report",),
    "pyarrow": ("geoquant.formats", "geoquant.export"),
    "sklearn.base": ("geoquant.estimators",),
    "torch": ("geoquant.torch", "geoquant.formats.torch_file"),
    "zarr": ("geoquant.formats",),
}
HEAVY = {"faiss", "matplotlib", "numba", "sklearn", "torch"}

CODE_RUNNING_MODULES = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
CODE_RUNNING_CALLS = {"eval", "exec", "os.system", "torch.load", "yaml.load"}
CODE_RUNNING_KEYWORDS = {"allow_pickle", "shell"}

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|work|Users)/")


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def package_trees() -> dict[str, ast.Module]:
    """Syntax trees of the package's modules by dotted name."""
    return {module_name(file): ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py")}


def packages() -> set[str]:
    return {module_name(file) for file in PACKAGE.rglob("__init__.py")}


def imported_names(tree: ast.Module, module: str) -> set[str]:
    """Dotted names that a module imports anywhere in its code, functions included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = imported_from(node, module)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def imported_from(node: ast.ImportFrom, module: str) -> str:
    """Absolute name of the module in ``from ... import``."""
    if not node.level:
        return str(node.module)
    parents = module.split(".") if module in packages() else module.split(".")[:-1]
    above = parents[: len(parents) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def own_module(name: str) -> str:
    """Module of the package that holds an imported name."""
    known = {*package_trees(), "geoquant._core"}
    while name not in known:
        name = name.rpartition(".")[0]
    return name


def position(module: str) -> int:
    """Place in `ORDER` of a module, or of the nearest listed package around it."""
    name = module
    while name not in ORDER:
        name = name.rpartition(".")[0]
    if name == "geoquant" and module != name:
        pytest.fail(f"{module} has no place in ORDER")
    return ORDER.index(name)


def called_name(call: ast.Call) -> str:
    """Source of what is called, such as ``torch.load``."""
    return ast.unparse(call.func)


def loads_weights_only(call: ast.Call) -> bool:
    """Whether a call is ``torch.load(..., weights_only=True)``, which runs no code."""
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    return called_name(call) == "torch.load" and given.get("weights_only") == "True"


def is_within(module: str, home: str) -> bool:
    return module == home or module.startswith(home + ".")


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    report = "\nimport sys\nprint('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    environment = {key: value for key, value in os.environ.items() if key != "EAGER_IMPORT"}
    done = subprocess.run(
        [sys.executable, "-c", code + report],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_installed_version_is_that_of_pyproject() -> None:
    """The version that users read is the one in pyproject.toml."""
    assert importlib.metadata.version("geoquant") == pyproject()["project"]["version"]


def test_changelog_has_the_version() -> None:
    """The changelog has a section for the version in pyproject.toml."""
    assert f"## [{pyproject()['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_has_a_pin() -> None:
    """Whatever pyproject.toml asks for is pinned exactly in constraints.txt."""
    project = pyproject()["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {canonical(re.split(r"[^\w.-]", item)[0]) for group in groups for item in group}
    pins = (ROOT / "constraints.txt").read_text()
    pinned = re.findall(r"^([\w.-]+)==[\w.]+$", pins, re.MULTILINE)
    assert wanted - {"geoquant"} <= set(map(canonical, pinned))


def test_setup_py_is_short() -> None:
    """What can be said in pyproject.toml is not in setup.py."""
    assert len((ROOT / "setup.py").read_text().splitlines()) <= 40


@pytest.mark.parametrize("library", sorted(HOMES))
def test_library_is_imported_only_at_home(library: str) -> None:
    """Each heavy or optional library has few places in the package that import it."""
    importers = {
        module
        for module, tree in package_trees().items()
        if any(is_within(name, library) for name in imported_names(tree, module))
    }
    homes = HOMES[library]
    assert {m for m in importers if not any(is_within(m, home) for home in homes)} == set()


def test_order_lists_only_modules_that_exist() -> None:
    """The order of imports names no module that is gone."""
    assert set(ORDER) - {*package_trees(), "geoquant._core"} - PLANNED == set()


def test_imports_point_backwards() -> None:
    """No module imports one that comes later in the order of the data."""
    forward = [
        f"{module} imports {target}"
        for module, tree in package_trees().items()
        if module not in packages()
        for name in imported_names(tree, module)
        if is_within(name, "geoquant")
        and (target := own_module(name)) != module
        and position(target) > position(module)
    ]
    assert forward == []


def test_packages_import_no_later_ones() -> None:
    """An ``__init__`` gathers what stands in its own folder or before it."""
    forward = [
        f"{module} imports {target}"
        for module, tree in package_trees().items()
        if module in packages()
        for name in imported_names(tree, module)
        if is_within(name, "geoquant")
        and not is_within(target := own_module(name), module)
        and position(target) > position(module)
    ]
    assert forward == []


def test_no_module_that_runs_code_from_data() -> None:
    """The package reads no format that can carry code."""
    used = {
        f"{module} imports {name}"
        for module, tree in package_trees().items()
        for name in imported_names(tree, module)
        if name.partition(".")[0] in CODE_RUNNING_MODULES
    }
    assert used == set()


def test_no_call_that_runs_code_from_data() -> None:
    """Neither data nor arguments are ever evaluated, unpickled or handed to a shell."""
    calls = [
        (module, node)
        for module, tree in package_trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]
    risky = [
        f"{module}:{call.lineno} {ast.unparse(call)}"
        for module, call in calls
        if (called_name(call) in CODE_RUNNING_CALLS and not loads_weights_only(call))
        or any(
            keyword.arg in CODE_RUNNING_KEYWORDS and ast.unparse(keyword.value) != "False"
            for keyword in call.keywords
        )
    ]
    assert risky == []


def test_import_is_light() -> None:
    """``import geoquant`` loads no heavy library."""
    assert loaded_after("import geoquant") & HEAVY == set()


def test_help_is_light() -> None:
    """``python -m geoquant --help`` loads no heavy library."""
    code = (
        "import contextlib, runpy, sys\n"
        "sys.argv = ['geoquant', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('geoquant', run_name='__main__')"
    )
    loaded = loaded_after(code)
    assert "click" in loaded
    assert loaded & HEAVY == set()


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_missing_kernels_are_said_to_be_missing() -> None:
    """Without the extension the package is imported, and what needs it says how to get it."""
    code = "import sys; sys.modules['geoquant._core'] = None\nimport geoquant\n"
    done = run_python(code + "geoquant.fit_codebook")
    assert done.stderr.splitlines()[-1].startswith("ImportError: geoquant._core, the compiled")
    assert "install geoquant anew" in done.stderr
    done = run_python(code + "from geoquant.cli import main; main(['fit', 'x.npy', '-k', '2'])")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF"])
def test_kernels_of_another_kind_are_said_to_be_so(tmp_path: Path, content: bytes) -> None:
    """A file that cannot be loaded, as one for another system, is an ImportError with the cure."""
    name = "_core" + importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / name).write_bytes(content)
    code = f"import geoquant; geoquant.__path__[:] = [{str(tmp_path)!r}]\n"
    done = run_python(code + "from geoquant import _core")
    assert done.stderr.splitlines()[-1].startswith("ImportError: geoquant._core, the compiled")


def test_optional_libraries_may_be_absent() -> None:
    """Without PyTorch, faiss, numba and matplotlib latents are fitted; PyTorch is asked for."""
    code = (
        "import sys\n"
        "for name in ('torch', 'faiss', 'numba', 'matplotlib'): sys.modules[name] = None\n"
        "import geoquant as gq\n"
        "print(sorted(gq.fit_codebook([[0.0], [9.0]], 2, random_state=0).codes.tolist()))\n"
        "import geoquant.torch"
    )
    done = run_python(code)
    assert done.stdout == "[0, 1]\n"
    assert "ImportError: geoquant.torch" in done.stderr


def test_every_test_has_a_docstring() -> None:
    """Each test says in words what it holds."""
    silent = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_path_of_a_machine_is_tracked() -> None:
    """No text file under version control names a folder of somebody's machine."""
    found = [
        f"{name}:{number} {line.strip()}"
        for name in tracked_files()
        for number, line in enumerate(text_lines(ROOT / name), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def tracked_files() -> list[str]:
    """Names of the files that git tracks; skips the test where git cannot say."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    names = [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    return names or pytest.skip("git tracks nothing here")


def text_lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
