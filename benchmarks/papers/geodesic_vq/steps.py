"""Which steps there are, what each needs, and what they all gave."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.papers.steps import Step, cache_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.papers.geodesic_vq.settings import Settings

JUDGE = "judge"
CURVES = ("geodesic", "euclidean", "faiss RQ", "faiss PQ")


def steps_of(settings: Settings, seeds: Sequence[int]) -> list[Step]:
    """All steps of a run; those that others wait for come first."""
    steps = [Step(JUDGE, "judge")]
    steps += [step for seed in seeds for step in _model_steps(seed)]
    steps += [step for seed in seeds for step in token_steps(settings, seed)]
    steps += [_of(seeds[0], f"curve {method}", *_curve_needs(method)) for method in CURVES]
    steps += [step for seed in seeds for step in _onetoken_steps(seed)]
    return steps


def _of(seed: int, name: str, *needs: str) -> Step:
    folder = f"seed{seed}"
    return Step(folder, name, tuple(n if "/" in n else f"{folder}/{n}" for n in needs))


def _model_steps(seed: int) -> list[Step]:
    stages = [_of(seed, f"stages {metric}", "vae") for metric in ("geodesic", "euclidean")]
    return [_of(seed, "vae"), *stages]


def token_steps(settings: Settings, seed: int) -> list[Step]:
    # the longest first, so that none is left to the end alone
    tokens = sorted(settings.tokens, reverse=True)
    rectified = [f"rectified geodesic {m}" for m in sorted(settings.rectified_tokens, reverse=True)]
    return [
        *(_of(seed, f"tokens geodesic {m}", "stages geodesic") for m in tokens),
        *(_of(seed, name, name.replace("rectified", "tokens")) for name in rectified),
        *(
            _of(seed, f"tokens euclidean {m}", "stages euclidean")
            for m in settings.euclidean_tokens
        ),
        _of(seed, "samples", f"{JUDGE}/judge", *rectified),
    ]


def _curve_needs(method: str) -> tuple[str, ...]:
    return ("vae",) if method.startswith("faiss") else (f"stages {method}",)


def _onetoken_steps(seed: int) -> list[Step]:
    ways = ("kmeans", "medoid", "mean", "decoded", "w2")
    return [
        *(_of(seed, f"vqvae {update}") for update in ("gradient", "ema")),
        *(_of(seed, f"one-token {way}", "vae") for way in ways),
    ]


def rows_of(root: Path, settings: Settings, steps: Sequence[Step]) -> list[Any]:
    """Rows that finished steps of a seed gave."""
    from benchmarks.papers.spread import Measured

    rows = []
    for step in steps:
        found = cache_of(root, settings, step.folder).found(step.name)
        if isinstance(found, list) and not step.name.startswith("curve"):
            rows += [Measured(**row) for row in found]
    return rows


def results_of(
    root: Path, settings: Settings, steps: Sequence[Step], seeds: Sequence[int]
) -> Mapping[str, Any]:
    """What all steps gave, as it is kept: rows and samples of each seed, judge and curves."""

    def found(folder: str, name: str) -> Any:
        return cache_of(root, settings, folder).found(name)

    per_seed = {
        str(seed): {
            "rows": [asdict(r) for r in rows_of(root, settings, _of_seed(steps, seed))],
            "samples": found(f"seed{seed}", "samples"),
        }
        for seed in seeds
    }
    curves = {method: found(f"seed{seeds[0]}", f"curve {method}") for method in CURVES}
    return {"judge": found(JUDGE, "judge"), "seeds": per_seed, "curves": curves}


def _of_seed(steps: Sequence[Step], seed: int) -> list[Step]:
    return [step for step in steps if step.folder == f"seed{seed}"]
