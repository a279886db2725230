from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, TypeAlias, type_check_only

import numpy as np
import numpy.typing as npt

NODE_BITS: Final[int]
BUILD_TYPE: Final[Literal["release", "debug", "sanitize"]]

_Progress: TypeAlias = Callable[[int, int], bool | None] | None
_Int32: TypeAlias = npt.NDArray[np.int32]
_Int64: TypeAlias = npt.NDArray[np.int64]
_Float32: TypeAlias = npt.NDArray[np.float32]
_Float64: TypeAlias = npt.NDArray[np.float64]

@type_check_only  # a capsule
class GraphArrays: ...

def exchange_floats(environment: bytes | None) -> bytes: ...
def graph_arrays(indptr: _Int64, indices: _Int32, lengths: _Float32) -> GraphArrays: ...
def nearest_source(graph: GraphArrays, sources: _Int32) -> tuple[_Float64, _Int32, _Int32]: ...
def continue_search(
    graph: GraphArrays,
    n_own: int,
    distance: _Float64,
    source: _Int32,
    predecessor: _Int32,
    offer_node: _Int32,
    offer_distance: _Float64,
    offer_source: _Int32,
    distances_are_known: bool = False,
) -> tuple[_Float64, _Int32, _Int32, _Int32, _Int32, bool]: ...
def two_nearest_sources(graph: GraphArrays, sources: _Int32) -> tuple[_Float64, _Int32]: ...
def kmeanspp_seeds(
    graph: GraphArrays,
    weights: _Float64,
    power: int,
    uniforms: _Float64,
    progress: _Progress = None,
) -> _Int32: ...
def cell_medoids(
    graph: GraphArrays,
    weights: _Float64,
    power: int,
    labels: _Int32,
    centres: _Int32,
    n_threads: int = 1,
) -> _Int32: ...
def swap_centres(
    graph: GraphArrays,
    weights: _Float64,
    power: int,
    centres: _Int32,
    candidates: _Int32,
    max_evaluations: int,
    n_threads: int = 1,
    progress: _Progress = None,
) -> tuple[_Int32, float, int, int, bool]: ...
def contracted_graph(graph: GraphArrays, sources: _Int32) -> tuple[GraphArrays, _Int32]: ...
def connected_components(graph: GraphArrays) -> _Int32: ...
def symmetric_csr(
    n_nodes: int, from_node: _Int32, to_node: _Int32, lengths: _Float32
) -> tuple[_Int64, _Int32, _Float32]: ...
def neighbor_csr(
    index: _Int32, distance: _Float32, n_threads: int = 1
) -> tuple[_Int64, _Int32, _Float32]: ...

class CsrDefect(Enum):
    NONE = 0
    OFFSETS = 1
    RANGE = 2
    ORDER = 3
    ASYMMETRIC = 4

def csr_defect(indptr: _Int64, indices: _Int32, lengths: _Float32) -> CsrDefect: ...
def edge_lengths(
    indptr: _Int64,
    indices: _Int32,
    points: _Float32,
    n_threads: int = 1,
    progress: _Progress = None,
) -> _Float32: ...
def simd() -> Literal["portable", "avx2", "avx512"]: ...
def available_simd() -> list[str]: ...
def knn_search(
    points: _Float32,
    queries: _Float32,
    n_kept: int,
    self_id: _Int32 | None = None,
    n_threads: int = 1,
    progress: _Progress = None,
) -> tuple[_Float32, _Int32]: ...
def knn_search_among(
    points: _Float32,
    order: _Int32,
    block_sizes: _Int64,
    queries: _Float32,
    query_order: _Int32,
    group_sizes: _Int64,
    blocks_of_group: _Int32,
    n_kept: int,
    n_threads: int = 1,
) -> tuple[_Float32, _Int32]: ...
def knn_join(
    points: _Float32,
    order: _Int32,
    cell_sizes: _Int64,
    pairs: _Int32,
    n_kept: int,
    n_threads: int = 1,
    progress: _Progress = None,
    n_asking: int | None = None,
) -> tuple[_Float32, _Int32]: ...
def residual_codes(
    points: _Float32,
    codewords: _Float32,
    stage_sizes: _Int64,
    beam: int,
    n_threads: int = 1,
    progress: _Progress = None,
) -> _Int32: ...
