"""Which steps there are, what each does, and what they all gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.papers.rethinking_vae import bridge, features, measures, models
from benchmarks.papers.rethinking_vae.configs import CONFIGS, EXPERIMENTS
from benchmarks.papers.rethinking_vae.job import Job
from benchmarks.papers.steps import Step, cache_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.settings import Settings

FEATURES = "features"
BRIDGE = "bridge"


def steps_of(names: Sequence[str], seeds: Sequence[int]) -> list[Step]:
    """Steps of some experiments, the first seed's first and the longest of these at the head."""
    chosen = models_of(names)
    chosen.sort(key=lambda key: not CONFIGS[key].is_large)
    steps = [Step(FEATURES, data) for data in features.LEAST_ACCURACY if _any_of(chosen, data)]
    for seed in seeds:
        own = [key for key in chosen if seed == seeds[0] or not CONFIGS[key].is_large]
        steps += [step for key in own for step in _model_steps(seed, key)]
        if BRIDGE in names:
            steps += [_of(seed, BRIDGE, key, f"train {key}") for key in bridge.MODELS if key in own]
    return steps


def models_of(names: Sequence[str]) -> list[str]:
    """Models of some experiments."""
    chosen = [key for name in names if name != BRIDGE for key in EXPERIMENTS[name]]
    if BRIDGE in names:
        chosen += [key for key in bridge.MODELS if key not in chosen]
    return chosen


def _any_of(keys: Sequence[str], data: str) -> bool:
    return any(CONFIGS[key].data == data for key in keys)


def _model_steps(seed: int, key: str) -> list[Step]:
    data = CONFIGS[key].data
    needs = [f"{FEATURES}/{data}"] if data in features.LEAST_ACCURACY else []
    trained = Step(f"seed{seed}", f"train {key}")
    return [trained, Step(f"seed{seed}", f"measure {key}", (trained.path, *needs))]


def _of(seed: int, kind: str, key: str, *needs: str) -> Step:
    folder = f"seed{seed}"
    return Step(folder, f"{kind} {key}", tuple(f"{folder}/{need}" for need in needs))


def result_of(root: Path, settings: Settings, step: Step) -> Any:
    """Do a step; what it gave, as it is kept in JSON."""
    if step.folder == FEATURES:
        return features.features_step(Job(0, settings, root / FEATURES), step.name)
    job = Job(int(step.folder.removeprefix("seed")), settings, root / step.folder)
    kind, _, key = step.name.partition(" ")
    doers: dict[str, Callable[[], Any]] = {
        "train": lambda: models.train_step(job, key, CONFIGS[key]),
        "measure": lambda: measures.measure_step(job, key, CONFIGS[key], root / FEATURES),
        BRIDGE: lambda: bridge.bridge_step(job, key, CONFIGS[key]),
    }
    return doers[kind]()


def results_of(root: Path, settings: Settings, steps: Sequence[Step]) -> Mapping[str, Any]:
    """What all steps gave: by seed and kind for each model, and the judges' accuracy."""
    found: dict[str, Any] = {FEATURES: {}, "seeds": {}}
    for step in steps:
        result = cache_of(root, settings, step.folder).found(step.name)
        if step.folder == FEATURES:
            found[FEATURES][step.name] = result
            continue
        kind, _, key = step.name.partition(" ")
        seed = found["seeds"].setdefault(step.folder.removeprefix("seed"), {})
        seed.setdefault(kind, {})[key] = result
    return found
