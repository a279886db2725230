"""Nearest neighbours and their graph: exact, by id, and the same whatever the route."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoquant import InputError, _core, knn_graph, nearest_neighbors
from geoquant.graph import knn
from tests import reference

#: Latents with many ties and duplicates.
ON_A_GRID = st.tuples(st.integers(2, 25), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.integers(-2, 2).map(float))
)


def latents(n: int, d: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, d)) + offset).astype(np.float32)


def assert_same_bits(a: tuple, b: tuple) -> None:
    for left, right in zip(a, b, strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def assert_exact(x: np.ndarray, k: int) -> None:
    found = nearest_neighbors(x, k)
    distance, index = reference.nearest_rows(x, k)
    assert found.index.tolist() == index.tolist()
    assert found.distance.tobytes() == distance.astype(np.float32).tobytes()
    assert (found.distance.dtype, found.index.dtype) == (np.float32, np.int32)
    assert found.recall == 1.0


@given(ON_A_GRID, st.data())
def test_ties_go_to_the_smaller_id(x: np.ndarray, data: st.DataObject) -> None:
    """On a grid full of ties and duplicates the order is (distance, id), self left out by id."""
    assert_exact(x, data.draw(st.integers(1, len(x) - 1)))


@pytest.mark.parametrize("d", [1, 2, 7, 32])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_exact_also_far_from_the_origin(d: int, offset: float) -> None:
    """Cancellation in the squared distances, 10 000 away from the origin, costs no neighbour."""
    assert_exact(latents(150, d, offset=offset), 7)


def test_exact_around_two_far_centres() -> None:
    """Two clusters that no single shift brings near the origin are searched exactly."""
    x = np.concatenate([latents(60, 4, 1, 3e4), latents(60, 4, 2, -3e4)])
    assert_exact(x, 5)


@pytest.mark.parametrize("exponent", [-30, -23, -22.6, -22.3, -22, -20, 15])
def test_exact_at_any_scale(exponent: float) -> None:
    """Latents whose squares are subnormal, or vanish, in float32 have exact neighbours too."""
    x = (np.random.default_rng(1).normal(size=(120, 8)) * 10.0**exponent).astype(np.float32)
    assert_exact(x, 5)


def test_one_tight_cluster_beside_an_outlier() -> None:
    """Distances a million times below the spread are told apart."""
    x = latents(80, 3) * np.float32(1e-3)
    x[0] = 1e3
    assert_exact(x, 6)


def test_many_duplicates_beyond_the_spare_candidates() -> None:
    """Self is left out by id even where it is nowhere among the first candidates."""
    x = np.zeros((60, 3), np.float32)
    x[30:] = 1.0
    assert_exact(x, 4)
    assert_exact(x, 59)


def test_self_is_left_out_by_id_not_by_position() -> None:
    """A duplicate is a neighbour at distance zero, also of the row that comes after it."""
    found = nearest_neighbors([[0.0], [0.0], [5.0]], 2)
    assert found.index.tolist() == [[1, 2], [0, 2], [0, 1]]
    assert found.distance.tolist() == [[0.0, 5.0], [0.0, 5.0], [5.0, 5.0]]


def test_queries_find_themselves() -> None:
    """Points given as queries are among their own neighbours."""
    x = latents(40, 3)
    found = nearest_neighbors(x, 1, x)
    assert found.index.ravel().tolist() == list(range(40))
    assert not found.distance.any()


@given(ON_A_GRID, st.data())
def test_queries_agree_with_the_definition(x: np.ndarray, data: st.DataObject) -> None:
    """Queries that are no points get the nearest points by (distance, id)."""
    queries = data.draw(arrays(np.float32, (4, x.shape[1]), elements=st.floats(-3, 3, width=32)))
    k = data.draw(st.integers(1, len(x)))
    distance, index = reference.nearest_rows(x, k, queries)
    found = nearest_neighbors(x, k, queries)
    assert found.index.tolist() == index.tolist()
    assert found.distance.tolist() == distance.tolist()


def test_distances_are_not_squared() -> None:
    """The distance of (0, 0) and (3, 4) is 5."""
    assert nearest_neighbors([[0.0, 0.0], [3.0, 4.0]], 1).distance.tolist() == [[5.0], [5.0]]


@pytest.mark.parametrize("cell_size", [1, 7, 40, 10_000])
def test_cells_do_not_show(monkeypatch: pytest.MonkeyPatch, cell_size: int) -> None:
    """How the points are partitioned for the search does not change a bit."""
    x = np.round(latents(150, 3, offset=100.0), 1)
    expected = nearest_neighbors(x, 6)
    monkeypatch.setattr(knn, "_CELL_SIZE_EXACT", cell_size)
    assert_same_bits(nearest_neighbors(x, 6), expected)


def test_searching_each_point_equals_joining_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many neighbours are searched point by point, few by pairs of cells: with one result."""
    x = np.round(latents(400, 5), 1)
    joined = nearest_neighbors(x, 20)
    monkeypatch.setattr(knn, "_MOST_FOR_JOIN", 19)
    assert_same_bits(nearest_neighbors(x, 20), joined)


@pytest.mark.parametrize("simd", _core.available_simd())
@pytest.mark.parametrize("d", [1, 3, 20, 33])
def test_instruction_sets_do_not_show(monkeypatch: pytest.MonkeyPatch, simd: str, d: int) -> None:
    """Every instruction set that the processor has gives the bits of the definition."""
    monkeypatch.setenv("GEOQUANT_SIMD", simd)
    assert _core.simd() == simd
    x = np.round(latents(230, d, offset=3.0), 2)
    assert_exact(x, 7)
    queries = latents(70, d, 1, 3.0)
    distance, index = reference.nearest_rows(x, 9, queries)
    found = nearest_neighbors(x, 9, queries)
    assert found.index.tolist() == index.tolist()
    assert found.distance.tolist() == distance.tolist()


@pytest.mark.parametrize("simd", ["sse9", "AVX2 "])
def test_unknown_instruction_sets_are_refused(monkeypatch: pytest.MonkeyPatch, simd: str) -> None:
    """A misspelt GEOQUANT_SIMD is named, with what there is and the cure."""
    monkeypatch.setenv("GEOQUANT_SIMD", simd)
    with pytest.raises(InputError, match=r"GEOQUANT_SIMD must be one of portable.*unset it"):
        nearest_neighbors([[0.0], [1.0]], 1)


def test_far_queries_are_compared_exactly() -> None:
    """Queries so far out that float32 tells no two points apart find them by the exact formula."""
    x = latents(50, 2)
    queries = np.array([[1e18, -1e18], [1e16, 0.0], [-2e15, 2e15]], np.float32)
    found = nearest_neighbors(x, 3, queries)
    distance, index = reference.nearest_rows(x, 3, queries)
    assert found.index.tolist() == index.tolist()
    assert found.distance.tolist() == distance.tolist()


def test_batches_do_not_show() -> None:
    """A query has the same neighbours alone, beside others, and among the points themselves."""
    x, queries = latents(300, 8, 1, 50.0), latents(40, 8, 2, 50.0)
    together = nearest_neighbors(x, 4, queries)
    alone = [nearest_neighbors(x, 4, queries[i : i + 1]) for i in range(40)]
    assert np.concatenate([a.distance for a in alone]).tobytes() == together.distance.tobytes()
    assert np.concatenate([a.index for a in alone]).tobytes() == together.index.tobytes()


def test_threads_do_not_show() -> None:
    """One, two and three threads give the same bits."""
    x = latents(2000, 8)
    expected = nearest_neighbors(x, 5, n_jobs=1)
    for n_jobs in (2, 3):
        assert_same_bits(nearest_neighbors(x, 5, n_jobs=n_jobs), expected)


def layouts(x: np.ndarray) -> dict[str, np.ndarray]:
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "Fortran": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=0)[::2],
        "reversed": x[::-1].copy()[::-1],
        "read-only": read_only,
        "big-endian": x.astype(">f4"),
        "float64": x.astype(np.float64),
    }


@pytest.mark.parametrize("layout", layouts(np.zeros((1, 1), np.float32)))
def test_layouts_do_not_show(layout: str) -> None:
    """The same numbers in any memory layout make the same graph, and are not written to."""
    x = latents(80, 3)
    given_x = layouts(x)[layout]
    before = given_x.tobytes()
    graph, expected = knn_graph(given_x, 4), knn_graph(x, 4)
    assert_same_bits(
        (graph.indptr, graph.indices, graph.lengths),
        (expected.indptr, expected.indices, expected.lengths),
    )
    assert given_x.tobytes() == before


class TestNearCells:
    """Beyond the limit of comparing all pairs."""

    @pytest.fixture(autouse=True)
    def _small_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(knn, "EXACT_LIMIT", 500)
        monkeypatch.setattr(knn, "_CELL_SIZE", 40)

    @staticmethod
    def found_share(found: knn.Neighbors, truth: knn.Neighbors) -> float:
        pairs = zip(truth.index, found.index, strict=True)
        return float(np.mean([np.isin(a, b).mean() for a, b in pairs]))

    @pytest.mark.parametrize("target", [0.8, 0.95, 0.99])
    def test_recall_meets_the_target_and_is_as_reported(self, target: float) -> None:
        """The share found is the one asked for at least, and the one reported."""
        x = latents(4000, 4)
        found = nearest_neighbors(x, 8, recall_target=target)
        truth = nearest_neighbors(x, 8, recall_target=1.0)
        assert truth.recall == 1.0
        share = self.found_share(found, truth)
        assert target <= found.recall < 1.0
        # Judged by points that were not asked which cells to compare, so rather too low.
        assert found.recall - 0.01 < share < found.recall + 0.03

    def test_a_higher_target_finds_more(self) -> None:
        """The target decides how many cells are compared."""
        x = latents(3000, 6)
        recalls = [nearest_neighbors(x, 5, recall_target=t).recall for t in (0.5, 0.9, 0.99, 1.0)]
        assert recalls == sorted(recalls)
        assert recalls[0] < recalls[-1] == 1.0

    def test_recall_reaches_the_graph(self) -> None:
        """The graph carries the estimate of the search."""
        x = latents(2500, 4)
        graph = knn_graph(x, 5, recall_target=0.9)
        assert graph.recall == nearest_neighbors(x, 5, recall_target=0.9).recall < 1.0

    def test_what_cannot_be_found_in_near_cells_is_found_in_all(self) -> None:
        """Where neighbours are everywhere, as in many dimensions, all pairs are compared."""
        x = latents(900, 60)
        found = nearest_neighbors(x, 5, recall_target=0.999)
        assert found.recall == 1.0
        truth = nearest_neighbors(x, 5, recall_target=1.0)
        assert_same_bits(found[:2], truth[:2])

    def test_threads_and_instruction_sets_do_not_show(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Any number of threads and any instruction set give the same bits."""
        x = latents(2500, 5)

        def found(n_jobs: int | None = None) -> knn.Neighbors:
            return nearest_neighbors(x, 5, recall_target=0.9, n_jobs=n_jobs)

        expected = found(1)
        assert expected.recall < 1.0
        for n_jobs in (2, 3, 8):
            assert_same_bits(found(n_jobs), expected)
        for simd in _core.available_simd():
            monkeypatch.setenv("GEOQUANT_SIMD", simd)
            assert_same_bits(found(), expected)

    def test_pairs_hold_what_they_say(self) -> None:
        """The share of neighbours that lie in compared cells, and the points compared, are true."""
        x = latents(2500, 4)
        found = knn.near_cell_pairs(x, 5, 0.9)
        assert found is not None
        label, low, high = found.cells.label, *found.pairs.T
        is_compared = np.eye(len(found.cells.sizes), dtype=bool)
        is_compared[low, high] = is_compared[high, low] = True
        assert found.n_compared.tolist() == (is_compared @ found.cells.sizes).tolist()
        truth = nearest_neighbors(x, 5, recall_target=1.0).index
        share = is_compared[label[:, None], label[truth]].mean()
        assert 0.9 <= found.recall < share + 0.01
        assert found.recall == nearest_neighbors(x, 5, recall_target=0.9).recall

    def test_nothing_is_chosen_where_nearly_all_would_be(self) -> None:
        """In many dimensions neighbours are everywhere, and all pairs are compared."""
        assert knn.near_cell_pairs(latents(900, 60), 5, 0.999) is None

    def test_lengths_are_exact(self) -> None:
        """What is found lies exactly as far as it is said to, also far from the origin."""
        x = latents(1600, 4, offset=1e4)
        found = nearest_neighbors(x, 3)
        exact = reference.distances_between(x[:20], x)
        chosen = np.take_along_axis(exact, found.index[:20].astype(np.int64), axis=1)
        assert found.distance[:20].tobytes() == chosen.tobytes()
        assert not (found.index == np.arange(len(x))[:, None]).any()

    def test_enough_neighbours_are_found_among_duplicates(self) -> None:
        """Where near cells hold too few points, all are compared."""
        x = np.zeros((600, 2), np.float32)
        x[:3] = [[1e3, 0], [0, 1e3], [1e3, 1e3]]
        found = nearest_neighbors(x, 60)
        assert (found.index >= 0).all()
        assert all(len(set(row)) == 60 for row in found.index.tolist())

    def test_many_cells_are_grouped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With centroids grouped, the recall is still met and the bits still fixed."""
        monkeypatch.setattr("geoquant.graph.cells._GROUPED_FROM", 20)
        x = latents(3000, 3)
        found = nearest_neighbors(x, 5, n_jobs=1)
        assert_same_bits(nearest_neighbors(x, 5, n_jobs=3), found)
        truth = nearest_neighbors(x, 5, recall_target=1.0)
        assert self.found_share(found, truth) >= 0.99

    @pytest.mark.parametrize("target", [0.0, 1.5, -1, True, "high", np.nan])
    def test_targets_that_are_no_share_are_refused(self, target: object) -> None:
        """The recall target is a number in (0, 1]."""
        with pytest.raises(InputError, match=r"recall_target must be a number in \(0, 1\]"):
            nearest_neighbors([[0.0], [1.0]], 1, recall_target=target)


@given(ON_A_GRID, st.integers(1, 6))
def test_graph_is_the_union_by_definition(x: np.ndarray, k: int) -> None:
    """Edges and lengths equal two loops over all pairs: union, min-merge, one square root."""
    assert reference.edges_of(knn_graph(x, k)) == reference.knn_edges(x, k)


def test_graph_breaks_ties_by_the_smaller_row_beside_duplicates() -> None:
    """Of two rows equally far the first is the neighbour, whether or not there are duplicates."""
    x = [[3.0], [0.0], [0.0], [-1.0], [2.0], [-3.0]]
    assert reference.edges_of(knn_graph(x, 2)) == reference.knn_edges(x, 2)
    steps = np.arange(-6, 7)[np.random.default_rng(3).permutation(13)]
    x = np.concatenate([steps, steps[:2]])[:, None].astype(np.float32)
    assert reference.edges_of(knn_graph(x, 3)) == reference.knn_edges(x, 3)


def test_graph_of_random_latents() -> None:
    """The same agreement without ties, in more dimensions, far from the origin."""
    x = latents(120, 6, offset=1e4)
    assert reference.edges_of(knn_graph(x, 5)) == reference.knn_edges(x, 5)


def test_mutual_neighbours_are_joined_once() -> None:
    """An edge that both ends ask for is as long as one that only one end asks for."""
    graph = knn_graph([[0.0], [1.0], [3.0]], 1)
    assert reference.edges_of(graph) == {(0, 1): 1.0, (1, 2): 2.0}


def test_paths_are_never_shorter_than_straight_lines() -> None:
    """Lengths are distances, not their squares: the triangle inequality holds along paths."""
    x = latents(120, 5) * np.float32(0.1)
    dense = reference.all_pairs(knn_graph(x, 4))
    straight = reference.distances_between(x, x)
    assert (dense >= straight * (1 - 1e-6)).all()
    assert np.isfinite(dense).mean() > 0.5


def test_duplicates_are_not_cut_loose() -> None:
    """Equal latents are joined at length zero, and do not crowd out other neighbours."""
    graph = knn_graph([[0.0], [0.0], [0.0], [7.0], [8.0]], 2)
    assert reference.edges_of(graph) == {
        (0, 1): 0.0,
        (0, 2): 0.0,
        (0, 3): 7.0,
        (0, 4): 8.0,
        (3, 4): 1.0,
    }


def test_all_latents_equal() -> None:
    """A data set of one point many times over is one connected node of zero lengths."""
    graph = knn_graph(np.ones((4, 2)), 3)
    assert reference.edges_of(graph) == {(0, 1): 0.0, (0, 2): 0.0, (0, 3): 0.0}


def test_one_latent_is_a_graph_without_edges() -> None:
    """n = 1 is a graph."""
    graph = knn_graph([[1.0, 2.0]], 3)
    assert (graph.n_nodes, graph.n_edges) == (1, 0)


def test_more_neighbours_than_there_are_is_all() -> None:
    """n_neighbors is reduced to what there is."""
    assert knn_graph([[0.0], [1.0], [3.0]], 10**9).n_edges == 3


@pytest.mark.parametrize("queries", [None, latents(300, 2, 1)])
def test_progress_is_reported_to_the_end(queries: np.ndarray | None) -> None:
    """The callback hears of growing shares, and of the end."""
    heard: list[tuple[str, int, int]] = []
    x = latents(2000, 2)
    nearest_neighbors(x, 3, queries, progress=lambda *report: heard.append(report))
    stages, done, total = zip(*heard, strict=True)
    assert set(stages) == {"neighbours"}
    assert len(set(total)) == 1
    assert list(done) == sorted(done)
    assert done[-1] == total[-1] > 1


def test_progress_may_stop_the_search() -> None:
    """What the callback raises comes out."""

    def stop(*_: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        nearest_neighbors(latents(2000, 2), 1, progress=stop)


@pytest.mark.parametrize("n_neighbors", [0, -1, 1.5, 2.0, True, "3", None, np.nan])
def test_graph_refuses_what_is_no_count(n_neighbors: object) -> None:
    """The number of neighbours is a positive integer."""
    with pytest.raises(InputError, match=r"n_neighbors must be .*integer.*, found"):
        knn_graph([[0.0], [1.0]], n_neighbors)


@pytest.mark.parametrize("n_neighbors", [0, -1, 3, 1.5, 2.0, True, "1", None])
def test_search_refuses_what_is_no_count(n_neighbors: object) -> None:
    """Three points have two neighbours each at most, and only whole ones."""
    with pytest.raises(InputError, match=r"n_neighbors must"):
        nearest_neighbors([[0.0], [1.0], [2.0]], n_neighbors)


def test_numpy_integers_are_counts() -> None:
    """NumPy integers are taken as counts."""
    assert nearest_neighbors([[0.0], [1.0]], np.int64(1)).index.tolist() == [[1], [0]]
    assert knn_graph([[0.0], [1.0]], np.uint8(1)).n_edges == 1


@pytest.mark.parametrize(
    ("points", "queries", "message"),
    [
        ([[0.0], [np.nan]], None, "points must be finite"),
        ([[0.0], [1.0]], [[np.inf]], "queries must be finite"),
        ([[0.0], [1.0]], [[1.0, 2.0]], "queries must have 1 columns as points have, found 2"),
        ([0.0, 1.0], None, "points must have shape"),
        ([[0.0]], None, "n_neighbors must"),
    ],
)
def test_search_refuses_bad_arrays(points: list, queries: list | None, message: str) -> None:
    """Arrays that cannot be searched are refused under their names."""
    with pytest.raises(InputError, match=message):
        nearest_neighbors(points, 1, queries)


def test_n_jobs_is_checked() -> None:
    """A number of jobs that makes no sense is refused."""
    with pytest.raises(InputError, match="n_jobs"):
        knn_graph([[0.0], [1.0]], 1, n_jobs=0)


def test_many_equal_distances_are_decided_by_id() -> None:
    """Corners of a cube have more nearest neighbours than candidates: the smallest ids count."""
    cube = np.stack(np.meshgrid(*[np.arange(2.0)] * 9), axis=-1).reshape(-1, 9)
    found = nearest_neighbors(cube, 3)
    assert (found.distance == 1.0).all()
    to_each = np.abs(cube[:, None] - cube).sum(axis=2)
    assert found.index.tolist() == [np.flatnonzero(row == 1)[:3].tolist() for row in to_each]
