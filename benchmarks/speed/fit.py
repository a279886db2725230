"""A fit and its stages beside their peers: ``python -m benchmarks.speed.fit``.

Needs GEOQUANT_DATA, the folder with latents/mnist_vae20_*.npy. Takes minutes and
writes benchmarks/results/fit.json. ``--quick`` runs everything on few rows, judges and writes
nothing. ``--render`` prints what was written as Markdown; ``--update-readme`` puts it there.

Exit codes: 0 done, 1 a result is wrong, 2 data or a peer is missing.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from sklearn.cluster import KMeans

import geoquant as gq
from benchmarks import table
from benchmarks.measure import (
    ROOT,
    NotAvailable,
    WrongResult,
    commit,
    cpu_model,
    data_file,
    peak_of_command,
    require_close,
    require_equal,
    run,
    said_by_module,
    seconds_in_turn,
    timed,
)
from benchmarks.table import Row
from geoquant.files import write_npy
from geoquant.fit import connected_graph
from geoquant.progress import n_threads
from geoquant.quality import agreement, majority_vote_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RESULTS = ROOT / "benchmarks" / "results" / "fit.json"
README = ROOT / "README.md"
BLOCK = "bench-fit"
K, N_NEIGHBORS = 64, 10
POWERS = (1, 2)
FORBIDDEN = {"faiss", "matplotlib", "numba", "scipy", "sklearn", "torch"}

#: Least energy of three runs of FasterPAM on the dense matrix of the first 10 000 rows, measured
#: when the targets were set.
RECORDED_FASTERPAM = {1: 47_056.0, 2: 248_977.0}
#: Energy of a local optimum of swaps on all rows, p = 1, measured then too.
RECORDED_OPTIMUM = 333_839.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    n_small: int
    n_large: int
    repeats: int
    runs: int
    seeds: tuple[int, ...]
    n_init: int
    anchors: tuple[int, ...]
    is_full: bool


FULL = Plan(10_000, 60_000, 31, 7, (0, 1, 2), 5, (30_000, 10_000, 3_000, 1_000), is_full=True)
QUICK = Plan(500, 3_000, 3, 1, (0, 1), 2, (1_000, 300), is_full=False)


@dataclass(frozen=True)
class Data:
    """Latents of the training and test images, and their digits."""

    train: npt.NDArray[np.float32]
    train_digit: npt.NDArray[Any]
    test: npt.NDArray[np.float32]
    test_digit: npt.NDArray[Any]


def load(plan: Plan) -> Data:
    names = ("vae20_train_mean", "train_labels", "vae20_test_mean", "test_labels")
    arrays = [np.load(data_file(f"latents/mnist_{name}.npy")) for name in names]
    train, train_digit, test, test_digit = arrays
    if plan.is_full and len(train) != plan.n_large:
        raise NotAvailable(f"the training latents must have {plan.n_large} rows, not {len(train)}")
    return Data(train[: plan.n_large], train_digit[: plan.n_large], test, test_digit)


# ---------------------------------------------------------------------------- verification


def as_scipy(graph: gq.Graph) -> csr_matrix:
    """The graph in the form in which scipy's searches take it without a conversion."""
    shape = (graph.n_nodes, graph.n_nodes)
    parts = (graph.lengths.astype(np.float64), graph.indices, graph.indptr.astype(np.int32))
    return csr_matrix(parts, shape=shape)


def energy(matrix: csr_matrix, centres: npt.NDArray[np.integer], power: int) -> float:
    """Energy of centres as scipy finds it."""
    return float((dijkstra(matrix, indices=centres, min_only=True) ** power).sum())


def verified_energy(matrix: csr_matrix, result: gq.Clustering, power: int) -> float:
    """Energy of a clustering, after its distances, labels and energy were compared with scipy's."""
    centres = result.medoid_indices
    if len(np.unique(centres)) != K:
        raise WrongResult(f"{len(np.unique(centres))} distinct centres, expected {K}")
    # Bit for bit: float64 sums of a few float32 lengths are exact.
    to_each = dijkstra(matrix, indices=centres)
    distance = to_each.min(axis=0)
    require_equal("distances to the centres", result.distance, distance)
    require_equal("labels", result.labels, to_each.argmin(axis=0))
    require_close("energy", result.inertia, float((distance**power).sum()))
    return result.inertia


# ------------------------------------------------------------------------ (a) nearest source


def nearest_source_rows(
    graph: gq.Graph, plan: Plan, nearest_source: Callable[..., Any] = gq.nearest_source
) -> list[Row]:
    """Nearest of K sources for every node; one thread on both sides."""
    sources = np.random.default_rng(0).choice(graph.n_nodes, K, replace=False).astype(np.int32)
    matrix = as_scipy(graph)
    expected = dijkstra(matrix, indices=sources, min_only=True)
    require_equal("nearest source", nearest_source(graph, sources).distance, expected)

    def scipy_search(**options: bool) -> Callable[[], Any]:
        return lambda: dijkstra(matrix, indices=sources, min_only=True, **options)

    ours, same = "ours", "scipy, with predecessors and sources (as ours)"
    functions = {
        ours: lambda: nearest_source(graph, sources),
        same: scipy_search(return_predecessors=True),
        "scipy, distances only": scipy_search(),
        "scipy, directed=False": scipy_search(directed=False),
    }
    seconds = seconds_in_turn(functions, plan.repeats)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    note = f"ours {1e3 * median[ours]:.2f} ms, scipy "
    return [
        Row(
            f"Nearest of {K} sources, {graph.n_nodes:,} nodes, one thread",
            f"faster than {name}",
            median[name] / median[ours],
            "×",
            target=6.0 if name == same else None,
            at_least=True,
            note=f"{note}{1e3 * median[name]:.1f} ms; distances bit-equal",
            numbers={"ours_s": seconds[ours], "peer_s": seconds[name]},
        )
        for name in list(functions)[1:]
    ]


# ------------------------------------------------------- (b, c) k-medoids beside FasterPAM


PerPower = dict[int, list[float]]


def per_power() -> PerPower:
    return {power: [] for power in POWERS}


@dataclass(frozen=True)
class Contest:
    """Seconds and energies of ours and of FasterPAM on one graph, a list per power."""

    all_pairs_s: list[float] = field(default_factory=list)
    fasterpam_s: PerPower = field(default_factory=per_power)
    fasterpam_energy: PerPower = field(default_factory=per_power)
    ours_s: PerPower = field(default_factory=per_power)
    ours_energy: PerPower = field(default_factory=per_power)


def contest(graph: gq.Graph, plan: Plan, kmedoids: Callable[..., Any]) -> Contest:
    """One round per seed: all pairs, then ours and FasterPAM in turn, for both powers."""
    matrix = as_scipy(graph)
    found = Contest()
    for seed in plan.seeds:
        with timed(found.all_pairs_s):
            pairs = dijkstra(matrix)
        for power in POWERS:
            with timed(found.ours_s[power]):
                result = kmedoids(graph, K, power=power, random_state=seed)
            found.ours_energy[power].append(verified_energy(matrix, result, power))
            dissimilarity = (pairs**power).astype(np.float32)
            with timed(found.fasterpam_s[power]):
                medoids = fasterpam(dissimilarity, seed)
            found.fasterpam_energy[power].append(energy(matrix, medoids, power))
    return found


def fasterpam(dissimilarity: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.integer]:
    import kmedoids

    return np.asarray(kmedoids.fasterpam(dissimilarity, K, random_state=seed).medoids, np.int64)


def energy_rows(
    graph: gq.Graph, plan: Plan, found: Contest, kmedoids: Callable[..., Any]
) -> list[Row]:
    """Energies over the best of FasterPAM: the worst of all seeds is judged."""
    matrix = as_scipy(graph)
    rows = []
    for power in POWERS:
        measured = found.fasterpam_energy[power]
        best = min([*measured, *([RECORDED_FASTERPAM[power]] if plan.is_full else [])])
        restarted = [
            verified_energy(
                matrix,
                kmedoids(graph, K, power=power, n_init=plan.n_init, random_state=seed),
                power,
            )
            for seed in plan.seeds
        ]
        stage = f"Energy over the best of FasterPAM, {graph.n_nodes:,} rows, p = {power}"
        rows.append(energy_row(stage, "default options", found.ours_energy[power], best, 1.006))
        rows.append(energy_row(stage, f"n_init={plan.n_init}", restarted, best, 1.001))
        rows.append(energy_row(stage, "FasterPAM on the dense matrix", measured, best, None))
    return rows


def energy_row(
    stage: str, name: str, energies: list[float], best: float, target: float | None
) -> Row:
    listed = " · ".join(f"{value:,.0f}" for value in energies)
    reached = sum(value <= best for value in energies)
    return Row(
        stage,
        f"{name}, worst of {len(energies)} seeds",
        max(energies) / best,
        "ratio",
        target=target,
        note=f"{listed}; best of FasterPAM {best:,.0f}, reached by {reached} of {len(energies)}",
        numbers={"energies": energies, "best_of_fasterpam": best},
    )


def contest_rows(graph: gq.Graph, found: Contest) -> list[Row]:
    """Time over that of all pairs and one run of FasterPAM; the graph is given to both."""
    rows = []
    for power in POWERS:
        ours = statistics.median(found.ours_s[power])
        pairs, pam = (
            statistics.median(found.all_pairs_s),
            statistics.median(found.fasterpam_s[power]),
        )
        rows.append(
            Row(
                f"Time beside all pairs and FasterPAM, {graph.n_nodes:,} rows, "
                f"{n_threads(None)} threads",
                f"p = {power}, share of the peer's time",
                ours / (pairs + pam),
                "share",
                target=0.1,
                note=f"ours {ours:.2f} s; scipy all pairs (one thread) {pairs:.2f} s + "
                f"FasterPAM {pam:.2f} s",
                numbers={
                    "ours_s": found.ours_s[power],
                    "all_pairs_s": found.all_pairs_s,
                    "fasterpam_s": found.fasterpam_s[power],
                },
            )
        )
    return rows


def growth_rows(graph: gq.Graph) -> list[Row]:
    """Memory that clustering takes beside the graph, in a fresh process."""
    if sys.platform != "linux":
        return []
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "graph.npz"))
        np.savez(file, indptr=graph.indptr, indices=graph.indices, lengths=graph.lengths)
        found = {
            power: said_by_module("benchmarks.speed.growth", file, str(K), str(power))
            for power in POWERS
        }
    matrix_mb = graph.n_nodes**2 * 4 / 1e6
    return [
        Row(
            f"Memory of clustering beside the graph, {graph.n_nodes:,} rows",
            f"p = {power}",
            found[power]["growth_mb"],
            "MB",
            target=40.0,
            note=f"the dense float32 matrix alone: {matrix_mb:.0f} MB",
            numbers=found[power],
        )
        for power in POWERS
    ]


# -------------------------------------------------------------------- (d, f, h) all rows


def fit_all(data: Data, plan: Plan) -> list[gq.FittedCodebook]:
    """A fit per seed, each verified."""
    fits = []
    for seed in plan.seeds:
        fitted = gq.fit_codebook(data.train, K, n_neighbors=N_NEIGHBORS, random_state=seed)
        verified_energy(as_scipy(fitted.graph), fitted.clustering, power=2)
        some = slice(0, 1000)
        again = fitted.codebook.assign(data.train[some])
        require_equal("codes assigned to training rows", again, fitted.codes[some])
        fits.append(fitted)
    return fits


def fit_rows(
    fits: Sequence[gq.FittedCodebook], plan: Plan, kmedoids: Callable[..., Any]
) -> list[Row]:
    """Energy and time of clustering on all rows."""
    graph = fits[0].graph
    stage = f"Clustering of {graph.n_nodes:,} rows, {n_threads(None)} threads, graph excluded"
    energies = [fitted.clustering.inertia for fitted in fits]
    seconds = [fitted.seconds["clustering"] for fitted in fits]
    rows = [
        Row(stage, "p = 2, energy, worst seed", max(energies), "energy", target=2_050_000.0,
            note=" · ".join(f"{value:,.0f}" for value in energies), numbers={"energies": energies}),
        Row(stage, "p = 2, time, median", statistics.median(seconds), "s", target=15.0,
            note=" · ".join(f"{value:.1f} s" for value in seconds), numbers={"seconds": seconds}),
    ]  # fmt: skip
    times: list[float] = []
    with timed(times):
        result = kmedoids(graph, K, power=1, random_state=0)
    value = verified_energy(as_scipy(graph), result, power=1)
    note = f"seed 0, {times[0]:.1f} s"
    if plan.is_full:
        note += f"; a local optimum found before: {RECORDED_OPTIMUM:,.0f}"
    return [*rows, Row(stage, "p = 1, energy", value, "energy", note=note,
                       numbers={"seconds": times})]  # fmt: skip


def accuracy_rows(data: Data, plan: Plan, fits: Sequence[gq.FittedCodebook]) -> list[Row]:
    """How well a code tells the digit of a test image."""
    stage = f"Majority-vote accuracy of {K} codes on {len(data.test):,} test latents"
    geodesic = [accuracy(data, f.codes, f.codebook.assign(data.test)) for f in fits]
    straight = [kmeans_accuracy(data, seed) for seed in plan.seeds]
    return [
        Row(stage, f"{name}, {which}", chosen(values), "share", target=target, at_least=True,
            note=" · ".join(f"{value:.4f}" for value in values), numbers={"accuracies": values})
        for name, values, which, chosen, target in (
            ("geodesic k-means", geodesic, "worst seed", min, 0.925),
            ("scikit-learn KMeans, n_init=10", straight, "best seed", max, None),
        )
    ]  # fmt: skip


def accuracy(
    data: Data, train_codes: npt.NDArray[np.integer], test_codes: npt.NDArray[np.integer]
) -> float:
    return majority_vote_accuracy(train_codes, data.train_digit, test_codes, data.test_digit)


def kmeans_accuracy(data: Data, seed: int) -> float:
    kmeans = KMeans(K, n_init=10, random_state=seed).fit(data.train)
    return accuracy(data, kmeans.labels_, kmeans.predict(data.test))


def anchor_rows(data: Data, plan: Plan, fitted: gq.FittedCodebook) -> list[Row]:
    """What a codebook with fewer anchors loses."""
    full = fitted.codebook.assign(data.test)
    rows = []
    for n_anchors in (fitted.codebook.n_anchors, *plan.anchors):
        thin = fitted.codebook.thinned(n_anchors)
        codes = thin.assign(data.test)
        numbers = {
            "n_anchors": thin.n_anchors,
            "agreement": agreement(codes, full),
            "accuracy": accuracy(data, fitted.codes, codes),
            "file_bytes": saved_bytes(thin),
        }
        rows.append(
            Row(
                "Fewer anchors in the codebook: agreement of test codes with the whole codebook",
                f"{thin.n_anchors:,} anchors",
                numbers["agreement"],
                "share",
                note=f"accuracy {numbers['accuracy']:.4f}, "
                f"file {numbers['file_bytes'] / 1e6:.2f} MB",
                numbers=numbers,
            )
        )
    return rows


def saved_bytes(codebook: gq.Codebook) -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "codebook.safetensors")
        codebook.save(file)
        return file.stat().st_size


# ------------------------------------------------------------ (e, g) the command and start-up


def command_rows(data: Data) -> list[Row]:
    """Peak memory of the command line, everything included."""
    with tempfile.TemporaryDirectory() as folder:
        latents, output = Path(folder, "latents.npy"), Path(folder, "x.codebook.safetensors")
        write_npy(latents, data.train)
        command = [
            "-m",
            "geoquant",
            "fit",
            str(latents),
            "-k",
            str(K),
            "-o",
            str(output),
            "--quiet",
        ]
        peak = peak_of_command(sys.executable, *command)
        n_codes = gq.Codebook.load(output).n_codes
    require_equal("codes in the file", n_codes, K)
    return [
        Row(
            f"Peak memory of geoquant fit, {len(data.train):,} × {data.train.shape[1]}",
            "whole process",
            peak,
            "MB",
            target=500.0,
            numbers={"peak_mb": peak},
        )
    ]


def start_rows(plan: Plan) -> list[Row]:
    """Time to start, and that nothing heavy is loaded."""
    loaded = run(sys.executable, "-c", "import geoquant, sys; print(*sys.modules)").split()
    heavy = FORBIDDEN & set(loaded)
    if heavy:
        raise WrongResult(f"import geoquant loads {', '.join(sorted(heavy))}")
    commands = {
        "python -m geoquant --help": ("-m", "geoquant", "--help"),
        'python -c "import geoquant"': ("-c", "import geoquant"),
        "python -c pass": ("-c", "pass"),
    }
    functions = {
        name: lambda words=words: run(sys.executable, *words) for name, words in commands.items()
    }
    seconds = seconds_in_turn(functions, plan.runs)
    return [
        Row(
            "Start-up, wall time",
            name,
            statistics.median(times),
            "s",
            target=0.3 if "geoquant" in name else None,
            note=f"median of {plan.runs}",
            numbers={"seconds": times},
        )
        for name, times in seconds.items()
    ]


# ------------------------------------------------------------------------------- altogether


def stages(data: Data, plan: Plan) -> Iterator[list[Row]]:
    """Measure one stage after the other."""
    yield start_rows(plan)
    yield command_rows(data)
    fits = fit_all(data, plan)
    yield nearest_source_rows(fits[0].graph, plan)
    yield fit_rows(fits, plan, gq.geodesic_kmedoids)
    yield accuracy_rows(data, plan, fits)
    yield anchor_rows(data, plan, fits[0])
    del fits
    small, _ = connected_graph(data.train[: plan.n_small], N_NEIGHBORS)
    found = contest(small, plan, gq.geodesic_kmedoids)
    yield energy_rows(small, plan, found, gq.geodesic_kmedoids)
    yield contest_rows(small, found)
    yield growth_rows(small)


def measure(plan: Plan) -> list[Row]:
    """All rows, each stage printed when it is done."""
    require_peers()
    rows = []
    for stage in stages(load(plan), plan):
        judged = stage if plan.is_full else [replace(row, target=None) for row in stage]
        print(table.as_text(judged), flush=True)
        rows += judged
    return rows


def require_peers() -> None:
    try:
        import kmedoids  # noqa: F401
    except ImportError:
        raise NotAvailable("kmedoids is not installed: pip install 'geoquant[bench]'") from None


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with."""
    names = {"sklearn": "scikit-learn", "faiss": "faiss-cpu"}
    libraries = ("geoquant", "numpy", "scipy", "sklearn", "faiss", "kmedoids")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu_model(),
        "cores": n_threads(None),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: installed(names.get(name, name)) for name in libraries},
        "commit": commit(),
    }


def installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "?"


def render(results: Path, readme: Path | None) -> None:
    """Print what was measured as Markdown, or put it into the README."""
    if not results.is_file():
        raise NotAvailable(f"{results} does not exist; run python -m benchmarks.speed.fit first")
    rows, about = table.from_json(results.read_text(encoding="utf-8"))
    markdown = table.as_markdown(rows, about)
    if readme is None:
        print(f"<!-- {BLOCK}:begin -->\n\n{markdown}\n\n<!-- {BLOCK}:end -->")
    else:
        table.replace_block(readme, BLOCK, markdown)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows, nothing judged or written")
    parser.add_argument("--render", action="store_true", help="print the last results as Markdown")
    parser.add_argument("--update-readme", action="store_true", help="put them into the README")
    options = parser.parse_args(argv)
    try:
        if options.render or options.update_readme:
            render(RESULTS, README if options.update_readme else None)
            return 0
        rows = measure(QUICK if options.quick else FULL)
    except NotAvailable as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except WrongResult as error:
        print(f"Wrong result: {error}", file=sys.stderr)
        return 1
    if not options.quick:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        about = {"machine": machine(), "plan": asdict(FULL), "k": K, "n_neighbors": N_NEIGHBORS}
        RESULTS.write_text(table.as_json(rows, **about), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
