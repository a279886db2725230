"""Where clustering starts; with the order of swap candidates, the only randomness there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.errors import InputError
from geoquant.graph.csr import Graph, check_nodes
from geoquant.progress import Progress, of_stage


def as_generator(random_state: Any) -> np.random.Generator:
    """Make a generator of what scikit-learn and NumPy users pass as a seed.

    Parameters
    ----------
    random_state : None, int, numpy Generator or numpy RandomState
        None draws fresh entropy. A RandomState is advanced by one draw.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    InputError
        If `random_state` is none of these, or negative.

    Examples
    --------
    >>> from geoquant.clustering.seeding import as_generator
    >>> bool(as_generator(0).random() == as_generator(0).random())
    True
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31 - 1))
    is_seed = isinstance(random_state, int | np.integer) and not isinstance(random_state, bool)
    if random_state is not None and not (is_seed and random_state >= 0):
        raise InputError(
            "random_state must be None, a non-negative integer, a Generator or a RandomState, "
            f"found {random_state!r}"
        )
    return np.random.default_rng(random_state)


def seed_centres(
    graph: Graph,
    n_clusters: int,
    *,
    power: int = 1,
    init: str | npt.ArrayLike = "k-means++",
    weights: npt.NDArray[np.float64],
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> npt.NDArray[np.int32]:
    """Choose distinct nodes to start from.

    Parameters
    ----------
    graph : Graph
        Connected.
    n_clusters : int
        How many, at most the number of nodes.
    power : {1, 2}
        Power of the distance in the energy.
    init : {'k-means++', 'random'} or array-like of shape (n_clusters,), int
        'k-means++': greedy, each seed the best of ``2 + log(n_clusters)`` draws with probability
        proportional to weight · distance^power [1]_. 'random': uniform. An array: these nodes.
    weights : ndarray of shape (n_nodes,), float64
        Weight of each node.
    generator : numpy.random.Generator
        Advanced.
    progress : callable, optional
        Called as ``progress("seeds", done, total)``.

    Returns
    -------
    ndarray of shape (n_clusters,), int32

    Raises
    ------
    InputError
        If `init` is not one of these.

    References
    ----------
    .. [1] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.clustering.seeding import seed_centres
    >>> line = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 9.0])
    >>> rng = np.random.default_rng(0)
    >>> sorted(seed_centres(line, 3, weights=np.ones(3), generator=rng).tolist())
    [0, 1, 2]
    """
    if isinstance(init, str) and init == "k-means++":
        uniforms = kmeanspp_uniforms(n_clusters, generator)
        return _core.kmeanspp_seeds(
            graph.arrays, weights, power, uniforms, of_stage(progress, "seeds")
        )
    if isinstance(init, str) and init == "random":
        return generator.permutation(graph.n_nodes)[:n_clusters].astype(np.int32)
    if isinstance(init, str):
        raise InputError(f"init must be 'k-means++', 'random' or nodes, found {init!r}")
    nodes = check_nodes(init, graph.n_nodes, "init")
    if np.unique(nodes).size != nodes.size or nodes.size != n_clusters:
        raise InputError(
            f"init must hold {n_clusters} distinct nodes, found {np.unique(nodes).size} "
            f"among {nodes.size}"
        )
    return nodes


def kmeanspp_uniforms(n_clusters: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw what greedy k-means++ consumes: a row for each seed, a number for each trial.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.clustering.seeding import kmeanspp_uniforms
    >>> kmeanspp_uniforms(64, np.random.default_rng(0)).shape
    (64, 6)
    """
    return generator.random((n_clusters, 2 + int(np.log(n_clusters))))
