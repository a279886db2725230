"""A whole fit, from file to codebook, beside scikit-learn, faiss and what clusters graphs.

``python -m benchmarks.speed.fit [--quick | --bench | --full]``
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from benchmarks import datasets, peers, stage
from benchmarks.measure import (
    Contender,
    peak_of_command,
    run,
    said_by_module,
    seconds_in_turn,
    times_in_turn,
)
from benchmarks.table import Row, time_rows
from benchmarks.trends import power_law
from benchmarks.verify import (
    as_scipy,
    distances_to_all,
    require,
    require_equal,
    sampled_rows,
    verified_energy,
)
from geoquant.files import write_npy
from geoquant.progress import n_threads
from geoquant.quality import agreement, majority_vote_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.datasets import Dataset, Latents
    from benchmarks.measure import Timing
    from benchmarks.stage import Plan
    from benchmarks.verify import Ids, Points

K, N_NEIGHBORS = 64, 10
OURS = "geoquant"
KMEANS_1, KMEANS_10 = "scikit-learn KMeans", "scikit-learn KMeans, n_init=10"
FORBIDDEN = {"faiss", "matplotlib", "numba", "scipy", "sklearn", "torch"}

#: Up to how many latents each method is run for the plot of time against n; (bench, full).
LARGEST = {
    OURS: (250_000, 1_000_000),
    KMEANS_1: (250_000, 1_000_000),
    KMEANS_10: (60_000, 250_000),
    "scikit-learn MiniBatchKMeans": (250_000, 1_000_000),
    "scikit-learn BisectingKMeans": (60_000, 1_000_000),
    "faiss Kmeans, all points": (250_000, 1_000_000),
    "scikit-learn AgglomerativeClustering on its graph": (2_500, 60_000),
    "scikit-learn SpectralClustering on its graph": (2_500, 10_000),
}


# --------------------------------------------------------------------------------- contenders


def fit_ours(latents: Latents, n_clusters: int = K) -> gq.FittedCodebook:
    return gq.fit_codebook(latents, n_clusters, n_neighbors=N_NEIGHBORS, random_state=0)


def check_ours(latents: Latents, fitted: gq.FittedCodebook) -> str:
    """Energy and labels as scipy finds them; training rows get their own codes again."""
    n_clusters = len(fitted.codebook.vectors)
    verified_energy(as_scipy(fitted.graph), fitted.clustering, n_clusters, power=2)
    some = sampled_rows(len(latents), 1000)
    again = fitted.codebook.assign(latents[some])
    if fitted.graph.recall == 1.0:
        require_equal("codes assigned to training rows", again, fitted.codes[some])
    else:
        share = agreement(again, fitted.codes[some])
        require(share > 0.97, f"codes of training rows: only {share:.3f} are those of the fit")
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in fitted.seconds.items())
    return f"{parts}, energy {fitted.clustering.inertia:,.0f}"


def check_means(latents: Latents, found: tuple[Points, Ids]) -> str:
    """Every label is that of the nearest mean, but for rounding."""
    means, labels = found
    require(len(means) == K, f"{len(means)} means, expected {K}")
    rows = sampled_rows(len(latents), 500)
    right = [distances_to_all(means, latents[row]).argmin() == labels[row] for row in rows]
    # The last update may have moved the means after the labels were made.
    require(np.mean(right) > 0.95, f"{np.mean(right):.3f} of the labels are of the nearest mean")
    return "labels are of the nearest mean"


def check_bisected(found: tuple[Points, Ids]) -> str:
    """Cells halved one after another need not be those of the nearest mean."""
    means, labels = found
    require(len(means) == K, f"{len(means)} means, expected {K}")
    return check_labels(labels)


def check_of(name: str, latents: Latents) -> Callable[[tuple[Points, Ids]], str]:
    return check_bisected if "Bisecting" in name else partial(check_means, latents)


def check_labels(found: Ids) -> str:
    n_cells = len(np.unique(found))
    require(n_cells == K, f"{n_cells} cells, expected {K}")
    return f"{n_cells} cells"


def sklearn_means(name: str, latents: Latents, **options: Any) -> tuple[Points, Ids]:
    model = getattr(peers.load("sklearn.cluster"), name)(K, random_state=0, **options).fit(latents)
    return model.cluster_centers_, model.labels_


def faiss_means(latents: Latents) -> tuple[Points, Ids]:
    """25 rounds as by default, from all points and not from 256 per centre."""
    faiss = peers.load("faiss")
    options = {"max_points_per_centroid": len(latents), "min_points_per_centroid": 1, "seed": 0}
    kmeans = faiss.Kmeans(latents.shape[1], K, **options)
    kmeans.train(latents)
    return kmeans.centroids, kmeans.index.search(latents, 1)[1].ravel()


def graph_labels(name: str, latents: Latents) -> Ids:
    """scikit-learn's own graph and clustering; ward and nearest-neighbour affinity."""
    cluster, neighbors = peers.load("sklearn.cluster"), peers.load("sklearn.neighbors")
    matrix = neighbors.kneighbors_graph(
        latents, N_NEIGHBORS, include_self=False, n_jobs=n_threads(None)
    )
    matrix = matrix.maximum(matrix.T)
    if name == "AgglomerativeClustering":
        return cluster.AgglomerativeClustering(K, connectivity=matrix).fit_predict(latents)
    model = cluster.SpectralClustering(K, affinity="precomputed", random_state=0)
    return model.fit_predict(matrix)


def means_of_methods(latents: Latents) -> dict[str, Callable[[], tuple[Points, Ids]]]:
    """The peers that end in means."""
    return {
        KMEANS_1: partial(sklearn_means, "KMeans", latents, n_init=1),
        KMEANS_10: partial(sklearn_means, "KMeans", latents, n_init=10),
        "scikit-learn MiniBatchKMeans": partial(sklearn_means, "MiniBatchKMeans", latents),
        "scikit-learn BisectingKMeans": partial(sklearn_means, "BisectingKMeans", latents),
        "faiss Kmeans, all points": partial(faiss_means, latents),
    }


def in_memory(latents: Latents) -> dict[str, Callable[[], Contender]]:
    """How to make each contender, for latents that are loaded."""

    def means(name: str, method: Callable[[], tuple[Points, Ids]]) -> Contender:
        peers.load("faiss" if name.startswith("faiss") else "sklearn")
        return Contender(name, method, check_of(name, latents))

    def labels(name: str, kind: str) -> Contender:
        return Contender(name, partial(graph_labels, kind, latents), check_labels)

    makers: dict[str, Callable[[], Contender]] = {
        OURS: lambda: Contender(OURS, partial(fit_ours, latents), partial(check_ours, latents))
    }
    for name, method in means_of_methods(latents).items():
        makers[name] = partial(means, name, method)
    for kind in ("AgglomerativeClustering", "SpectralClustering"):
        name = f"scikit-learn {kind} on its graph"
        makers[name] = partial(labels, name, kind)
    return makers


# -------------------------------------------------------------------- (1) from file to codebook


def from_file(data: Dataset, folder: Path) -> dict[str, Callable[[], Contender]]:
    """Read the latents, fit, write what a user keeps: everything that a fit takes."""
    file = folder / "latents.npy"
    write_npy(file, data.latents)

    def ours() -> gq.FittedCodebook:
        fitted = fit_ours(gq.read_latents(file))
        fitted.codebook.save(folder / "ours.safetensors")
        write_npy(folder / "ours.codes.npy", fitted.codes)
        return fitted

    def theirs(name: str) -> tuple[Points, Ids]:
        means, labels = means_of_methods(np.load(file))[name]()
        np.savez(folder / "theirs.npz", means=means, labels=labels)
        return means, labels

    def peer(name: str) -> Contender:
        peers.load("faiss" if name.startswith("faiss") else "sklearn")
        return Contender(name, partial(theirs, name), check_of(name, data.latents))

    command = fit_command(file)
    output = ("-o", str(folder / "command.codebook.safetensors"))
    name = "geoquant fit, the command"
    return {
        OURS: lambda: Contender(OURS, ours, partial(check_ours, data.latents)),
        name: lambda: Contender(name, partial(run, *command, *output), lambda _: ""),
        **{peer_name: partial(peer, peer_name) for peer_name in means_of_methods(data.latents)},
    }


def fit_command(file: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "geoquant", "fit", str(file), "-k", str(K), "--quiet")


def from_file_rows(plan: Plan) -> list[Row]:
    """The contest of the whole fit, and peak memory of the command."""
    data = datasets.latents(plan.pick(2_000, 60_000, 60_000), plan.source)
    title = f"From file to codebook, {data}, K = {K}, {n_threads(None)} threads"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders, missing = peers.available(from_file(data, folder))
        timings = times_in_turn(contenders, plan.pick(1, 3, 5), plan.pick(1, 15, 60))
        saved = gq.Codebook.load(folder / "command.codebook.safetensors")
        require_equal("codes in the file of the command", saved.n_codes, K)
        output = ("-o", str(folder / "again.codebook.safetensors"))
        peak = peak_of_command(*fit_command(folder / "latents.npy"), *output)
    return [
        *time_rows(title, timings, OURS, missing),
        ratio_row(title, timings, KMEANS_10, 1.0, "fit-kmeans10"),
        ratio_row(title, timings, KMEANS_1, 3.0, "fit-kmeans1"),
        Row(title, "peak memory of the command", peak, "MB", target=500.0),
    ]


def ratio_row(title: str, timings: dict[str, Timing], peer: str, target: float, figure: str) -> Row:
    mine, theirs = timings[OURS], timings[peer]
    return Row(
        title,
        f"time over that of {peer}",
        mine.median / theirs.median,
        "×",
        target=target,
        figure=figure,
        note=f"{OURS} {mine.median:.3g} s ({mine.found}), {peer} {theirs.median:.3g} s",
    )


# ------------------------------------------------------------------------ (2) time against n


def growth_rows(plan: Plan) -> list[Row]:
    """Whole fits of more and more latents of one kind; each method as far as it goes."""
    sizes = plan.pick(
        (500, 1_000), (2_500, 10_000, 60_000, 250_000), (2_500, 10_000, 60_000, 250_000, 1_000_000)
    )
    rows = []
    ours_at: dict[int, float] = {}
    for n in sizes:
        data = datasets.growing(n)
        makers = {
            name: maker
            for name, maker in in_memory(data.latents).items()
            if n <= LARGEST[name][plan.is_full]
        }
        contenders, missing = peers.available(makers)
        timings = times_in_turn(contenders, plan.pick(1, 3, 3), plan.pick(1, 4, 30))
        ours_at[n] = timings[OURS].median
        title = f"Whole fit, {data}, K = {K}"
        rows += time_rows(title, timings, OURS, missing, {"kind": "fit", "n": n})
    judged = {n: seconds for n, seconds in ours_at.items() if n >= 60_000} or ours_at
    listed = ", ".join(f"{seconds:.3g} s at {n:,}" for n, seconds in judged.items())
    return [
        *rows,
        Row("Growth of the whole fit", f"exponent from {min(judged):,} to {max(judged):,} latents",
            power_law(judged)[0], "exponent", target=1.15, figure="growth",
            note=f"{datasets.growing(2).name}, K = {K}: {listed}"),
    ]  # fmt: skip


def million_rows(plan: Plan) -> list[Row]:
    """A million latents and 1024 codes, in a process of its own."""
    n, n_clusters = plan.pick((2_000, 64), (1_000_000, 1024), (1_000_000, 1024))
    found = said_by_module(
        "benchmarks.speed.memory", "fit", json.dumps({"n": n, "n_clusters": n_clusters})
    )
    share = found["agreement_on_training_rows"]
    require(share > 0.97, f"codes of training rows: only {share:.3f} are those of the fit")
    require_equal("codes in use", found["n_codes_used"], n_clusters)
    title = f"Whole fit, {datasets.growing(2).name}, {n:,} × 20, K = {n_clusters:,}"
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in found["stages"].items())
    note = f"{parts}; recall of the graph {found['recall']:.4f}; energy {found['energy']:,.0f}"
    return [
        Row(title, "time", found["seconds"], "s", target=300.0, figure="million-time", note=note,
            numbers=found),
        Row(title, "memory beyond the input", found["growth_mb"], "MB", target=1024 * 1.048576,
            figure="million-memory", note=f"{found['before_mb']:.0f} MB before the fit",
            numbers=found),
    ]  # fmt: skip


# --------------------------------------------------------------- (3) what the codes are worth


def accuracy_rows(plan: Plan) -> list[Row]:
    """How well a code tells the digit of a test image, and what fewer anchors cost."""
    n, seeds = plan.pick(2_000, 60_000, 60_000), plan.pick((0,), (0,), (0, 1, 2))
    title = f"Majority-vote accuracy of {K} codes on test latents of MNIST"
    try:
        data = datasets.latents(n, "mnist")
        names = ("mnist_train_labels", "mnist_vae20_test_mean", "mnist_test_labels")
        digit, test, test_digit = (np.load(datasets.data_file(f"latents/{n}.npy")) for n in names)
    except peers.NotAvailable as error:
        return [Row(title, "geodesic k-means", None, "share", note=str(error))]
    digit = digit[:n]
    fits = [gq.fit_codebook(data.latents, K, random_state=seed) for seed in seeds]
    geodesic = [
        majority_vote_accuracy(f.codes, digit, f.codebook.assign(test), test_digit) for f in fits
    ]
    cluster = peers.load("sklearn.cluster")
    models = [cluster.KMeans(K, n_init=10, random_state=s).fit(data.latents) for s in seeds]
    straight = [
        majority_vote_accuracy(m.labels_, digit, m.predict(test), test_digit) for m in models
    ]
    worth = [
        accuracy_row(title, "geodesic k-means, worst seed", geodesic, min, 0.925),
        accuracy_row(title, f"{KMEANS_10}, best seed", straight, max, None),
    ]
    return worth + anchor_rows(fits[0], digit, test, test_digit, plan)


def accuracy_row(
    title: str,
    name: str,
    values: Sequence[float],
    chosen: Callable[[Sequence[float]], float],
    target: float | None,
) -> Row:
    note = " · ".join(f"{value:.4f}" for value in values)
    return Row(title, name, chosen(values), "share", target=target, at_least=True, note=note,
               numbers={"accuracies": list(values)})  # fmt: skip


def anchor_rows(
    fitted: gq.FittedCodebook, digit: Ids, test: Latents, test_digit: Ids, plan: Plan
) -> list[Row]:
    full = fitted.codebook.assign(test)
    rows = []
    for n_anchors in plan.pick((300,), (10_000, 1_000), (30_000, 10_000, 3_000, 1_000)):
        thin = fitted.codebook.thinned(n_anchors)
        codes = thin.assign(test)
        accuracy = majority_vote_accuracy(fitted.codes, digit, codes, test_digit)
        rows.append(
            Row("Fewer anchors in the codebook: agreement of test codes with the whole codebook",
                f"{thin.n_anchors:,} anchors", agreement(codes, full), "share",
                note=f"accuracy {accuracy:.4f}, file {saved_mb(thin):.2f} MB",
                numbers={"accuracy": accuracy})
        )  # fmt: skip
    return rows


def saved_mb(codebook: gq.Codebook) -> float:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "codebook.safetensors")
        codebook.save(file)
        return file.stat().st_size / 1e6


# -------------------------------------------------------------------------------- (4) start-up


def start_rows(plan: Plan) -> list[Row]:
    """Time to start, and that nothing heavy is loaded."""
    loaded = run(sys.executable, "-c", "import geoquant, sys; print(*sys.modules)").split()
    heavy = sorted(FORBIDDEN & set(loaded))
    require(not heavy, f"import geoquant loads {', '.join(heavy)}")
    commands = {
        "python -m geoquant --help": ("-m", "geoquant", "--help"),
        'python -c "import geoquant"': ("-c", "import geoquant"),
        "python -c pass": ("-c", "pass"),
    }
    runs = {name: partial(run, sys.executable, *words) for name, words in commands.items()}
    n_runs = plan.pick(1, 7, 15)
    return [
        Row("Start-up, wall time", name, statistics.median(times), "s",
            target=0.3 if "geoquant" in name else None, note=f"median of {n_runs}",
            numbers={"seconds": times})
        for name, times in seconds_in_turn(runs, n_runs).items()
    ]  # fmt: skip


def groups(plan: Plan) -> Iterator[list[Row]]:
    yield start_rows(plan)
    yield from_file_rows(plan)
    yield growth_rows(plan)
    yield accuracy_rows(plan)
    if plan.size != "bench" and sys.platform == "linux":
        yield million_rows(plan)


if __name__ == "__main__":
    sys.exit(stage.main("fit", groups))
