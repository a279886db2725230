"""Which steps there are, what each needs, and running them on all cores, done ones skipped."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.papers.geodesic_vq.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from benchmarks.papers.geodesic_vq.settings import Settings

    # Takes the folder of the run, its settings and a step; gives what JSON can hold.
    Do = Callable[[Path, Settings, "Step"], Any]

JUDGE = "judge"
CURVES = ("geodesic", "euclidean", "faiss RQ", "faiss PQ")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Step:
    """Something to do once.

    Attributes
    ----------
    folder : str
        Below the folder of the run: the judge's, or that of a seed.
    name : str
        Of the step.
    needs : tuple of str
        Paths, folder and name, of the steps before it.
    """

    folder: str
    name: str
    needs: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"


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


# ---------------------------------------------------------------------------------- running


def cache_of(root: Path, settings: Settings, folder: str) -> Cache:
    """Where the steps of a seed, or of the judge, leave what they give."""
    return Cache(root / folder, asdict(settings))


def run_step(root: Path, settings: Settings, step: Step, do: Do) -> float:
    """Do a step unless it is done, with one thread; seconds that it took."""
    import torch

    torch.set_num_threads(1)
    begin = time.perf_counter()
    cache_of(root, settings, step.folder).once(step.name, lambda: do(root, settings, step))
    return time.perf_counter() - begin


def rows_of(root: Path, settings: Settings, steps: Sequence[Step]) -> list[Any]:
    """Rows that finished steps of a seed gave."""
    from benchmarks.papers.geodesic_vq.rows import Measured

    rows = []
    for step in steps:
        found = cache_of(root, settings, step.folder).found(step.name)
        if isinstance(found, list) and not step.name.startswith("curve"):
            rows += [Measured(**row) for row in found]
    return rows


def run_all(
    root: Path,
    settings: Settings,
    steps: Sequence[Step],
    n_processes: int,
    do: Do,
    tell: Callable[[str], None] = print,
) -> None:
    """Do all steps by a function of a module, each as soon as those before it are done."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # of the processes that are started
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        in_order(
            steps,
            lambda step: pool.submit(run_step, root, settings, step, do),
            lambda step, seconds: tell(f"{step.path}: {seconds:.0f} s"),
            n_at_once=n_processes,
        )


def in_order(
    steps: Sequence[Step],
    submit: Callable[[Step], Future[float]],
    on_done: Callable[[Step, float], None],
    n_at_once: int,
) -> None:
    """Submit steps whose needs are met, the first ones first, until none is left."""
    waiting, done = list(steps), set[str]()
    running: dict[Future[float], Step] = {}
    try:
        while waiting or running:
            ready = [step for step in waiting if done.issuperset(step.needs)]
            for step in ready[: n_at_once - len(running)]:
                waiting.remove(step)
                running[submit(step)] = step
            if not running:
                raise ValueError(f"steps need what is not there: {[s.path for s in waiting]}")
            _take_finished(running, done, on_done)
    except BaseException:
        for future in running:
            future.cancel()
        raise


def _take_finished(
    running: dict[Future[float], Step], done: set[str], on_done: Callable[[Step, float], None]
) -> None:
    finished = wait(running, return_when=FIRST_COMPLETED).done
    for future in finished:
        step = running.pop(future)
        on_done(step, future.result())
        done.add(step.path)


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
