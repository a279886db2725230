"""Latents as a table: code, distance, place on a map, neighbours, and what belongs to each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_choice, check_count
from geoquant.assignment import assign
from geoquant.codebook import Codebook
from geoquant.errors import InputError, memory_errors_typed
from geoquant.graph.components import bridge_components
from geoquant.graph.csr import Graph
from geoquant.graph.knn import Neighbors, nearest_neighbors
from geoquant.latents import as_array, check_latents
from geoquant.plane import plane_map
from geoquant.short_repr import ShortRepr

if TYPE_CHECKING:
    from geoquant.multistage import MultistageCodebook
    from geoquant.progress import Progress

Float32Array: TypeAlias = npt.NDArray[np.float32]
MapMethod: TypeAlias = Literal["geodesic", "pca"]

#: Neighbours of each latent in the graph that a geodesic map is measured in.
_NEIGHBORS_OF_MAP = 10


class Images(Protocol):
    """Images of latents: an array, or what reads or decodes those that are asked for."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Those of a slice or an array of row numbers, (m, C, H, W), (m, H, W) or (m, H, W, C)."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class LatentTable(ShortRepr):
    """A row for each latent.

    Parameters
    ----------
    latents : ndarray of shape (n, d), float32
        The latents.
    codes : ndarray of shape (n,) or (n, M), int32
        Code of each, or of each stage.
    distance : ndarray of shape (n,), float64
        To the centre of the code; see `unit`.
    unit : str
        What the distance is, in words.
    row : ndarray of shape (n,), int64
        Where each stood among the latents that were given.
    labels : ndarray of shape (n,), int, float, bool or str, or None
        A class or a name of each.
    images : Images or None
        A picture of each.
    plane : ndarray of shape (n, 2), float32, or None
        Place on a map.
    neighbors : Neighbors or None
        The nearest other latents, by place in this table.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.export import latent_table
    >>> book = gq.fit_codebook([[0.0], [1.0], [8.0], [9.0]], 2, random_state=0).codebook
    >>> table = latent_table(book, labels=["a", "b", "c", "d"])
    >>> table.columns(), list(table.code_columns())
    (['code', 'distance', 'row', 'label'], ['code'])
    >>> table.sample(2).labels.shape
    (2,)
    """

    latents: Float32Array
    codes: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]
    unit: str
    row: npt.NDArray[np.int64]
    labels: npt.NDArray[Any] | None = None
    images: Images | None = None
    plane: Float32Array | None = None
    neighbors: Neighbors | None = None

    def __len__(self) -> int:
        """Number of latents."""
        return len(self.latents)

    def code_columns(self) -> dict[str, npt.NDArray[np.int32]]:
        """Codes by the name of their column.

        Returns
        -------
        dict of str to ndarray of shape (n,), int32
            "code", or "code_1", "code_2" and so on of stages.
        """
        if self.codes.ndim == 1:
            return {"code": self.codes}
        return {f"code_{m}": column for m, column in enumerate(self.codes.T, 1)}

    def columns(self) -> list[str]:
        """Names of the columns that `write_parquet` writes.

        Returns
        -------
        list of str
            In their order.
        """
        places = [] if self.plane is None else ["x", "y"]
        more = {"label": self.labels, "image": self.images, "neighbors": self.neighbors}
        there = [name for name, column in more.items() if column is not None]
        return [*places, *self.code_columns(), "distance", "row", *there]

    def sample(self, n: int, random_state: int = 0) -> LatentTable:
        """A random part, in the same order and without neighbours, as most of these are not in it.

        Parameters
        ----------
        n : int
            Rows to keep.
        random_state : int, default=0
            Seed.

        Returns
        -------
        LatentTable
            This one, if it has no more.
        """
        if n >= len(self):
            return self
        random = np.random.default_rng(random_state)
        kept = np.sort(random.choice(len(self), n, replace=False))
        return replace(
            self,
            latents=self.latents[kept],
            codes=self.codes[kept],
            distance=self.distance[kept],
            row=self.row[kept],
            labels=None if self.labels is None else self.labels[kept],
            images=None if self.images is None else _Chosen(self.images, kept),
            plane=None if self.plane is None else self.plane[kept],
            neighbors=None,
        )


@dataclass(frozen=True)
class _Chosen:
    """Some images of many, read when they are asked for."""

    images: Images
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any, /) -> Any:
        return self.images[self.rows[rows]]


@memory_errors_typed()
def latent_table(
    codebook: Codebook | MultistageCodebook,
    latents: npt.ArrayLike | None = None,
    *,
    labels: npt.ArrayLike | None = None,
    images: Images | None = None,
    plane: npt.ArrayLike | MapMethod | None = None,
    n_neighbors: int = 0,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> LatentTable:
    """Gather what other programs show of latents and their codes.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        Gives the codes.
    latents : array-like of shape (n, d), optional
        Default: the anchors of a codebook of one stage, with the codes that they have.
    labels : array-like of shape (n,), optional
        Integers, floats, truth values or strings.
    images : Images, optional
        Such as an array of shape (n, C, H, W), (n, H, W) or (n, H, W, C): uint8, or floats in
        [0, 1]. Only looked at when they are written.
    plane : array-like of shape (n, 2), 'geodesic', 'pca' or None, default=None
        Places on a map, or how to find them (`geoquant.plane.plane_map`).
    n_neighbors : int, default=0
        Nearest other latents to find for each.
    random_state : int, default=0
        Of the map.
    n_jobs : int, optional
        Threads; the result does not depend on it.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    LatentTable

    Raises
    ------
    InputError
        If the latents are not the codebook's, or what belongs to them is not one of each.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.export import latent_table
    >>> book = gq.fit_codebook([[0.0], [1.0], [8.0], [9.0]], 2, random_state=0).codebook
    >>> table = latent_table(book, [[0.5], [8.5]], labels=["low", "high"])
    >>> table.distance.tolist(), table.labels.tolist()
    ([0.5, 0.5], ['low', 'high'])
    """
    x, codes, distance, unit = _coded(codebook, latents, n_jobs)
    n = len(x)
    method = plane if isinstance(plane, str) else None
    if method is not None:
        check_choice(method, "plane", ("geodesic", "pca"))
    n_neighbors = min(check_count(n_neighbors, "n_neighbors", 0), n - 1)
    table = LatentTable(
        latents=x,
        codes=codes,
        distance=distance,
        unit=unit,
        row=np.arange(n),
        labels=None if labels is None else _checked_labels(labels, n),
        images=None if images is None else _checked_images(images, n),
        plane=None if plane is None or method is not None else _checked_plane(plane, n),
    )
    n_for_map = min(_NEIGHBORS_OF_MAP, n - 1) if method == "geodesic" else 0
    n_sought = max(n_neighbors, n_for_map)
    near = nearest_neighbors(x, n_sought, n_jobs=n_jobs, progress=progress) if n_sought else None
    if method is not None:
        graph = _graph_of_map(x, near, n_for_map, n_jobs)
        found = plane_map(graph, x, method=method, random_state=random_state)
        table = replace(table, plane=found)
    return replace(table, neighbors=_first_columns(near, n_neighbors))


def _coded(
    codebook: Codebook | MultistageCodebook, latents: npt.ArrayLike | None, n_jobs: int | None
) -> tuple[Float32Array, npt.NDArray[np.int32], npt.NDArray[np.float64], str]:
    """Latents with codes, distances and what these are."""
    single = codebook if isinstance(codebook, Codebook) else None
    if latents is None:
        if single is None:
            raise InputError(
                "latents must be given for a codebook of stages, which keeps none; give those "
                "that are to be shown"
            )
        return single.anchors, single.anchor_code, single.anchor_distance, _unit(single)
    x = check_latents(latents)
    if x.shape[1] != codebook.dim:
        raise InputError(
            f"latents must have shape (n, {codebook.dim}) for this codebook, found {x.shape}"
        )
    if isinstance(codebook, Codebook):
        return x, *_codes_and_distance(codebook, x, n_jobs), _unit(codebook)
    codes = codebook.assign(x, n_jobs=n_jobs)
    error = np.linalg.norm(x.astype(np.float64) - codebook.lookup(codes), axis=1)
    return x, codes, error, "straight to what the codes stand for"


def _is_in_outputs(book: Codebook) -> bool:
    return book.metadata.get("edge_lengths") == "outputs"


def _unit(book: Codebook) -> str:
    unit = "outputs" if _is_in_outputs(book) else "latents"
    return f"along the data to the centre of the code, in units of the {unit}"


def _codes_and_distance(
    book: Codebook, x: Float32Array, n_jobs: int | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    if _is_in_outputs(book):
        # The step to the anchor is in another unit and cannot be added.
        nearest = nearest_neighbors(book.anchors, 1, x, n_jobs=n_jobs).index[:, 0]
        return book.anchor_code[nearest], book.anchor_distance[nearest]
    return assign(
        x,
        book.anchors,
        book.anchor_distance,
        book.anchor_code,
        n_neighbors=book.n_neighbors,
        n_jobs=n_jobs,
    )


def _checked_labels(labels: npt.ArrayLike, n: int) -> npt.NDArray[Any]:
    given = as_array(labels, "labels")
    if given.shape != (n,):
        raise InputError(f"labels must have shape ({n},), one for each latent, found {given.shape}")
    if given.dtype.kind not in "iufbU":
        raise InputError(
            f"labels must be integers, floats, truth values or strings, found dtype {given.dtype}; "
            "convert them with labels.astype(str)"
        )
    return given


def _checked_images(images: Images, n: int) -> Images:
    if len(images) != n:
        raise InputError(
            f"images must be {n}, one for each latent, found {len(images)}; give those of the "
            "latents, in their order"
        )
    return images


def _checked_plane(plane: npt.ArrayLike, n: int) -> Float32Array:
    given = check_latents(plane, name="plane")
    if given.shape != (n, 2):
        raise InputError(
            f"plane must have shape ({n}, 2), a place for each latent, found {given.shape}"
        )
    return given


def _graph_of_map(
    x: Float32Array, near: Neighbors | None, n_neighbors: int, n_jobs: int | None
) -> Graph:
    """The graph of the first neighbours, connected; without edges if there are none."""
    if near is None or n_neighbors == 0:
        return Graph.from_edges(len(x), [], [], [])
    ends = np.repeat(np.arange(len(x)), n_neighbors)
    index, length = near.index[:, :n_neighbors], near.distance[:, :n_neighbors]
    graph = Graph.from_edges(len(x), ends, index.ravel(), length.ravel(), recall=near.recall)
    return bridge_components(graph, x, n_jobs=n_jobs).graph


def _first_columns(near: Neighbors | None, n: int) -> Neighbors | None:
    if near is None or n == 0:
        return None
    return Neighbors(near.distance[:, :n], near.index[:, :n], near.recall)
