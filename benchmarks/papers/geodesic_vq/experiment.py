"""What each step does: from its name to the function that measures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.papers.geodesic_vq import curves, models, one_token, tokens
from benchmarks.papers.geodesic_vq.job import Job
from benchmarks.papers.geodesic_vq.rows import best_total
from benchmarks.papers.geodesic_vq.steps import JUDGE, rows_of, token_steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.papers.geodesic_vq.settings import Settings
    from benchmarks.papers.steps import Step


def result_of(root: Path, settings: Settings, step: Step) -> Any:
    """Do a step; what it gave, as it is kept in JSON."""
    seed = 0 if step.folder == JUDGE else int(step.folder.removeprefix("seed"))
    job = Job(seed, settings, root / step.folder)
    kind, _, rest = step.name.partition(" ")
    metric, _, m = rest.partition(" ")
    doers: dict[str, Callable[[], Any]] = {
        "judge": lambda: models.judge_step(job),
        "vae": lambda: models.vae_step(job),
        "vqvae": lambda: models.vqvae_step(job, rest),
        "one-token": lambda: one_token.one_token_step(job, rest),
        "stages": lambda: tokens.stages_step(job, rest),
        "tokens": lambda: tokens.tokens_step(job, metric, int(m)),
        "rectified": lambda: tokens.rectified_step(job, metric, int(m)),
        "samples": lambda: _samples(root, job),
        "curve": lambda: curves.curve_step(job, rest),
    }
    made = doers[kind]()
    return made if kind in ("judge", "samples", "curve") else [asdict(row) for row in made]


def _samples(root: Path, job: Job) -> dict[str, Any]:
    """Of the number of tokens that is best with a rectified decoder."""
    done = [step for step in token_steps(job.settings, job.seed) if step.name != "samples"]
    best = best_total(rows_of(root, job.settings, done), "-rectified").key
    return tokens.samples_step(job, best, Job(0, job.settings, root / JUDGE))
