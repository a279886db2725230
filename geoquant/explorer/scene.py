"""What the page shows: which latents, their codes, their graph and their place in the plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_count
from geoquant.assignment import assign
from geoquant.codebook import Codebook
from geoquant.errors import InputError
from geoquant.fit import connected_graph
from geoquant.latents import check_latents
from geoquant.plane import plane_map

if TYPE_CHECKING:
    from geoquant.graph.csr import Graph

#: Numbers of latents in one page, roughly: 200 000 points of 100 dimensions.
_MOST_NUMBERS = 20_000_000
_DEFAULT_NEIGHBORS = 10


@dataclass(frozen=True)
class Scene:
    """Points in the order in which the page has them: by code, then by row.

    Parameters
    ----------
    row : ndarray of shape (n,), int64
        Row of each point in the latents that were given.
    code : ndarray of shape (n,), int32
        Its code.
    distance : ndarray of shape (n,), float64
        Geodesic distance to the centre of its code.
    latents : ndarray of shape (n, d), float32
        The points.
    vectors : ndarray of shape (n_codes, d), float32
        The codewords.
    graph : Graph
        Connected, of the points.
    plane : ndarray of shape (n, 2), float32
        Where each point is drawn.
    label : ndarray of shape (n,), int64, or None
        Position in `label_names`.
    label_names : tuple of str
        Every class there is.
    n_latents : int
        How many latents were given; more than points if these are a sample.
    notes : tuple of str
        What a reader of the page has to know of how it was made.
    """

    row: npt.NDArray[np.int64]
    code: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]
    latents: npt.NDArray[np.float32]
    vectors: npt.NDArray[np.float32]
    graph: Graph
    plane: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64] | None
    label_names: tuple[str, ...]
    n_latents: int
    notes: tuple[str, ...]

    @property
    def n_codes(self) -> int:
        """Number of codes, K."""
        return len(self.vectors)

    @property
    def n_points(self) -> int:
        """Number of points."""
        return len(self.row)

    def spread(self, n_points: int, random_state: int = 0) -> npt.NDArray[np.int64]:
        """Some of the points, about as many of each code, the one nearest to its centre first.

        Parameters
        ----------
        n_points : int
            How many at most.
        random_state : int, default=0
            Chooses the others of each code.

        Returns
        -------
        ndarray of int64
            Points, ascending.
        """
        key = 1 + np.random.default_rng(random_state).random(self.n_points)
        nearest = np.lexsort((self.distance, self.code))
        first = np.unique(self.code[nearest], return_index=True)[1]
        key[nearest[first]] = 0
        order = np.lexsort((key, self.code))
        count = np.bincount(self.code, minlength=self.n_codes)
        turn = np.empty(self.n_points, np.int64)
        turn[order] = np.arange(self.n_points) - np.repeat(np.cumsum(count) - count, count)
        return np.sort(np.lexsort((key, turn))[:n_points])


def scene_of(
    codebook: Codebook,
    latents: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    plane: npt.ArrayLike | None = None,
    n_neighbors: int | None = None,
    max_points: int = 200_000,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> Scene:
    """Choose the points, give them codes, join them by a graph and place them in the plane.

    Parameters
    ----------
    codebook, latents, labels, plane, n_neighbors, max_points, random_state, n_jobs
        As for `write_explorer`.

    Returns
    -------
    Scene

    Raises
    ------
    InputError
        If an argument cannot be used.
    """
    _check_codebook(codebook)
    x = check_latents(latents)
    if x.shape[1] != codebook.dim:
        raise InputError(
            f"latents must have {codebook.dim} columns for this codebook, found {x.shape[1]}; give "
            "the latents that it was fitted on, or others of the same model"
        )
    names, classes = _classes(labels, len(x))
    given_plane = None if plane is None else _checked_plane(plane, len(x))
    codes, distance, notes = _codes(codebook, x, n_jobs)
    kept = _kept(codes, distance, _most_points(max_points, codebook), random_state)
    if len(kept) < len(x):
        notes.append(
            f"A sample of {len(kept):,} of the {len(x):,} latents is shown; paths lead along the "
            "sample, and so are a little longer than along all."
        )
    row = kept[np.lexsort((kept, codes[kept]))]
    shown = np.ascontiguousarray(x[row])
    k = _neighbors_of(codebook, n_neighbors)
    graph, n_components = connected_graph(shown, k, n_jobs=n_jobs)
    if n_components > 1:
        notes.append(f"The graph had {n_components:,} parts, joined by their shortest bridges.")
    notes.append(f"Paths lead along the graph of {k} nearest neighbours of the points shown.")
    return Scene(
        row=row,
        code=codes[row],
        distance=distance[row],
        latents=shown,
        vectors=codebook.vectors,
        graph=graph,
        plane=plane_map(graph, shown, random_state=random_state)
        if given_plane is None
        else given_plane[row],
        label=None if classes is None else classes[row],
        label_names=names,
        n_latents=len(x),
        notes=tuple(notes),
    )


def _check_codebook(codebook: Any) -> None:
    if isinstance(codebook, Codebook):
        return
    cure = "give one that fit_codebook or `geoquant fit` made"
    if stages := getattr(codebook, "stages", None):
        cure = (
            f"this one has {len(stages)} stages; fit one stage to explore, as `geoquant fit "
            "LATENTS -k 64` does, or give the first stage of residual ones: codebook.stages[0]"
        )
    raise InputError(
        f"codebook must be a Codebook of one stage, found {type(codebook).__name__}; {cure}"
    )


def _classes(
    labels: npt.ArrayLike | None, n: int
) -> tuple[tuple[str, ...], npt.NDArray[np.int64] | None]:
    """Names of classes, and the class of each latent."""
    if labels is None:
        return (), None
    given = np.asarray(labels)
    if given.shape != (n,) or given.dtype.kind not in "iubUS":
        raise InputError(
            f"labels must be {n} integers or texts, one per latent, found shape {given.shape} of "
            f"{given.dtype}"
        )
    names, classes = np.unique(given, return_inverse=True)
    return tuple(map(str, names.tolist())), classes.astype(np.int64)


def _checked_plane(plane: npt.ArrayLike, n: int) -> npt.NDArray[np.float32]:
    xy = check_latents(plane, name="plane")
    if xy.shape != (n, 2):
        raise InputError(f"plane must have shape ({n}, 2), one place per latent, found {xy.shape}")
    return xy


def _codes(
    codebook: Codebook, x: npt.NDArray[np.float32], n_jobs: int | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], list[str]]:
    """Codes, distances to centres, and what is to be said of them."""
    notes = []
    if codebook.metadata.get("edge_lengths") == "outputs":
        notes.append(
            "The codebook was fitted by distances of a model's outputs: distances to centres are "
            "in their unit, paths and chords in that of the latents."
        )
    if np.array_equal(x, codebook.anchors):
        return codebook.anchor_code, codebook.anchor_distance, notes
    notes.append(
        "The latents are others than the codebook keeps, so each has the code of the way to a "
        "centre that is shortest through its neighbours there."
    )
    codes, distance = assign(
        x,
        codebook.anchors,
        codebook.anchor_distance,
        codebook.anchor_code,
        n_neighbors=codebook.n_neighbors,
        n_jobs=n_jobs,
    )
    return codes, distance, notes


def _most_points(max_points: int, codebook: Codebook) -> int:
    most = check_count(max_points, "max_points", 2)
    return min(most, max(1000, _MOST_NUMBERS // codebook.dim))


def _kept(
    codes: npt.NDArray[np.int32],
    distance: npt.NDArray[np.float64],
    n_points: int,
    random_state: int,
) -> npt.NDArray[np.int64]:
    """Rows to show: all, or what is nearest to each centre and a uniform sample of the others."""
    if len(codes) <= n_points:
        return np.arange(len(codes))
    by_code = np.lexsort((distance, codes))
    first = np.unique(codes[by_code], return_index=True)[1]
    nearest = by_code[first][:n_points]
    others = np.setdiff1d(np.arange(len(codes)), nearest, assume_unique=True)
    random = np.random.default_rng(random_state)
    sample = random.choice(others, n_points - len(nearest), replace=False, shuffle=False)
    return np.sort(np.concatenate([nearest, sample]))


def _neighbors_of(codebook: Codebook, n_neighbors: int | None) -> int:
    if n_neighbors is not None:
        return check_count(n_neighbors, "n_neighbors", 1)
    if codebook.metadata.get("edge_lengths") == "outputs":
        return _DEFAULT_NEIGHBORS
    return codebook.n_neighbors
