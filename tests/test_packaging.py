"""What is packed: the files of wheel and sdist, and for which Pythons they are built and tried."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_project import ROOT, pyproject, tracked_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git tracks, as a fresh clone would be."""
    folder = tmp_path_factory.mktemp("clone")
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def setup(clone: Path) -> Callable[..., None]:
    """Run a command of setup.py in the copy."""

    def run(*arguments: str) -> None:
        command = [sys.executable, "setup.py", "--quiet", *arguments]
        subprocess.run(command, cwd=clone, check=True, capture_output=True)

    return run


def files_below(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_wheel_holds_the_whole_package(
    setup: Callable[..., None], clone: Path, tmp_path: Path
) -> None:
    """Every module, every stub and the mark of types are packed, and nothing else."""
    setup("build_py", "--build-lib", str(tmp_path))
    tracked = {name for name in tracked_files() if name.startswith("geoquant/")}
    assert files_below(tmp_path) == tracked
    kept = {"geoquant/py.typed", "geoquant/_core.pyi", "geoquant/torch/__init__.pyi"}
    assert kept <= tracked


def test_an_sdist_holds_what_builds_and_tests(
    setup: Callable[..., None], clone: Path, tmp_path: Path
) -> None:
    """The sdist has kernels, package, tests and licence, but no results of benchmarks."""
    setup("sdist", "--dist-dir", str(tmp_path))
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [
        name
        for name in tracked_files()
        if name.startswith(("csrc/", "geoquant/", "tests/"))
        and not name.startswith("tests/benchmarks/")
    ]
    needed = ["LICENSE", "README.md", "CHANGELOG.md", "constraints.txt", "pyproject.toml"]
    assert {*wanted, *needed, "setup.py"} - held == set()
    assert [name for name in held if name.startswith("benchmarks")] == []


def pythons() -> list[str]:
    """The releases that pyproject.toml names, the lowest first."""
    named = re.findall(
        r"Python :: (3\.\d+)$", "\n".join(pyproject()["project"]["classifiers"]), re.M
    )
    return sorted(named, key=lambda name: int(name.partition(".")[2]))


def test_wheels_are_built_for_every_python() -> None:
    """Every Python that is named has a wheel, and is tried by hand and by the workflow."""
    built = pyproject()["tool"]["cibuildwheel"]["build"].split()
    assert built == [f"cp{name.replace('.', '')}-*" for name in pythons()]
    tried = re.findall(r"python(3\.\d+)", (ROOT / ".ci/test_wheels").read_text())
    assert tried == pythons()
    assert pyproject()["project"]["requires-python"] == f">={pythons()[0]}"


def workflow(name: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


def test_the_lowest_and_the_newest_python_are_tested() -> None:
    """CI runs the whole check with both ends of the range."""
    check = workflow("ci.yml")["jobs"]["check"]
    assert check["strategy"]["matrix"]["python"] == [pythons()[0], pythons()[-1]]
    assert {"run": ".ci/run"} in check["steps"]


def test_what_workflows_call_exists() -> None:
    """Every target of make, script and file that a workflow names is there."""
    steps = [
        step
        for file in ("ci.yml", "release.yml")
        for job in workflow(file)["jobs"].values()
        for step in job["steps"]
    ]
    called = "\n".join(step.get("run", "") for step in steps)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", called)) <= set(targets)
    assert all((ROOT / name).is_file() for name in re.findall(r"(?<!\S)\.ci/\w+", called))


def test_publishing_needs_no_password() -> None:
    """Only the job that publishes may ask who it is, and only a tag starts it."""
    assert workflow("release.yml")["permissions"] == {"contents": "read"}
    jobs = workflow("release.yml")["jobs"]
    allowed = {name for name, job in jobs.items() if "id-token" in job.get("permissions", {})}
    assert allowed == {"publish"}
    assert jobs["publish"]["if"] == "github.ref_type == 'tag'"
    assert set(jobs["publish"]["needs"]) == {"sdist", "wheels"}


def test_the_wheel_is_tried_by_one_script() -> None:
    """cibuildwheel and make test-wheels run the same smoke test."""
    command = pyproject()["tool"]["cibuildwheel"]["test-command"]
    script = command.partition("{project}/")[2]
    assert (ROOT / script).is_file()
    assert script in (ROOT / ".ci/test_wheels").read_text()
