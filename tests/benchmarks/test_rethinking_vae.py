"""Tests of how the paper "Rethinking VAE" is measured, on a few generated images."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from benchmarks.papers.claims import claims_markdown
from benchmarks.papers.rethinking_vae import (
    bridge,
    bridge_figure,
    claims,
    configs,
    e7_vq_ae,
    features,
    figures,
    job,
    measures,
    models,
    plan,
    table,
)
from benchmarks.papers.rethinking_vae.__main__ import ALL, main
from benchmarks.papers.rethinking_vae.settings import QUICK, Config
from benchmarks.peers import NotAvailable
from benchmarks.verify import WrongResult
from geoquant.torch import ImageSet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = replace(QUICK, n_train=60, n_test=40, max_epochs=1, n_pairs=5, n_drawn=30)
CENTRES = Config(
    "mnist", "4 centres", width=2, bottleneck="centre-pull", options={"n_centres": 4}, is_begun=True
)
SITES = Config(
    "mnist",
    "VQ-AE",
    network="multi-vector",
    latent_dim=4,
    width=2,
    bottleneck="vq-ae",
    options={"n_codes": 5, "update": "ema"},
)
ABOUT = {
    "date": "2026-01-02T03:04+00:00",
    "commit": "0123456789abcdef",
    "cpu": "A Processor",
    "cores": 2,
    "python": "3.11",
    "versions": {"torch": "2.0"},
    "size": "quick",
}


def strokes(n: int, seed: int) -> ImageSet:
    """Images of one upright line each; the label says in which half it is."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(2, 26, n)
    pixels = rng.integers(0, 30, (n, 1, 28, 28)).astype(np.uint8)
    pixels[np.arange(n), 0, 4:24, columns] = 255
    return ImageSet(pixels, (columns >= 14).astype(np.int64), "strokes")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[job.Job]:
    """A job whose images are strokes, with a classifier and two models that have been trained."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("features", "seed0"):
        (folder / name).mkdir()
    own = job.Job(0, SETTINGS, folder / "seed0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "images_of", lambda _data, split, n: strokes(n, split == "test"))
        features.features_step(job.Job(0, SETTINGS, folder / "features"), "mnist")
        models.train_step(own, "sites", SITES)
        own.keep("drift", {"drift": np.array(models.train_step(own, "centres", CENTRES)["drift"])})
        yield own


# ------------------------------------------------------------------------------------- plans


def test_every_experiment_has_models_and_figures() -> None:
    """Keys are unique over all experiments, and the bridge and the claims know them."""
    keys = [key for found in configs.EXPERIMENTS.values() for key in found]
    assert len(keys) == len(set(keys)) == len(configs.CONFIGS)
    assert set(figures.DRAWERS) == set(ALL)
    assert set(bridge.MODELS) <= set(keys)
    rows = {row for claim in claims.CLAIMS for _, row, _ in claim.evidence}
    rows |= {target.row for target in claims.TARGETS}
    assert {row.split("/")[0] for row in rows} <= set(keys)
    columns = {column.key for column in (*table.COLUMNS, *table.MORE)}
    assert {column for claim in claims.CLAIMS for *_, column in claim.evidence} <= columns


def test_every_model_can_be_made() -> None:
    """Its options fit its bottleneck and network."""
    for config in configs.CONFIGS.values():
        shape = (3, 64, 64) if config.data == "celeba" else (1, 28, 28)
        images = ImageSet(np.zeros((1, *shape), np.uint8), None, "none")
        assert models.untrained(config, images, 0).image_shape == shape


@pytest.mark.parametrize("names", [ALL, ("E6", "bridge"), ("E2",)])
def test_steps_need_steps_that_are_there(names: tuple[str, ...]) -> None:
    """Each has its own path; large models are trained for the first seed only."""
    todo = plan.steps_of(names, [3, 5])
    paths = {step.path for step in todo}
    assert len(paths) == len(todo)
    assert {need for step in todo for need in step.needs} <= paths
    assert not any("500" in path for path in paths if path.startswith("seed5"))


def test_only_the_data_that_is_needed_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """E1 is of MNIST alone, E6 of Fashion-MNIST; without it, the run ends before it begins."""
    monkeypatch.setenv("GEOQUANT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, data in (("E1", "mnist"), ("E6", "fashion-mnist")):
        assert main([name]) == 2
        assert f"Error: {data}: " in capsys.readouterr().err


def test_wrong_experiment_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the names that there are."""
    with pytest.raises(SystemExit):
        main(["E9"])
    assert "found 'E9'" in capsys.readouterr().err


# ----------------------------------------------------------------------------------- numbers


def test_principal_components_by_hand() -> None:
    """Points on a line: one component explains everything."""
    rows = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    mean, components, explained = features.principal(rows)
    assert mean.tolist() == [1, 1]
    assert components[0].abs().tolist() == pytest.approx([0.5**0.5] * 2)
    assert explained == pytest.approx(1)


def test_classifier_must_be_able(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a full run one that learned nothing is an error; in a quick one it is not."""
    noise = ImageSet(np.zeros((20, 1, 28, 28), np.uint8), np.arange(20) % 10, "nothing")
    monkeypatch.setattr(job, "images_of", lambda *_: noise)
    full = replace(SETTINGS, judge_epochs=4)
    with pytest.raises(WrongResult, match="right in"):
        features.features_step(job.Job(0, full, tmp_path), "mnist")


def test_rows_of_sites_and_frames() -> None:
    """Sites become rows in the order of rows and columns; frames begin and end where asked."""
    grid = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    assert measures.by_site(grid).tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    frames = measures.straight(np.stack([grid[0], grid[0] + 10]))
    assert frames.shape == (measures.N_FRAMES, 2, 2, 2)
    np.testing.assert_allclose(frames[[0, 5, 10]], [grid[0], grid[0] + 5, grid[0] + 10])


def test_draws_have_the_mean_and_covariance_of_latents() -> None:
    """Up to what the number of draws allows."""
    latents = np.random.default_rng(0).normal((3, -2), (1, 5), (500, 2)).astype(np.float32)
    drawn = measures.like(latents, 20_000, 0)
    np.testing.assert_allclose(drawn.mean(0), latents.mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(latents.T), atol=0.7)


def test_centres_begin_at_encodings(made: job.Job) -> None:
    """Not where they are drawn, far from all encodings; and their drift is kept."""
    model = made.model("centres")
    centres = measures.centres_of(model)
    assert centres is not None
    rows = job.encoded(model, made.images("mnist", "test"))
    assert np.linalg.norm(centres - rows.mean(0), axis=1).max() < 5 * rows.std()
    assert made.arrays("drift")["drift"].shape == (1,)


def test_numbers_of_a_model_with_centres(made: job.Job) -> None:
    """Shares are shares, counts are counts, and the error is that of decoded encodings."""
    found = measures.measure_step(made, "centres", CENTRES, made.folder.parent / "features")
    assert found["n_codes"] == 4
    assert 1 <= found["active_test"] <= 4
    assert 1 <= found["perplexity"] <= found["active_test"] + 1e-9
    assert all(0 <= found[name] <= 1 for name in ("near_path", "near_drawn", "near_grid"))
    assert 0 <= found["change_small"] < found["change_large"]
    model, test = made.model("centres"), made.images("mnist", "test").images()
    expected = (model(test) - test).square().flatten(1).sum(1).mean().item()
    assert found["mse"] == pytest.approx(expected, rel=1e-5)
    json.dumps(found, allow_nan=False)


def test_numbers_of_a_model_with_sites(made: job.Job) -> None:
    """Direct and quantized error differ, and no number of one vector's space is given."""
    found = measures.measure_step(made, "sites", SITES, made.folder.parent / "features")
    assert found["mse"] != found["mse_quantized"]
    assert 0 <= found["near_quantized"] <= 1
    assert "spread" not in found
    assert "active_train" not in found


def test_bridge_of_codebooks(made: job.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted codebooks are in use whole on the latents they were fitted to."""
    monkeypatch.setitem(bridge.MODELS, "centres", 4)
    found = bridge.bridge_step(made, "centres", CENTRES)
    assert list(found["codebooks"]) == ["learned", "geodesic", "euclidean"]
    assert found["codebooks"]["geodesic"]["active_train"] == 4
    assert found["codebooks"]["euclidean"]["active_train"] == 4
    assert -1 <= found["agreement"] <= 1
    assert made.arrays("bridge-centres")["geodesic"].shape == (
        4,
        configs.CONFIGS["mnist-ae"].latent_dim,
    )


# --------------------------------------------------------------------------- tables, pictures


def results() -> dict[str, Any]:
    """Of two seeds, with numbers that are easy to follow."""
    use = {
        "active_train": 20.0,
        "active_test": 19.0,
        "perplexity": 9.0,
        "mse": 3.0,
        "accuracy": 0.8,
    }
    seeds = {
        str(seed): {
            "train": {"mnist-centre-20": {"history": [], "drift": [1.0, 0.1 * (seed + 1)]}},
            "measure": {
                "mnist-ae-mlp": {"mse": 10.0, "roughness": 1.5},
                "mnist-centre-20": {"mse": 2.0, "roughness": 1.2, "n_codes": 20, "active_test": 10},
                "fashion-mnist-vqae": {"mse": 2.0, "roughness": 1.0, "mse_quantized": 3.0},
            },
            "bridge": {
                "mnist-centre-20": {
                    "codebooks": dict.fromkeys(("learned", "geodesic", "euclidean"), use),
                    "agreement": 0.5 + seed / 10,
                }
            },
        }
        for seed in (0, 2)
    }
    return {"about": ABOUT, "features": {"mnist": {"accuracy": 0.99}}, "seeds": seeds}


def test_ratios_follow_from_numbers() -> None:
    """Of errors, of centres in use, of roughness to the plain network's, and of the drift."""
    found = table.measured(results())
    assert found["fashion-mnist-vqae"]["error_ratio"].mean == 1.5
    assert found["mnist-centre-20"]["active_share"].mean == 0.5
    assert found["mnist-centre-20"]["rough_to_mlp"].mean == pytest.approx(0.8)
    assert found["mnist-centre-20"]["drift_fall"].mean == pytest.approx((10 + 1 / 0.3) / 2)
    assert found["mnist-centre-20/geodesic"]["agreement"].mean == pytest.approx(0.6)


def test_tables_show_what_was_measured() -> None:
    """A table for each data set that has rows, with the columns that have numbers."""
    text = table.models_markdown(results())
    assert text.startswith("| MNIST | squared error | active, test | roughness | drift,")
    assert "\n\n| Fashion-MNIST | squared error | from codewords | roughness |\n" in text
    assert "| 20 centres | 2.00 ± 0.00 | 10.0 ± 0.0 | 1.200 ± 0.000 | 1.000 ± 0.000 |" in text
    assert "CelebA" not in text
    assert "| MNIST, 20 centres | 20 | geodesic | 20.0 ± 0.0 |" in table.bridge_markdown(results())
    assert "E7: VQ-AE | error from codewords over direct ≤ 1.50 | 1.50" in table.targets_markdown(
        results()
    )


def test_readme_gets_the_blocks(tmp_path: Path) -> None:
    """All four of them; without results the cure is named."""
    readme = tmp_path / "README.md"
    names = ("table", "bridge", "claims", "targets")
    readme.write_text("\n".join(f"<!-- {n}:begin -->\n<!-- {n}:end -->" for n in names))
    with pytest.raises(NotAvailable, match="make paper-rethinking-vae"):
        table.write(tmp_path, readme)
    (tmp_path / "results.json").write_text(json.dumps(results()))
    table.write(tmp_path, readme)
    text = readme.read_text()
    columns = (*table.COLUMNS, *table.MORE)
    assert claims_markdown(claims.CLAIMS, columns, table.measured(results())) in text
    assert "Measured 2026-01-02 at 0123456789" in text
    assert "MNIST 99.0 %" in text


def test_figures_are_drawn(tmp_path: Path) -> None:
    """The bridge's from numbers alone, codes of sites beside their images."""
    bridge_figure.draw(job.Job(0, SETTINGS, tmp_path), results(), tmp_path)
    images = strokes(3, 0).images().numpy()
    e7_vq_ae.draw_codes(images, np.arange(3 * 49).reshape(3, 7, 7), tmp_path / "codes.png")
    for name in ("bridge.png", "codes.png"):
        assert (tmp_path / name).stat().st_size > 1_000
