from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

import geoquant as gq
from geoquant.assignment import (
    assign,
    distances_to_centres,
    nearest_codeword,
    nearest_through,
)
from geoquant.errors import InputError

# Whole-numbered coordinates, so that the oracle's squares are exact and ties are many.
whole_rows = arrays(
    np.float32, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 5)
)


def slow_assign(
    latents: np.ndarray,
    anchors: np.ndarray,
    anchor_distance: np.ndarray,
    anchor_code: np.ndarray,
    k: int,
) -> tuple[list[int], list[float]]:
    """One latent and one anchor at a time, all of them sorted."""
    codes, distances = [], []
    for latent in latents.astype(np.float64):
        squares = [float(((latent - anchor) ** 2).sum()) for anchor in anchors.astype(np.float64)]
        near = sorted(range(len(anchors)), key=lambda j: (squares[j], j))[:k]
        if squares[near[0]] == 0:  # the latent is an anchor: nothing else counts
            near = [j for j in near if squares[j] == 0]
        ways = [
            (float(np.float32(np.sqrt(squares[j]))) + anchor_distance[j], anchor_code[j])
            for j in near
        ]
        distance, code = min(ways)
        codes.append(int(code))
        distances.append(float(distance))
    return codes, distances


# ------------------------------------------------------------------------------------------ assign


def test_assign_hand_computed() -> None:
    """The way through the nearer anchor is longer if that anchor is far from its centre."""
    anchors = np.array([[0.0], [10.0]], np.float32)
    anchor_distance = np.array([5.0, 0.0])
    codes, distance = assign(
        [[0.0], [3.0], [9.0]], anchors, anchor_distance, np.array([4, 2], np.int32)
    )
    assert codes.tolist() == [4, 2, 2]
    assert distance.tolist() == [5.0, 7.0, 1.0]
    assert (codes.dtype, distance.dtype) == (np.int32, np.float64)


def test_assign_considers_the_nearest_anchors_only() -> None:
    """With one neighbour the nearest anchor decides, however far its centre."""
    anchors = np.array([[0.0], [10.0]], np.float32)
    far, code = np.array([100.0, 0.0]), np.array([0, 1], np.int32)
    assert assign([[4.0]], anchors, far, code, n_neighbors=1).codes.tolist() == [0]
    assert assign([[4.0]], anchors, far, code, n_neighbors=2).codes.tolist() == [1]


def test_a_latent_that_is_an_anchor_gets_its_own_code() -> None:
    """Though another anchor be nearer to a centre, as in a graph that lacks the edge to it."""
    anchors = np.array([[0.0], [1.0]], np.float32)
    onward, code = np.array([9.0, 0.0]), np.array([4, 2], np.int32)
    codes, distance = assign([[0.0], [0.5], [1.0]], anchors, onward, code)
    assert (codes.tolist(), distance.tolist()) == ([4, 2, 2], [9.0, 0.5, 0.0])


def test_of_several_anchors_at_a_latent_the_nearest_centre_counts() -> None:
    """Equal anchors are all there; among them the least distance decides, then the code."""
    step, onward = np.array([[0.0, 0.0, 0.0, 1.0]]), np.array([[3.0, 2.0, 2.0, 0.0]])
    codes, distance = nearest_through(step, onward, np.array([[1, 7, 5, 0]], np.int32))
    assert (codes.tolist(), distance.tolist()) == ([5], [2.0])


def test_assign_ties_go_to_the_smaller_code() -> None:
    """Halfway between two anchors the smaller code wins, in whichever order they stand."""
    anchors = np.array([[0.0], [10.0]], np.float32)
    for codes in itertools.permutations([3, 8]):
        result = assign([[5.0]], anchors, np.zeros(2), np.array(codes, np.int32))
        assert result.codes.tolist() == [3]


@settings(deadline=None, max_examples=60)
@given(latents=whole_rows, anchors=whole_rows, k=st.integers(1, 14), data=st.data())
def test_assign_agrees_with_brute_force(
    latents: np.ndarray, anchors: np.ndarray, k: int, data: Any
) -> None:
    """Codes and distances are those of trying every one of the k nearest anchors."""
    m = len(anchors)
    distance = data.draw(arrays(np.float64, m, elements=st.integers(0, 4)))
    code = data.draw(arrays(np.int32, m, elements=st.integers(0, 3)))
    result = assign(latents, anchors, distance, code, n_neighbors=k)
    codes, distances = slow_assign(latents, anchors, distance, code, k)
    assert result.codes.tolist() == codes
    assert result.distance.tolist() == distances


def test_assign_agrees_with_brute_force_on_real_numbers() -> None:
    """The same on a cloud, where distances are compared to rounding."""
    rng = np.random.default_rng(0)
    latents, anchors = (rng.normal(size=(n, 5)).astype(np.float32) for n in (50, 200))
    distance, code = rng.exponential(size=200), rng.integers(0, 9, 200).astype(np.int32)
    result = assign(latents, anchors, distance, code, n_neighbors=7)
    codes, distances = slow_assign(latents, anchors, distance, code, 7)
    assert result.codes.tolist() == codes
    np.testing.assert_allclose(result.distance, distances, rtol=1e-6)


def test_assign_does_not_depend_on_batch_or_threads() -> None:
    """A latent's code and distance are the same alone, among others and with more threads."""
    rng = np.random.default_rng(1)
    latents, anchors = (rng.normal(size=(n, 16)).astype(np.float32) for n in (60, 300))
    distance, code = rng.exponential(size=300), rng.integers(0, 9, 300).astype(np.int32)
    together = assign(latents, anchors, distance, code, n_jobs=1)
    alone = [assign(row[None], anchors, distance, code, n_jobs=1) for row in latents]
    assert together.codes.tolist() == [int(one.codes[0]) for one in alone]
    assert together.distance.tolist() == [float(one.distance[0]) for one in alone]
    threads = assign(latents, anchors, distance, code, n_jobs=3)
    np.testing.assert_array_equal(threads.codes, together.codes)
    np.testing.assert_array_equal(threads.distance, together.distance)


def test_assign_errors() -> None:
    """Lengths and columns that do not fit are refused and shown."""
    anchors, latents = np.zeros((3, 2), np.float32), np.zeros((4, 2), np.float32)
    zeros, codes = np.zeros(3), np.zeros(3, np.int32)
    with pytest.raises(InputError, match=r"anchor_distance.*one length, found 3, 2 and 3"):
        assign(latents, anchors, zeros[:2], codes)
    with pytest.raises(InputError, match=r"anchor_code.*one length, found 3, 3 and 1"):
        assign(latents, anchors, zeros, codes[:1])
    with pytest.raises(InputError, match=r"2 columns.*found 5"):
        assign(np.zeros((4, 5)), anchors, zeros, codes)
    with pytest.raises(InputError, match="n_neighbors"):
        assign(latents, anchors, zeros, codes, n_neighbors=0)
    with pytest.raises(InputError, match="finite"):
        assign(latents * np.nan, anchors, zeros, codes)


# --------------------------------------------------------------------------------- nearest_through


def test_nearest_through_hand_computed() -> None:
    """The least sum wins; of equal sums the smaller code; inf is no neighbour."""
    step = np.array([[1.0, 2.0], [1.0, 3.0], [np.inf, 9.0]])
    onward = np.array([[5.0, 0.0], [3.0, 1.0], [0.0, 1.0]])
    codes = np.array([[0, 1], [8, 6], [0, 5]], np.int32)
    result = nearest_through(step, onward, codes)
    assert result.codes.tolist() == [1, 6, 5]
    assert result.distance.tolist() == [2.0, 4.0, 10.0]


def test_nearest_through_adds_in_float64() -> None:
    """A float32 step is widened before it is added, so that small onward distances count."""
    step = np.array([[16777216.0, 16777216.0]], np.float32)
    result = nearest_through(step, np.array([[1.0, 0.5]]), np.array([[0, 1]], np.int32))
    assert result.codes.tolist() == [1]
    assert result.distance.tolist() == [16777216.5]


@given(
    data=arrays(
        np.int32,
        st.tuples(st.just(3), st.integers(1, 6), st.integers(1, 5)),
        elements=st.integers(0, 3),
    )
)
def test_nearest_through_agrees_with_min(data: np.ndarray) -> None:
    """It is the lexicographic minimum of (sum, code) in every row."""
    step, onward, codes = data[0].astype(np.float64), data[1].astype(np.float64), data[2]
    result = nearest_through(step, onward, codes)
    ways = [
        min(zip((s + o).tolist(), c.tolist(), strict=True))
        for s, o, c in zip(step, onward, codes, strict=True)
    ]
    assert list(zip(result.distance.tolist(), result.codes.tolist(), strict=True)) == ways


# -------------------------------------------------------------------------------- nearest_codeword


@settings(deadline=None)
@given(latents=whole_rows, vectors=whole_rows)
def test_nearest_codeword_agrees_with_brute_force(latents: np.ndarray, vectors: np.ndarray) -> None:
    """The nearest in a straight line, the smaller code of equally near ones."""
    squares = ((latents[:, None].astype(np.float64) - vectors[None]) ** 2).sum(axis=2)
    codes = nearest_codeword(latents, vectors)
    assert codes.dtype == np.int32
    assert codes.tolist() == squares.argmin(axis=1).tolist()


def test_nearest_codeword_needs_as_many_columns() -> None:
    """Latents of another width are refused."""
    with pytest.raises(InputError, match=r"3 columns.*found 2"):
        nearest_codeword(np.zeros((1, 2)), np.zeros((4, 3), np.float32))


# ---------------------------------------------------------------------------- distances_to_centres


def random_graph(rng: np.random.Generator, n: int) -> gq.Graph:
    """A ring, so that it is connected, and chords."""
    ends = np.r_[np.c_[np.arange(n), np.roll(np.arange(n), 1)], rng.integers(0, n, (n, 2))]
    ends = ends[ends[:, 0] != ends[:, 1]]
    return gq.Graph.from_edges(n, ends[:, 0], ends[:, 1], rng.exponential(size=len(ends)))


@pytest.mark.parametrize("seed", range(5))
def test_distances_to_centres_agree_with_an_attached_node(seed: int) -> None:
    """They are Dijkstra's distances in the graph with the new latent tied to its neighbours."""
    rng = np.random.default_rng(seed)
    n, k, n_new = 40, 4, 12
    graph = random_graph(rng, n)
    index = np.stack([rng.permutation(n)[:k] for _ in range(n_new)]).astype(np.int32)
    step = rng.exponential(size=(n_new, k)).astype(np.float32)
    centres = rng.permutation(n)[:6].astype(np.int32)
    found = distances_to_centres(graph, centres, index, step)
    assert found.shape == (n_new, 6)
    assert found.dtype == np.float64
    for new in range(n_new):
        edges = graph.to_scipy().tocoo()
        # Directed: the new node is reached, and is no short cut between its neighbours.
        row, column = (
            np.r_[edges.coords[0], index[new]],
            np.r_[edges.coords[1], np.full(k, n, np.int32)],
        )
        attached = csr_array((np.r_[edges.data, step[new]], (row, column)), shape=(n + 1, n + 1))
        paths = dijkstra(attached.astype(np.float64), indices=centres)
        np.testing.assert_array_equal(found[new], paths[:, n])


def test_distances_to_centres_hand_computed() -> None:
    """On a line of unit steps, from between 1 and 2, with a place left empty."""
    line = gq.Graph.from_edges(4, [0, 1, 2], [1, 2, 3], [1.0, 1.0, 1.0])
    index = np.array([[1, 2], [3, 0]], np.int32)
    step = np.array([[0.25, 0.75], [0.5, np.inf]])
    found = distances_to_centres(line, np.array([0, 3], np.int32), index, step)
    assert found.tolist() == [[1.25, 1.75], [3.5, 0.5]]


def test_least_distance_to_a_centre_is_the_assigned_one() -> None:
    """The smallest of the distances to all centres is the distance that assign gives."""
    x = np.random.default_rng(4).normal(size=(80, 3)).astype(np.float32)
    new = np.random.default_rng(5).normal(size=(25, 3)).astype(np.float32)
    fitted = gq.fit_codebook(x, 5, random_state=0)
    near = gq.nearest_neighbors(x, 10, new)
    centres = fitted.clustering.medoid_indices
    distances = distances_to_centres(fitted.graph, centres, near.index, near.distance)
    result = assign(new, x, fitted.clustering.distance, fitted.clustering.labels)
    np.testing.assert_array_equal(distances.min(axis=1), result.distance)
    np.testing.assert_array_equal(distances.argmin(axis=1), result.codes)


def test_distances_to_centres_refuse_what_is_no_node() -> None:
    """A centre beyond the graph is refused."""
    line = gq.Graph.from_edges(2, [0], [1], [1.0])
    with pytest.raises(InputError, match=r"\b7\b"):
        distances_to_centres(
            line, np.array([7], np.int32), np.zeros((1, 1), np.int32), np.zeros((1, 1))
        )
