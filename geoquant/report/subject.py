"""What a report is about: a codebook, the latents it is shown on, and the graph of its anchors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from geoquant.assignment import assign, nearest_codeword
from geoquant.codebook import Codebook
from geoquant.distinct import distinct_rows
from geoquant.errors import InputError
from geoquant.graph.components import bridge_components
from geoquant.graph.csr import Graph
from geoquant.graph.knn import nearest_neighbors
from geoquant.graph.shortest_paths import nearest_source
from geoquant.latents import check_latents
from geoquant.multistage import MultistageCodebook
from geoquant.short_repr import ShortRepr

if TYPE_CHECKING:
    from geoquant.graph.knn import Neighbors

#: Latents, and anchors, beyond which a report looks at a sample.
MOST_ROWS = 200_000
#: Neighbours by which the graph is varied, up and down.
K_STEP = 5
_USUAL_NEIGHBORS = 10


@dataclass(frozen=True, eq=False, repr=False)
class Subject(ShortRepr):
    """A codebook on latents, and the graph of its anchors built anew.

    Attributes
    ----------
    codebook : Codebook
        With at most `MOST_ROWS` anchors, which are the nodes of the graph.
    latents : ndarray of shape (n, d), float32
        What the report is about.
    codes, straight_codes : ndarray of shape (n,), int32
        Codes of the latents along the data, and those of the codewords nearest in a straight line.
    distance : ndarray of shape (n,), float64
        Geodesic distance of each latent to its centre, in the unit that the codebook keeps.
    rows : ndarray of shape (n,), int64
        Which of the latents that were given these are.
    node_of_row : ndarray of shape (n,), int32, or None
        The node that each latent is, if the latents are the anchors.
    neighbors : Neighbors
        Of the nodes, `K_STEP` more than the graph takes.
    n_neighbors : int
        How many the graph takes.
    graph : Graph
        Connected.
    n_components : int
        Components before bridging.
    bridges : ndarray of shape (n_components - 1, 2), int32
        The edges that join them.
    centres : ndarray of shape (n_codes,), int32
        The node that each code's cell is centred on.
    """

    codebook: Codebook
    latents: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int32]
    straight_codes: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    node_of_row: npt.NDArray[np.int32] | None
    neighbors: Neighbors
    n_neighbors: int
    graph: Graph
    n_components: int
    bridges: npt.NDArray[np.int32]
    centres: npt.NDArray[np.int32]

    @property
    def nodes(self) -> npt.NDArray[np.float32]:
        """Latents of the nodes, shape (m, d)."""
        return self.codebook.anchors

    @property
    def power(self) -> int:
        """Power of the energy that the codebook was fitted for, 1 or 2."""
        return 1 if self.codebook.metadata.get("power") == 1 else 2

    @property
    def has_own_unit(self) -> bool:
        """Whether the codebook's distances are in the unit of outputs, not of the latents."""
        return "edge_lengths" in self.codebook.metadata


def subject_of(codebook: Codebook, latents: npt.ArrayLike, *, n_jobs: int | None = None) -> Subject:
    """Give latents their codes and build the graph of the anchors anew.

    Parameters
    ----------
    codebook : Codebook
        With at least three anchors.
    latents : array-like of shape (n, d)
        Any latents of the codebook's kind; of more than `MOST_ROWS`, a random sample is taken.
    n_jobs : int, optional
        Threads, all by default; the result does not depend on it.

    Returns
    -------
    Subject

    Raises
    ------
    InputError
        If the codebook has stages or too few anchors, or the latents do not fit it.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.subject import subject_of
    >>> x = [[0.0], [1.0], [8.0], [9.0]]
    >>> subject = subject_of(gq.fit_codebook(x, 2, n_neighbors=1, random_state=0).codebook, x)
    >>> subject.n_components, subject.graph.n_edges
    (2, 3)
    """
    x = _checked(codebook, latents)
    node_of_row = _nodes_that_rows_are(x, codebook.anchors)
    rows = sample_of(len(x), MOST_ROWS)
    if len(rows) < len(x):
        x = x[rows]
        node_of_row = None if node_of_row is None else node_of_row[rows]
    codes, distance = _coded(codebook, x, node_of_row, n_jobs)
    if codebook.n_anchors > MOST_ROWS:
        codebook, node_of_row = codebook.thinned(max(MOST_ROWS, codebook.n_codes)), None
    k = n_neighbors_of(codebook)
    found, graph, bridges = _graph_of(codebook.anchors, k, n_jobs)
    return Subject(
        codebook=codebook,
        latents=x,
        codes=codes,
        straight_codes=nearest_codeword(x, codebook.vectors, n_jobs=n_jobs),
        distance=distance,
        rows=rows,
        node_of_row=node_of_row,
        neighbors=found,
        n_neighbors=k,
        graph=graph,
        n_components=len(bridges) + 1,
        bridges=bridges,
        centres=centres_of(codebook, n_jobs=n_jobs),
    )


def n_neighbors_of(codebook: Codebook) -> int:
    """Neighbours of each node in the graph that a codebook was fitted on, as far as it tells.

    Parameters
    ----------
    codebook : Codebook
        One whose edges were measured in outputs considers one anchor in assignment, and names the
        neighbours of its graph in its metadata.

    Returns
    -------
    int
        Less than the number of anchors.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.subject import n_neighbors_of
    >>> book = gq.fit_codebook([[0.0], [1.0], [9.0]], 2, n_neighbors=2, random_state=0).codebook
    >>> n_neighbors_of(book)
    2
    """
    asked = codebook.n_neighbors
    if "edge_lengths" in codebook.metadata:
        asked = int(cast("int", codebook.metadata.get("graph_neighbors", _USUAL_NEIGHBORS)))
    return max(1, min(asked, codebook.n_anchors - 1))


def centres_of(codebook: Codebook, *, n_jobs: int | None = None) -> npt.NDArray[np.int32]:
    """The anchor that each code's cell is centred on.

    Parameters
    ----------
    codebook : Codebook
        The codebook.
    n_jobs : int, optional
        Threads, all by default.

    Returns
    -------
    ndarray of shape (n_codes,), int32
        The anchor of the code at the least distance, the first in a tie; for a code of no anchor,
        the anchor nearest to the codeword.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.subject import centres_of
    >>> fitted = gq.fit_codebook([[0.0], [1.0], [2.0], [9.0]], 2, random_state=0)
    >>> sorted(centres_of(fitted.codebook).tolist()), sorted(fitted.clustering.medoid_indices)
    ([1, 3], [np.int32(1), np.int32(3)])
    """
    order = np.lexsort((codebook.anchor_distance, codebook.anchor_code))
    used, first = np.unique(codebook.anchor_code[order], return_index=True)
    centres = np.full(codebook.n_codes, -1, np.int32)
    centres[used] = order[first]
    unused = np.flatnonzero(centres < 0)
    if len(unused):
        near = nearest_neighbors(codebook.anchors, 1, codebook.vectors[unused], n_jobs=n_jobs)
        centres[unused] = near.index[:, 0]
    return centres


def graph_of(
    nodes: npt.NDArray[np.float32], neighbors: Neighbors, k: int, *, n_jobs: int | None = None
) -> tuple[Graph, npt.NDArray[np.int32]]:
    """The connected graph of each node's first neighbours, and the bridges in it.

    Parameters
    ----------
    nodes : ndarray of shape (m, d), float32
        Latents, all different.
    neighbors : Neighbors
        At least `k` of each node.
    k : int
        How many to take.
    n_jobs : int, optional
        Threads, all by default.

    Returns
    -------
    graph : Graph
    bridges : ndarray of shape (n_components - 1, 2), int32

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report.subject import graph_of
    >>> x = np.array([[0.0], [1.0], [8.0], [9.0]], np.float32)
    >>> graph_of(x, gq.nearest_neighbors(x, 2), 1)[1].tolist()
    [[1, 2]]
    """
    graph = Graph.from_neighbors(
        neighbors.index[:, :k], neighbors.distance[:, :k], recall=neighbors.recall, n_jobs=n_jobs
    )
    bridged = bridge_components(graph, nodes, n_jobs=n_jobs)
    return bridged.graph, bridged.bridges


def sample_of(n: int, size: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Rows drawn at random without repetition, in their order; the same ones each time.

    Parameters
    ----------
    n : int
        How many rows there are.
    size : int
        How many to draw; all if there are no more.
    seed : int, default=0
        Seed of the draw.

    Returns
    -------
    ndarray of shape (min(n, size),), int64

    Examples
    --------
    >>> from geoquant.report.subject import sample_of
    >>> sample_of(3, 5).tolist()
    [0, 1, 2]
    """
    if n <= size:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def _checked(codebook: Codebook, latents: npt.ArrayLike) -> npt.NDArray[np.float32]:
    if isinstance(codebook, MultistageCodebook):
        raise InputError(
            "codebook must have one stage, found a MultistageCodebook; first_stage(codebook, "
            "latents) gives what can be reported of it"
        )
    if not isinstance(codebook, Codebook):
        raise InputError(f"codebook must be a Codebook, found {type(codebook).__name__}")
    if codebook.n_anchors < 3:
        raise InputError(
            f"codebook must have at least three anchors for a graph, found {codebook.n_anchors}"
        )
    x = check_latents(latents)
    if x.shape[1] != codebook.dim:
        raise InputError(
            f"latents must have shape (n, {codebook.dim}) for this codebook, found {x.shape}"
        )
    return x


def _nodes_that_rows_are(
    x: npt.NDArray[np.float32], anchors: npt.NDArray[np.float32]
) -> npt.NDArray[np.int32] | None:
    """The anchor that each row is, if the distinct rows are the anchors in their order."""
    if len(x) < len(anchors):
        return None
    rows = distinct_rows(x)
    is_same = len(rows.row) == len(anchors) and np.array_equal(x[rows.row], anchors)
    return rows.node_of_row if is_same else None


def _coded(
    codebook: Codebook,
    x: npt.NDArray[np.float32],
    node_of_row: npt.NDArray[np.int32] | None,
    n_jobs: int | None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    if node_of_row is not None:
        return codebook.anchor_code[node_of_row], codebook.anchor_distance[node_of_row]
    return assign(
        x,
        codebook.anchors,
        codebook.anchor_distance,
        codebook.anchor_code,
        n_neighbors=codebook.n_neighbors,
        n_jobs=n_jobs,
    )


def _graph_of(
    nodes: npt.NDArray[np.float32], k: int, n_jobs: int | None
) -> tuple[Neighbors, Graph, npt.NDArray[np.int32]]:
    found = nearest_neighbors(nodes, min(k + K_STEP, len(nodes) - 1), n_jobs=n_jobs)
    return found, *graph_of(nodes, found, k, n_jobs=n_jobs)


def first_stage(codebook: MultistageCodebook, latents: npt.ArrayLike) -> tuple[Codebook, slice]:
    """The first stage of several as a codebook of its own, and the columns it is of.

    Parameters
    ----------
    codebook : MultistageCodebook
        Of product stages, or of residual ones: the anchors of these are their codewords alone, so
        the first gets the latents as anchors, each with the code of the nearest codeword along
        the graph of the latents.
    latents : array-like of shape (n, d)
        Latents of the codebook's kind.

    Returns
    -------
    codebook : Codebook
    columns : slice
        Those of the latents that the stage is of.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.subject import first_stage
    >>> x = [[0.0], [1.0], [8.0], [9.5]]
    >>> fitted = gq.fit_multistage(x, 2, n_stages=2, random_state=0)
    >>> book, columns = first_stage(fitted.codebook, x)
    >>> book.n_codes, book.n_anchors, columns
    (2, 4, slice(0, 1, None))
    """
    stage, x = codebook.stages[0], check_latents(latents)
    if x.shape[1] != codebook.dim:
        raise InputError(
            f"latents must have shape (n, {codebook.dim}) for this codebook, found {x.shape}"
        )
    columns = slice(0, stage.dim)
    if codebook.kind == "product":
        return stage, columns
    nodes = x[distinct_rows(x).row]
    return _anchored_at(nodes[sample_of(len(nodes), MOST_ROWS)], stage), columns


def _anchored_at(nodes: npt.NDArray[np.float32], stage: Codebook) -> Codebook:
    """A codebook of the same codewords that has `nodes` as anchors."""
    if len(nodes) < 3:
        raise InputError(f"latents must have at least three distinct rows, found {len(nodes)}")
    k = min(_USUAL_NEIGHBORS, len(nodes) - 1)
    _, graph, _ = _graph_of(nodes, k, None)
    centres = nearest_neighbors(nodes, 1, stage.vectors).index[:, 0]
    found = nearest_source(graph, centres)
    return replace(
        stage,
        anchors=nodes,
        anchor_distance=found.distance,
        anchor_code=found.source,
        n_neighbors=k,
    )
