"""``geoquant train``: what it trains, says, writes, resumes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.cli.conftest import assert_interrupted, assert_one_line_error, assert_usage_error
from tests.cli.test_main import fresh_python

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


@pytest.fixture
def images(folder: Path) -> Path:
    """Bars at one of four places."""
    pixels = np.zeros((200, 4, 4), np.uint8)
    pixels[np.arange(200), np.arange(200) // 10 % 4] = 255
    np.save(folder / "bars.npy", pixels)
    return folder / "bars.npy"


SMALL = ("--latent-dim", 2, "--hidden-dim", 16, "--batch-size", 20, "-o", "run")


@pytest.mark.parametrize(("kind", "parts"), [("vae", {"bce", "kl"}),
                                             ("vq-vae", {"bce", "commitment"})])  # fmt: skip
def test_trains_and_measures(
    run: Run, images: Path, folder: Path, kind: str, parts: set[str]
) -> None:
    """Nine tenths are trained on, the rest measured; the folder is a model that loads."""
    from geoquant.torch import load_images, load_model, mean_losses

    outcome = run("train", kind, "--data", images, *SMALL, "--epochs", 3, "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    said = json.loads(outcome.out)
    assert (said["n"], said["n_test"], said["image_shape"]) == (180, 20, [1, 4, 4])
    assert (said["train"]["epoch"], said["model"]) == (3, "run")
    assert parts <= set(said["test"])
    assert said["test"]["loss"] == pytest.approx(sum(said["test"][part] for part in parts))
    assert {path.name for path in (folder / "run").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    expected = mean_losses(load_model("run"), load_images(images, "test"))
    assert {name: said["test"][name] for name in expected} == pytest.approx(expected)


AE = ("ae", "--network", "mlp", "--width", 16, "--latent-dim", 2, "--batch-size", 20, "-o", "run")


@pytest.mark.parametrize(
    ("bottleneck", "parts", "said"),
    [
        (("none",), set(), ""),
        (("gaussian",), {"kl"}, ""),
        (("zero-pull",), {"pull"}, ""),
        (("centre-pull", "--centres", 3), {"pull"}, "of 3 centres nearest to some"),
        (("centre-pull", "--momentum", 0.1), {"pull"}, "of 20 centres nearest to some"),
        (("vector-quantizer", "--codes", 4), {"commitment"}, "of 4 codes used"),
        (("vq-ae", "--codebook-update", "gradient"), {"commitment"}, "of 64 codes used"),
    ],
)
def test_trains_every_bottleneck(
    run: Run, images: Path, bottleneck: tuple[Any, ...], parts: set[str], said: str
) -> None:
    """It loads with the bottleneck that was asked for, and its losses and codes are told."""
    from geoquant.torch import NamedAutoencoder, load_model

    outcome = run("train", *AE, "--data", images, "--epochs", 1, "--bottleneck", *bottleneck)
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert "reconstruction" in outcome.out
    assert all(part in outcome.out for part in parts)
    assert said in outcome.out
    assert isinstance(load_model("run"), NamedAutoencoder)
    config = json.loads((images.parent / "run" / "config.json").read_text())
    assert (config["bottleneck"], config["network"]) == (bottleneck[0], "mlp")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("vae", "--centres", 3), "--centres"),
        (("vq-vae", "--network", "mlp"), "--network"),
        (("ae", "--hidden-dim", 4), "--hidden-dim"),
        (("ae", "--centres", 3), "--centres"),
        (("ae", "--bottleneck", "vq-ae", "--momentum", 0.1), "--momentum"),
        (("ae", "--bottleneck", "centre-pull", "--codes", 4), "--codes"),
    ],
)
def test_options_of_another_kind_are_refused(
    run: Run, images: Path, arguments: tuple[Any, ...], named: str
) -> None:
    """With the name of the option and what it is for."""
    outcome = run("train", *arguments, "--data", images, "-o", "run")
    assert_usage_error(outcome, named, "is for")


def test_says_it_in_words(run: Run, images: Path) -> None:
    """Lines for the data, the losses, the codes and the folder; with -q none."""
    arguments = ("train", "vq-vae", "--data", images, *SMALL, "--codes", 4, "--epochs", 1)
    lines = run(*arguments).out.splitlines()
    assert lines[0] == "180 images of 1 x 4 x 4, 1 epoch"
    assert lines[1].startswith("20 images not trained on: ")
    assert "of 4 codes used, perplexity " in lines[2]
    assert lines[3] == "model     run"
    assert run(*arguments, "--overwrite", "-q") == (0, "", "")


@pytest.mark.parametrize("kind", ["vae", "vq-vae"])
def test_same_seed_same_model(run: Run, images: Path, folder: Path, kind: str) -> None:
    """Begin, order and samples follow from the seed."""
    files = []
    for seed in (1, 1, 2):
        arguments = ("train", kind, "--data", images, *SMALL, "--epochs", 1, "--overwrite")
        assert run(*arguments, "--seed", seed).exit_code == 0
        files.append((folder / "run" / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("kind", ["vae", "vq-vae"])
def test_interrupted_run_resumes(
    run: Run, images: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A run stopped in its third epoch ends, when begun again, like one never stopped."""
    from geoquant.cli.progress_bar import ProgressBar

    arguments = ("train", kind, "--data", images, *SMALL, "--epochs", 4)
    run(*arguments)
    whole = (folder / "run" / "model.safetensors").read_bytes()

    def stop(bar: object, stage: str, done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ProgressBar, "__call__", stop)
        assert_interrupted(run(*arguments, "--overwrite"), goes_on=True)
    assert (folder / "run" / "checkpoint.safetensors").exists()
    outcome = run(*arguments, "--overwrite")
    assert outcome.exit_code == 0, outcome
    assert (folder / "run" / "model.safetensors").read_bytes() == whole
    assert not (folder / "run" / "checkpoint.safetensors").exists()


def test_finished_model_is_kept(run: Run, images: Path) -> None:
    """A folder with a model is only trained into when told to."""
    arguments = ("train", "vae", "--data", images, *SMALL, "--epochs", 1)
    assert run(*arguments).exit_code == 0
    assert_usage_error(run(*arguments), "--output", "run holds a model already", "--overwrite")


def test_colours_are_resized(run: Run, folder: Path) -> None:
    """Three channels and another size reach the model."""
    np.save(folder / "c.npy", np.zeros((30, 6, 8, 3), np.uint8))
    arguments = ("train", "vae", "--data", "c.npy", "--image-size", 4, "--limit", 9, "--epochs", 1)
    said = json.loads(run(*arguments, *SMALL, "--json").out)
    assert (said["image_shape"], said["n"], said["n_test"]) == ([3, 4, 4], 9, 3)


def test_codes_are_for_vq_vae(run: Run, images: Path) -> None:
    """A VAE has no codes, and says so before anything is read."""
    for option, value in (("--codes", 4), ("--codebook-update", "ema")):
        outcome = run("train", "vae", "--data", images, *SMALL, option, value)
        assert_usage_error(outcome, option, "is for vq-vae")


def test_missing_data(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing data are named with the cure, and no folder is made."""
    monkeypatch.setenv("GEOQUANT_DATA", str(folder / "data"))
    monkeypatch.setattr("pooch.os_cache", lambda name: folder / "cache")
    outcome = run("train", "vae", "--data", "mnist", "-o", "run")
    assert_one_line_error(outcome, 3, "mnist", str(folder / "data"), "--download", "GEOQUANT_DATA")
    outcome = run("train", "vae", "--data", "nothing", "-o", "run")
    assert_one_line_error(outcome, 2, "'nothing'", "a folder of images or an .npy")
    assert not (folder / "run").exists()


def test_without_pytorch() -> None:
    """Where PyTorch is missing, the error is one line that says what to install."""
    done = fresh_python(
        "-c",
        "import sys; sys.modules['torch'] = None; from geoquant.cli import main; "
        "main(['train', 'vae', '--data', 'mnist', '-o', 'run'])",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: geoquant.torch needs PyTorch, which is not installed; install it with: "
        "pip install 'geoquant[torch]'\n"
    )
