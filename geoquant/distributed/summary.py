"""What is reported of codes in shards, each shard read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoquant import quality
from geoquant.assignment import nearest_codeword
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.exact_sum import exact_sum, rounded_sum
from geoquant.latents import read_latents

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.distributed.fit import PartedFit
    from geoquant.distributed.shards import FileShard


class _Sums(NamedTuple):
    """Of the rows of a shard."""

    counts: npt.NDArray[np.int64]
    geodesic: int  # exact, of the squares
    euclidean: float
    n_agreeing: int


def summarize_shards(
    fitted: PartedFit, written: list[tuple[str, str]], engine: Engine, n_jobs: int | None = None
) -> dict[str, Any]:
    """How the codes of a fit are used, and how far rows are from their codewords.

    Parameters
    ----------
    fitted : PartedFit
        The fit; its scratch folder is still there.
    written : list of tuple of str
        Paths of codes and distances, as `write_codes` returned them.
    engine : Engine
        Where the tasks run.
    n_jobs : int, optional
        Threads of each.

    Returns
    -------
    dict
        Of functions of `geoquant.quality` by their names, and what ``geoquant fit`` prints beside.
    """
    vectors, nodes = fitted.codebook.vectors, fitted.nodes
    tasks = [
        (rows, *paths, vectors, n_jobs) for rows, paths in zip(nodes.staged, written, strict=True)
    ]
    found = map_tasks(engine, sum_shard, tasks)
    codes, k, n = np.arange(len(vectors)), len(vectors), nodes.offsets[-1]
    counts = sum(sums.counts for sums in found)
    return {
        "usage": quality.usage(codes, k, counts),
        "dead_codes": len(quality.dead_codes(codes, k, counts)),
        "perplexity": quality.perplexity(codes, k, counts),
        "entropy_nats": quality.entropy(codes, k, counts),
        "imbalance": quality.imbalance(codes, k, counts),
        "geodesic_distortion": rounded_sum(sum(sums.geodesic for sums in found)) / n,
        "euclidean_distortion": sum(sums.euclidean for sums in found) / n,
        "agreement_with_euclidean": sum(sums.n_agreeing for sums in found) / n,
    }


def sum_shard(
    rows: FileShard,
    codes: str,
    distances: str,
    vectors: npt.NDArray[np.float32],
    n_jobs: int | None,
) -> _Sums:
    """Add up what `summarize_shards` needs of the files of a shard (a task)."""
    latents, code = rows.read(), read_latents(codes)
    straight = nearest_codeword(latents, vectors, n_jobs=n_jobs)
    return _Sums(
        np.bincount(code, minlength=len(vectors)),
        exact_sum(read_latents(distances) ** 2),
        quality.euclidean_distortion(latents, vectors, code) * len(code),
        int((straight == code).sum()),
    )
