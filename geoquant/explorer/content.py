"""The data of a page: a scene and its images as one JSON object."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoquant.errors import InputError
from geoquant.explorer.decoders import Decode, LayeredDecoder, as_decoder
from geoquant.explorer.encoding import (
    Quantised,
    base64_of,
    edge_numbers,
    packed_bits,
    quantised,
    varints,
)
from geoquant.explorer.thumbnails import Thumbnails, most_thumbnails, shrunk

if TYPE_CHECKING:
    from geoquant.explorer.scene import Scene
    from geoquant.graph.csr import Graph

#: Up to this many numbers of latents are stored in 16 bits each.
_MOST_IN_16_BITS = 500_000
#: More in as few as keep the lengths of edges to this share, on average.
_MOST_ERROR = 0.001
_LEAST_BITS = 8
#: Cells that touch differ in colour; the page has so many for them.
N_COLOURS = 8


def page_content(
    scene: Scene, *, title: str, decode: Any = None, images: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """Everything that the page's script reads.

    Parameters
    ----------
    scene : Scene
        What is shown.
    title, decode, images
        As for `write_explorer`.

    Returns
    -------
    dict
        Of what JSON knows; its keys are listed in :mod:`geoquant.explorer`.

    Raises
    ------
    InputError
        If images or what is decoded cannot be used.
    """
    nodes = np.concatenate([scene.latents, scene.vectors])
    low, high, length = undirected_edges(scene.graph)
    levels, n_bits = _levels(nodes, low, high, length)
    used = levels.numbers()
    decoder = as_decoder(decode, nodes[:: max(1, len(nodes) // 64)])
    return {
        "format": "geoquant-explorer-1",
        "geoquant_version": version("geoquant"),
        "title": title,
        "notes": list(scene.notes),
        "n_latents": scene.n_latents,
        "n_points": scene.n_points,
        "n_codes": scene.n_codes,
        "n_edges": len(low),
        "dim": nodes.shape[1],
        "count_of_code": np.bincount(scene.code, minlength=scene.n_codes).tolist(),
        "colour_of_code": cell_colours(scene, low, high).tolist(),
        "row": base64_of(varints(_row_steps(scene))),
        "place": _places(scene.plane),
        "distance": _distances(scene.distance),
        "label": None if scene.label is None else _labels(scene),
        "latents": {
            "bits": n_bits,
            "low": levels.low.tolist(),
            "step": levels.step.tolist(),
            "levels": base64_of(packed_bits(levels.levels, n_bits)),
        },
        "edges": base64_of(varints(edge_numbers(low, high, scene.n_points))),
        "length_error": _length_error(used, low, high, length),
        "decoder": _decoder(decoder, scene, nodes),
        "samples": None if images is None else _samples(images, scene).as_json(),
    }


def undirected_edges(
    graph: Graph,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Each edge once.

    Parameters
    ----------
    graph : Graph
        Any.

    Returns
    -------
    low, high : ndarray of shape (n_edges,), int64
        Its ends, ``low < high``, sorted by `low`, then `high`.
    length : ndarray of shape (n_edges,), float32
        Its length.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.explorer.content import undirected_edges
    >>> line = gq.Graph.from_edges(3, [2, 1], [1, 0], [4.0, 3.0])
    >>> [array.tolist() for array in undirected_edges(line)]
    [[0, 1], [1, 2], [3.0, 4.0]]
    """
    row = np.repeat(np.arange(graph.n_nodes), np.diff(graph.indptr))
    is_upper = row < graph.indices
    return row[is_upper], graph.indices[is_upper].astype(np.int64), graph.lengths[is_upper]


def cell_colours(
    scene: Scene, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """A colour for each code, such that cells with edges between them differ where they can.

    Parameters
    ----------
    scene : Scene
        The points.
    low, high : ndarray of int64
        Edges between them.

    Returns
    -------
    ndarray of shape (n_codes,), int64
        In ``[0, N_COLOURS)``: of each code in turn the colour to which fewest edges lead, the
        rarest so far among several.
    """
    k = scene.n_codes
    pair, n_between = np.unique(
        scene.code[low].astype(np.int64) * k + scene.code[high], return_counts=True
    )
    first, second = np.divmod(pair, k)
    colour = np.full(k, -1)
    for code in range(k):
        others = np.concatenate([second[first == code], first[second == code]])
        weight = np.concatenate([n_between[first == code], n_between[second == code]])
        is_coloured = colour[others] >= 0
        lead = np.bincount(colour[others[is_coloured]], weight[is_coloured], N_COLOURS)
        so_far = np.bincount(colour[:code], minlength=N_COLOURS)
        colour[code] = np.lexsort((so_far, lead))[0]
    return colour


def _levels(
    nodes: npt.NDArray[np.float32],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    length: npt.NDArray[np.float32],
) -> tuple[Quantised, int]:
    """Latents in as few bits as keep the lengths of edges."""
    fewest = 16 if nodes.size <= _MOST_IN_16_BITS else _LEAST_BITS
    allowed = _MOST_ERROR * length.sum(dtype=np.float64)
    for n_bits in range(fewest, 16):
        levels = quantised(nodes, n_bits)
        if np.abs(_lengths(levels.numbers(), low, high) - length).sum() <= allowed:
            return levels, n_bits
    return quantised(nodes, 16), 16


def _length_error(
    numbers: npt.NDArray[np.float64],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    length: npt.NDArray[np.float32],
) -> float:
    """By how much an edge in the page differs from its length, at most."""
    return float(np.abs(_lengths(numbers, low, high) - length).max(initial=0.0))


def _lengths(
    numbers: npt.NDArray[np.float64], low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Lengths of edges, column by column to hold no array of all differences."""
    squared = np.zeros(len(low))
    for column in numbers.T:
        squared += np.square(column[low] - column[high])
    return np.sqrt(squared)


def _row_steps(scene: Scene) -> npt.NDArray[np.int64]:
    """Rows as small numbers: within a code they ascend."""
    steps = np.diff(scene.row, prepend=0)
    is_first = np.diff(scene.code, prepend=-1) != 0
    return np.where(is_first, scene.row, steps)


def _places(plane: npt.NDArray[np.float32]) -> str:
    """Both coordinates in one unit, so that the map keeps its proportions."""
    centred = plane.astype(np.float64) - (plane.min(axis=0) + plane.max(axis=0)) / 2
    reach = np.abs(centred).max()
    return base64_of(np.rint(32767.5 + centred * (32767.5 / (reach or 1.0))).astype(np.uint16))


def _distances(distance: npt.NDArray[np.float64]) -> dict[str, Any]:
    levels = quantised(np.concatenate([[0.0], distance])[:, None], 16)
    return {"step": float(levels.step[0]), "levels": base64_of(levels.levels[1:, 0])}


def _labels(scene: Scene) -> dict[str, Any]:
    if len(scene.label_names) > 65_536:
        raise InputError(
            f"labels must be of at most 65,536 kinds, found {len(scene.label_names):,}; give "
            "classes, not what is another for each latent"
        )
    return {
        "names": list(scene.label_names),
        "index": base64_of(packed_bits(np.asarray(scene.label, np.uint16), _label_bits(scene))),
        "bits": _label_bits(scene),
    }


def _label_bits(scene: Scene) -> int:
    return max(1, (len(scene.label_names) - 1).bit_length())


def _decoder(
    decoder: LayeredDecoder | Decode | None, scene: Scene, nodes: npt.NDArray[np.float32]
) -> dict[str, Any] | None:
    if decoder is None:
        return None
    if isinstance(decoder, LayeredDecoder):
        return _layers(decoder)
    return {"kind": "atlas", **_atlas(decoder, scene, nodes).as_json()}


def _layers(decoder: LayeredDecoder) -> dict[str, Any]:
    layers = [
        {
            "in": layer.weight.shape[1],
            "out": layer.weight.shape[0],
            "activation": layer.activation,
            "weight": base64_of(layer.weight.astype(np.float16)),
            "bias": base64_of(layer.bias.astype(np.float16)),
        }
        for layer in decoder.layers
    ]
    shape, white = list(decoder.image_shape), float(decoder.white)
    return {"kind": "layers", "shape": shape, "white": white, "layers": layers}


def _atlas(decode: Decode, scene: Scene, nodes: npt.NDArray[np.float32]) -> Thumbnails:
    """Decoded codewords and, as far as there is room, decoded points of every code."""
    n_points = scene.n_points
    first = _decoded(decode, nodes[n_points : n_points + 1])
    most = most_thumbnails(first.shape[1:])
    codewords = np.arange(n_points, len(nodes))[:most]
    points = scene.spread(most - len(codewords))
    chosen = np.concatenate([codewords, points])
    batches = [chosen[start : start + 256] for start in range(0, len(chosen), 256)]
    return Thumbnails(chosen, np.concatenate([_decoded(decode, nodes[b]) for b in batches]))


def _decoded(decode: Decode, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    images = shrunk(decode(latents), "what decode gives")
    if len(images) != len(latents):
        raise InputError(
            f"decode must give one image of each latent, found {len(images)} of {len(latents)}"
        )
    return images


def _samples(images: npt.ArrayLike, scene: Scene) -> Thumbnails:
    """Images of some points of every code."""
    shape = tuple(getattr(images, "shape", np.shape(images)))
    if len(shape) != 4 or shape[0] <= scene.row.max():
        raise InputError(
            f"images must have shape (n, C, H, W), one image per latent, found {shape}"
        )
    one = shrunk(images[:1], "images")  # type: ignore[index]
    points = scene.spread(most_thumbnails(one.shape[1:]))
    rows = scene.row[points]
    chosen = images[rows]  # type: ignore[index]
    return Thumbnails(points, shrunk(chosen, "images"))
