"""The figures that the kernels are to reach, in one table, each from the row that measured it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.table import Results, read_results

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.table import Row

STAGES = ("graph", "shortest_paths", "seeding", "swap", "assign", "fit", "quantizer")

#: The key of a row, and what it says; in the order of the data.
FIGURES = {
    "graph-60k": "Exact 10-NN graph, 60k × 20: share of the time of faiss flat",
    "graph-d64": "The same, d = 64: time over that of faiss flat",
    "graph-d256": "The same, d = 256: time over that of faiss flat",
    "graph-1m": "10-NN graph, 1M × 20, recall ≥ 0.995: share of the time of faiss IVF so tuned",
    "source-60k": "Nearest of 64 sources, 60k, one thread: faster than SciPy",
    "swap-time": "Swap to the local optimum, 60k, K = 64, p = 2",
    "swap-share": "The same: share of all pairs + FasterPAM, extrapolated",
    "default-energy": "Default, 60k, K = 64, p = 2: energy over the best local optimum known",
    "default-time": "The same: time, graph excluded",
    "fit-kmeans10": "From file to codebook, 60k × 20, K = 64: time over KMeans(n_init=10)",
    "fit-kmeans1": "The same, stretch: time over KMeans(n_init=1)",
    "million-time": "Whole fit, 1M × 20, K = 1024: time",
    "million-memory": "The same: memory beyond the input",
    "growth": "Growth of the whole fit from 60k on, K = 64: exponent",
    "threads-join": "Two threads against one: join",
    "threads-swap": "Two threads against one: swap",
    "assign": "Assign 10k new latents, 60k anchors: share of the time of faiss flat",
    "quantizer": "Quantizer forward, 60k × 20, K = 64: time over torch.cdist + argmin",
}

#: Those beside a peer, that a stranger asks for first: also where geoquant is behind.
FOR_STRANGERS = {
    "graph-60k": "Exact graph of 10 neighbours, 60k latents: share of the time of faiss flat",
    "graph-1m": "The same, a million latents, recall ≥ 0.995: share of the time of faiss's IVF",
    "source-60k": "Distances to the nearest of 64 centres, 60k latents: times as fast as SciPy",
    "swap-share": "K-medoids, 60k latents, K = 64: share of the time of all pairs + FasterPAM",
    "fit-kmeans10": "From file to codebook, 60k latents, K = 64: time over KMeans(n_init=10)",
    "fit-kmeans1": "The same: time over KMeans(n_init=1)",
    "million-time": "From file to codebook, a million latents, K = 1024",
    "assign": "Codes of 10k new latents: share of the time of faiss flat",
}


@dataclass(frozen=True)
class Figure:
    """A line of the table.

    Attributes
    ----------
    text : str
        What it is.
    row : Row or None
        What was measured.
    run : dict
        By which run; empty if by none.
    is_recorded : bool
        Whether it stands in the record and was not measured just now.
    """

    text: str
    row: Row | None
    run: dict[str, object]
    is_recorded: bool = False

    def cells(self) -> tuple[str, str, str, str, str]:
        """Text, measured, target, verdict and note."""
        if self.row is None:
            return self.text, "not measured", "", "", "make bench-full measures it"
        _, value, target, verdict, note = self.row.cells()
        if self.is_recorded:
            where = f"{str(self.run['date'])[:10]}, {str(self.run['commit'])[:10]}"
            note = "; ".join([f"bench-full only; recorded {where}", *([note] if note else [])])
        return self.text, value, target, verdict, note


def figures(measured: Results, recorded: Results) -> list[Figure]:
    """Every figure, from a run if it measured it, else from the record."""
    found = []
    for key, text in FIGURES.items():
        for results, is_recorded in ((measured, False), (recorded, True)):
            row = next((row for row in results.rows if row.figure == key), None)
            if row is not None:
                found.append(Figure(text, row, results.runs[row.run], is_recorded))
                break
        else:
            found.append(Figure(text, None, {}))
    return found


def read_all(folder: Path, stages: Iterable[str] = STAGES) -> Results:
    """The results of all stages in a folder, as if they were one."""
    parts = [read_results(folder / f"{stage}.json") for stage in stages]
    runs = {key: about for part in parts for key, about in part.runs.items()}
    return Results([row for part in parts for row in part.rows], runs)


def as_text(lines: Sequence[Figure]) -> str:
    """The table for a terminal: a line per figure, the note below it."""
    cells = [figure.cells() for figure in lines]
    widths = [max(len(c[i]) for c in cells) for i in range(4)]
    out = []
    for *first, note in cells:
        padded = "  ".join(c.ljust(w) for c, w in zip(first, widths, strict=True))
        out += [padded.rstrip(), *([f"      {note}"] if note else [])]
    n_passed = sum(c[3] == "PASS" for c in cells)
    n_short = sum(c[3] == "short" for c in cells)
    missing = len(cells) - n_passed - n_short
    return "\n".join([*out, "", f"{n_passed} PASS, {n_short} short, {missing} not measured"])


def for_strangers(measured: Results) -> str:
    """Few figures as a Markdown table, without what was aimed at."""
    cells = {figure.text: figure.cells() for figure in figures(measured, Results())}
    rows = []
    for key, text in FOR_STRANGERS.items():
        _, value, _, _, note = cells[FIGURES[key]]
        rows.append(f"| {text} | {value} | {note} |")
    return "\n".join(["| | measured | behind it |", "|---|---|---|", *rows])


def as_markdown(lines: Sequence[Figure]) -> str:
    """The table for a Markdown file."""
    rows = [f"| {' | '.join(figure.cells())} |" for figure in lines]
    head = ["| | measured | target | | behind it |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])
