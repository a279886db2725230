"""What a latent space is like: latents to look at decoded, and numbers for what is seen.

Everything takes and gives arrays; a `VAEAdapter` encodes and decodes them, and which centre an
encoding is nearest to is `geoquant.assignment.nearest_codeword`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_count
from geoquant.codebook import check_codes
from geoquant.errors import InputError
from geoquant.graph.knn import nearest_neighbors
from geoquant.graph.shortest_paths import path_between
from geoquant.latents import check_latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoquant.graph.csr import Graph
    from geoquant.torch.autoencoders import Autoencoder

Float32Array: TypeAlias = npt.NDArray[np.float32]


def perturbed(latent: npt.ArrayLike, dims: Sequence[int], amounts: Sequence[float]) -> Float32Array:
    """One latent with amounts added to one dimension at a time.

    Parameters
    ----------
    latent : array_like of shape (d,)
        Where to begin.
    dims : sequence of int
        Dimensions, in ``[0, d)``.
    amounts : sequence of float
        What is added.

    Returns
    -------
    ndarray of float32, shape (len(dims), len(amounts), d)

    Raises
    ------
    InputError
        If the latent is no vector or a dimension is not there.

    Examples
    --------
    >>> from geoquant.torch.probes import perturbed
    >>> perturbed([1.0, 2.0], dims=[1], amounts=[-3, 3]).tolist()
    [[[1.0, -1.0], [1.0, 5.0]]]
    """
    start = _vector(latent)
    chosen = check_codes(dims, len(start), name="dims")
    out = np.tile(start, (len(chosen), len(amounts), 1))
    rows = np.arange(len(chosen))[:, None], np.arange(len(amounts)), chosen[:, None]
    out[rows] += np.asarray(amounts, np.float32)
    return out


def perturbed_site(
    encoding: npt.ArrayLike, site: tuple[int, int], dim: int, amounts: Sequence[float]
) -> Float32Array:
    """A latent with sites with amounts added to one dimension of one site.

    Parameters
    ----------
    encoding : array_like of shape (d, h, w)
        Where to begin.
    site : (int, int)
        Row and column.
    dim : int
        In ``[0, d)``.
    amounts : sequence of float
        What is added.

    Returns
    -------
    ndarray of float32, shape (len(amounts), d, h, w)

    Raises
    ------
    InputError
        If the latent has no sites, or site or dimension are not there.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.torch.probes import perturbed_site
    >>> perturbed_site(np.zeros((2, 1, 1)), (0, 0), 1, [5.0]).ravel().tolist()
    [0.0, 5.0]
    """
    start = _grid(encoding)
    for value, count, name in zip((dim, *site), start.shape, ("dim", "row", "column"), strict=True):
        check_codes([value], count, name=name)
    out = np.tile(start, (len(amounts), 1, 1, 1))
    out[:, dim, site[0], site[1]] += np.asarray(amounts, np.float32)
    return out


def interpolated(start: npt.ArrayLike, end: npt.ArrayLike, n_frames: int) -> Float32Array:
    """Latents at even distances on the straight line between two.

    Parameters
    ----------
    start, end : array_like of shape (d,)
        Both are among the frames.
    n_frames : int
        At least 2.

    Returns
    -------
    ndarray of float32, shape (n_frames, d)

    Raises
    ------
    InputError
        If the ends are no vectors of one length, or the frames too few.

    Examples
    --------
    >>> from geoquant.torch.probes import interpolated
    >>> interpolated([0.0], [3.0], 4).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    first, last = _vector(start), _vector(end)
    if first.shape != last.shape:
        raise InputError(f"start and end must be as long, found {first.shape} and {last.shape}")
    return evenly_spaced(np.stack([first, last]), n_frames)


def along_geodesic(
    graph: Graph, latents: npt.ArrayLike, start: int, end: int, n_frames: int
) -> Float32Array:
    """Latents at even distances on the shortest path between two nodes of a graph.

    Parameters
    ----------
    graph : Graph
        Of the latents.
    latents : array_like of shape (n, d)
        Where its nodes are.
    start, end : int
        Nodes; both are among the frames.
    n_frames : int
        At least 2.

    Returns
    -------
    ndarray of float32, shape (n_frames, d)

    Raises
    ------
    InputError
        If nodes or path do not exist, or the frames are too few.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.torch.probes import along_geodesic
    >>> corner = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]], np.float32)
    >>> graph = gq.Graph.from_edges(3, [0, 1], [1, 2], [2.0, 2.0])
    >>> along_geodesic(graph, corner, 0, 2, 5).tolist()
    [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 1.0], [2.0, 2.0]]
    """
    path = path_between(graph, start, end)
    if len(path) == 0:
        raise InputError(
            f"there is no path between {start} and {end}; bridge the graph's components first"
        )
    return evenly_spaced(check_latents(latents)[path], n_frames)


def evenly_spaced(points: npt.ArrayLike, n_frames: int) -> Float32Array:
    """Points at even distances on a line of straight pieces.

    Parameters
    ----------
    points : array_like of shape (n, d)
        Where the line turns; at least one.
    n_frames : int
        At least 2.

    Returns
    -------
    ndarray of float32, shape (n_frames, d)

    Raises
    ------
    InputError
        If there are no points or too few frames.

    Examples
    --------
    >>> from geoquant.torch.probes import evenly_spaced
    >>> evenly_spaced([[0.0], [1.0], [4.0]], 3).ravel().tolist()
    [0.0, 2.0, 4.0]
    """
    given = check_latents(points).astype(np.float64)
    n_frames = check_count(n_frames, "n_frames", 2)
    steps = np.linalg.norm(np.diff(given, axis=0), axis=1)
    reached = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0, reached[-1], n_frames)
    columns = [np.interp(wanted, reached, column) for column in given.T]
    return np.stack(columns, axis=1).astype(np.float32)


def random_combinations(
    codebook: npt.ArrayLike, grid: tuple[int, int], n: int, random_state: int = 0
) -> tuple[Float32Array, npt.NDArray[np.int32]]:
    """Latents whose sites are codewords drawn at random.

    Parameters
    ----------
    codebook : array_like of shape (K, d)
        Codewords.
    grid : (int, int)
        Height and width, in sites.
    n : int
        How many.
    random_state : int
        Seeds the draws.

    Returns
    -------
    latents : ndarray of float32, shape (n, d, h, w)
    codes : ndarray of int32, shape (n, h, w)

    Raises
    ------
    InputError
        If the codebook cannot be used.

    Examples
    --------
    >>> from geoquant.torch.probes import random_combinations
    >>> latents, codes = random_combinations([[0.0], [1.0]], (7, 7), n=3)
    >>> latents.shape, codes.shape
    ((3, 1, 7, 7), (3, 7, 7))
    """
    vectors = check_latents(codebook, name="codebook")
    rng = np.random.default_rng(random_state)
    codes = rng.integers(0, len(vectors), (n, *grid)).astype(np.int32)
    return np.moveaxis(vectors[codes], 3, 1).copy(), codes


def replaced_at_random(
    encodings: npt.ArrayLike, codebook: npt.ArrayLike, n_sites: int = 1, random_state: int = 0
) -> Float32Array:
    """Latents of which some sites, drawn at random, have become random codewords.

    Parameters
    ----------
    encodings : array_like of shape (n, d, h, w)
        Where to begin.
    codebook : array_like of shape (K, d)
        Codewords.
    n_sites : int, default=1
        Different sites of each latent that are replaced.
    random_state : int
        Seeds the draws.

    Returns
    -------
    ndarray of float32, shape (n, d, h, w)

    Raises
    ------
    InputError
        If the latents have no sites, or not so many, or codewords of another dimension.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.torch.probes import replaced_at_random
    >>> changed = replaced_at_random(np.zeros((1, 2, 3, 3)), [[1.0, 1.0]], n_sites=2)
    >>> int(changed.sum())
    4
    """
    vectors = check_latents(codebook, name="codebook")
    out = _grids(encodings, vectors.shape[1])
    n, d, height, width = out.shape
    n_sites = check_count(n_sites, "n_sites", 0, height * width)
    rng = np.random.default_rng(random_state)
    sites = out.reshape(n, d, -1)
    for latent in sites:
        chosen = rng.permutation(height * width)[:n_sites]
        latent[:, chosen] = vectors[rng.integers(0, len(vectors), n_sites)].T
    return sites.reshape(out.shape)


def broadcast(codebook: npt.ArrayLike, grid: tuple[int, int]) -> Float32Array:
    """Latents all of whose sites are one codeword, one for each codeword.

    Parameters
    ----------
    codebook : array_like of shape (K, d)
        Codewords.
    grid : (int, int)
        Height and width, in sites.

    Returns
    -------
    ndarray of float32, shape (K, d, h, w)

    Examples
    --------
    >>> from geoquant.torch.probes import broadcast
    >>> broadcast([[1.0, 2.0]], (1, 2)).tolist()
    [[[[1.0, 1.0]], [[2.0, 2.0]]]]
    """
    vectors = check_latents(codebook, name="codebook")
    return np.broadcast_to(vectors[:, :, None, None], (*vectors.shape, *grid)).copy()


def zero_padded(
    codebook: npt.ArrayLike, grid: tuple[int, int], site: tuple[int, int] = (0, 0)
) -> Float32Array:
    """Latents of which one site is a codeword and the others are zero, one for each codeword.

    Parameters
    ----------
    codebook : array_like of shape (K, d)
        Codewords.
    grid : (int, int)
        Height and width, in sites.
    site : (int, int)
        Row and column of the codeword.

    Returns
    -------
    ndarray of float32, shape (K, d, h, w)

    Raises
    ------
    InputError
        If the site is not there.

    Examples
    --------
    >>> from geoquant.torch.probes import zero_padded
    >>> zero_padded([[3.0]], (1, 2), site=(0, 1)).tolist()
    [[[[0.0, 3.0]]]]
    """
    vectors = check_latents(codebook, name="codebook")
    for value, count, name in zip(site, grid, ("row", "column"), strict=True):
        check_codes([value], count, name=name)
    out = np.zeros((*vectors.shape, *grid), np.float32)
    out[:, :, site[0], site[1]] = vectors
    return out


def closest_pair_share(centres: npt.ArrayLike, encodings: npt.ArrayLike) -> float:
    """Smallest distance of two centres, as a share of the encodings' spread: 0 if some coincide.

    Parameters
    ----------
    centres : array_like of shape (K, d)
        At least two.
    encodings : array_like of shape (n, d)
        Their spread is the root of the mean squared distance to their mean.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If there is one centre only, or the encodings do not differ.

    Examples
    --------
    >>> from geoquant.torch.probes import closest_pair_share
    >>> closest_pair_share([[0.0], [1.0], [5.0]], [[-2.0], [2.0]])
    0.5
    """
    points, rows = check_latents(centres, name="centres"), check_latents(encodings)
    if len(points) < 2:
        raise InputError("centres must be at least two, found one")
    spread = float(np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean()))
    if spread == 0:
        raise InputError("the encodings are all the same, so there is nothing to compare with")
    return float(nearest_neighbors(points, 1).distance.min()) / spread


def roughness(frames: npt.ArrayLike) -> float:
    """Largest over mean distance between consecutive frames: 1 for even change.

    Parameters
    ----------
    frames : array_like of shape (n, ...)
        Such as the decoded images of `interpolated`; at least two.

    Returns
    -------
    float
        1 where nothing changes at all.

    Raises
    ------
    InputError
        If there are fewer than two frames.

    Examples
    --------
    >>> from geoquant.torch.probes import roughness
    >>> roughness([[0.0], [1.0], [2.0]]), roughness([[0.0], [0.0], [2.0]])
    (1.0, 2.0)
    """
    given = np.asarray(frames, np.float64)
    if given.ndim < 2 or len(given) < 2:
        raise InputError(f"frames must be at least two, found shape {given.shape}")
    steps = np.linalg.norm(np.diff(given.reshape(len(given), -1), axis=0), axis=1)
    return float(steps.max() / steps.mean()) if steps.any() else 1.0


def compactness(frames: npt.ArrayLike, data: npt.ArrayLike, *, quantile: float = 0.95) -> float:
    """Share of frames that lie as near to data as most of the data do to each other.

    Parameters
    ----------
    frames : array_like of shape (m, d)
        Features of decoded frames between pairs of latents.
    data : array_like of shape (n, d)
        Features of images, by the same fixed map; at least two.
    quantile : float, default=0.95
        A frame is near if it is no further from its nearest neighbour among the data than this
        share of the data are from theirs.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If the arrays cannot be used, or `quantile` is not in (0, 1].

    Examples
    --------
    >>> from geoquant.torch.probes import compactness
    >>> compactness([[0.5], [1.5], [9.0], [-4.0]], [[0.0], [1.0], [2.0]])
    0.5
    """
    rows, points = check_latents(frames, name="frames"), check_latents(data, name="data")
    if not 0 < quantile <= 1 or len(points) < 2:
        raise InputError(
            f"quantile must be in (0, 1] and data at least two, found {quantile!r}, {len(points)}"
        )
    limit = np.quantile(nearest_neighbors(points, 1).distance[:, 0], quantile)
    return float((nearest_neighbors(points, 1, rows).distance[:, 0] <= limit).mean())


def embedded(
    latents: npt.ArrayLike, centres: npt.ArrayLike, *, random_state: int = 0
) -> tuple[Float32Array, Float32Array]:
    """Latents and centres together in the plane, by t-SNE.

    Parameters
    ----------
    latents : array_like of shape (n, d)
    centres : array_like of shape (K, d)
    random_state : int
        Seeds it.

    Returns
    -------
    latents, centres : ndarray of float32, shapes (n, 2) and (K, 2)

    Raises
    ------
    InputError
        If the arrays cannot be used.

    References
    ----------
    van der Maaten, Hinton: Visualizing data using t-SNE. JMLR 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.torch.probes import embedded
    >>> points = np.random.default_rng(0).normal(size=(60, 5))
    >>> [part.shape for part in embedded(points, points[:3])]
    [(60, 2), (3, 2)]
    """
    from sklearn.manifold import TSNE

    rows, points = check_latents(latents), check_latents(centres, name="centres")
    together = np.concatenate([rows, points])
    perplexity = min(30.0, (len(together) - 1) / 3)
    found = TSNE(perplexity=perplexity, init="pca", random_state=random_state).fit_transform(
        together
    )
    return found[: len(rows)].astype(np.float32), found[len(rows) :].astype(np.float32)


class CentreDrift:
    """How far a model's centres move in each epoch; give it to training as `after_epoch`.

    Parameters
    ----------
    model : Autoencoder
        With a bottleneck that has ``centres``.

    Attributes
    ----------
    distances : list of ndarray, shape (K,)
        Of each epoch, the distance of every centre from where it was before it.

    Raises
    ------
    InputError
        If the model has no centres.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import NamedAutoencoder, train_autoencoder
    >>> from geoquant.torch.probes import CentreDrift
    >>> options = {"n_centres": 2, "n_extra": 4}
    >>> model = NamedAutoencoder((1, 8, 8), 3, bottleneck="centre-pull", bottleneck_options=options)
    >>> drift = CentreDrift(model)
    >>> _ = train_autoencoder(model, torch.rand(64, 1, 8, 8), epochs=3, after_epoch=drift)
    >>> [distance.shape for distance in drift.distances]
    [(2,), (2,), (2,)]
    """

    def __init__(self, model: Autoencoder) -> None:
        if not hasattr(model.bottleneck, "centres"):
            found = type(model.bottleneck).__name__
            raise InputError(f"the model's bottleneck must have centres, found {found}")
        self._model = model
        self._before = self._places()
        self.distances: list[Float32Array] = []

    def __call__(self, epoch: int, losses: dict[str, float]) -> None:
        """Note where the centres are now."""
        now = self._places()
        self.distances.append(np.linalg.norm(now - self._before, axis=1))
        self._before = now

    def _places(self) -> Float32Array:
        centres: Any = self._model.bottleneck.centres
        places: Float32Array = centres.detach().cpu().numpy().copy()
        return places


def _vector(latent: npt.ArrayLike) -> Float32Array:
    given = np.asarray(latent, np.float32)
    if given.ndim != 1:
        raise InputError(f"a latent must be one vector, found shape {given.shape}")
    return given


def _grid(encoding: npt.ArrayLike) -> Float32Array:
    given = np.asarray(encoding, np.float32)
    if given.ndim != 3:
        raise InputError(f"encoding must have shape (d, h, w), found {given.shape}")
    return given


def _grids(encodings: npt.ArrayLike, dim: int) -> Float32Array:
    given = np.array(encodings, np.float32)
    if given.ndim != 4 or given.shape[1] != dim:
        raise InputError(f"encodings must have shape (n, {dim}, h, w), found {given.shape}")
    return given
