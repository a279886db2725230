"""Draw docs/images/geodesic.png: straight cells mix two moons, geodesic cells do not.

Everything that the picture says is computed here; run by ``make picture``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import make_moons

import geoquant as gq
from geoquant.report import plot_codes, plot_path_and_chord

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE = Path(__file__).parent / "images" / "geodesic.png"
N_POINTS, NOISE, N_CODES, SEED = 1500, 0.05, 4, 0


def mixed_cells(codes: npt.NDArray[np.int32], moon: npt.NDArray[np.int64]) -> list[int]:
    """The cells that hold points of both moons."""
    return [int(code) for code in np.unique(codes) if len(np.unique(moon[codes == code])) > 1]


def longest_detour(
    x: npt.NDArray[np.float32],
    graph: gq.Graph,
    codes: npt.NDArray[np.int32],
    moon: npt.NDArray[np.int64],
) -> npt.NDArray[np.int32]:
    """Path between the two moons' shares of a mixed cell, from centre to centre; the longest."""
    paths = []
    for code in mixed_cells(codes, moon):
        ends = [central_point(x, (codes == code) & (moon == which)) for which in (0, 1)]
        length = gq.nearest_source(graph, ends[:1]).distance[ends[1]]
        paths.append((length, gq.path_between(graph, *ends)))
    return max(paths, key=lambda pair: pair[0])[1]


def central_point(x: npt.NDArray[np.float32], chosen: npt.NDArray[np.bool_]) -> int:
    """The chosen point that is nearest to the mean of the chosen."""
    apart = np.linalg.norm(x - x[chosen].mean(axis=0), axis=1)
    return int(np.where(chosen, apart, np.inf).argmin())


def finish_panel(
    ax: Axes, name: str, codes: npt.NDArray[np.int32], moon: npt.NDArray[np.int64]
) -> None:
    """Say what is seen, and how many cells are mixed."""
    ax.set_title(
        f"{name}\n{len(mixed_cells(codes, moon))} of {N_CODES} cells mix the two moons", fontsize=16
    )
    ax.legend(loc="upper right", fontsize=12.5, frameon=False)
    ax.set_axis_off()


def picture() -> Figure:
    """Both panels: the chord on KMeans' cells, the path beside it on geodesic ones."""
    from matplotlib import pyplot as plt

    points, moon = make_moons(N_POINTS, noise=NOISE, random_state=SEED)
    x = points.astype(np.float32)
    straight = KMeans(N_CODES, n_init=10, random_state=SEED).fit_predict(x)
    # The moons are two components of the graph, joined by one bridge.
    est = gq.GeodesicKMeans(N_CODES, random_state=SEED).fit(x)
    path = longest_detour(x, est.graph_, straight, moon)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.7), layout="constrained")
    plot_path_and_chord(x, path, ax=plot_codes(x, straight, ax=left))
    left.lines[0].remove()
    finish_panel(left, "Straight distance: KMeans", straight, moon)
    plot_path_and_chord(x, path, ax=plot_codes(x, est.labels_, ax=right))
    finish_panel(right, "Distance along the data: GeodesicKMeans", est.labels_, moon)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PICTURE)
    output = parser.parse_args().output
    mpl.use("agg")
    output.parent.mkdir(parents=True, exist_ok=True)
    picture().savefig(output, dpi=120)
    print(output)


if __name__ == "__main__":
    main()
