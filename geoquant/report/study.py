"""All that a report shows, computed before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoquant import quality
from geoquant.errors import InputError, memory_errors_typed
from geoquant.latents import check_latents
from geoquant.multistage import MultistageCodebook
from geoquant.plane import plane_map
from geoquant.report import decoded as pictures
from geoquant.report.elbow import Elbow, elbow, knee
from geoquant.report.health import Edges, Stability, edges_of, graph_numbers, stability
from geoquant.report.order import (
    Path,
    centre_distances,
    distance_to_data,
    frames_along,
    geodesic_order,
    telling_path,
)
from geoquant.report.peer import Peer, kmeans_peer, matched, numbers_of_codes
from geoquant.report.subject import MOST_ROWS, Subject, first_stage, sample_of, subject_of
from geoquant.short_repr import ShortRepr

if TYPE_CHECKING:
    from geoquant.codebook import Codebook
    from geoquant.progress import Progress
    from geoquant.report.decoded import Decode, Images

#: Version of the numbers in a page; a change that breaks their readers raises it.
SCHEMA_VERSION = 1
#: Codes that are shown decoded, the most used ones where there are more.
MOST_SHOWN = 256
_N_FRAMES = 9
_N_COLUMNS = 8


@dataclass(frozen=True, eq=False, repr=False)
class Study(ShortRepr):
    """Numbers and arrays of a report.

    Parameters
    ----------
    numbers : dict
        All that is said in numbers, in terms of JSON.
    subject : Subject
        Codebook, latents, codes and graph.
    peer : Peer
        KMeans on the same latents.
    edges : Edges
        Of the graph.
    elbow : Elbow
        Errors over the number of codes.
    stability : Stability or None
        Codes over the number of neighbours.
    shown : ndarray of shape (n_shown,), int64
        Codes in the order in which they are shown.
    path : Path
        Between two centres.
    coordinates : ndarray of shape (n_nodes, 2), float32
        Map of the nodes to the plane.
    images : dict of str to ndarray of shape (n, C, H, W), float32
        Empty without a decoder: ``"codebook"`` in the order of `shown`, ``"path"`` and
        ``"chord"``.
    rows : dict of str to ndarray of shape (n, C, H, W), float32
        Empty without a decoder: rows of reconstructions of the same latents, by their names.
    labels : ndarray of shape (n_nodes,), str, or None
        The class of each node; None without labels, or where the latents are not the nodes.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report import study_codebook
    >>> x = np.arange(40, dtype=np.float32)[:, None]
    >>> study_codebook(gq.fit_codebook(x, 4, random_state=0).codebook, x).shown.shape
    (4,)
    """

    numbers: dict[str, Any]
    subject: Subject
    peer: Peer
    edges: Edges
    elbow: Elbow
    stability: Stability | None
    shown: npt.NDArray[np.int64]
    path: Path
    coordinates: npt.NDArray[np.float32]
    images: dict[str, Images] = field(default_factory=dict)
    rows: dict[str, Images] = field(default_factory=dict)
    labels: npt.NDArray[np.str_] | None = None


@memory_errors_typed()
def study_codebook(
    codebook: Codebook | MultistageCodebook,
    latents: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    decode: Decode | None = None,
    images: Any = None,
    coordinates: npt.ArrayLike | None = None,
    inertia_history: npt.ArrayLike | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Study:
    """Compute what a report shows.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        Of several stages, the first is shown, and the error of all.
    latents : array-like of shape (n, d), float
        The latents it was fitted on, or others of the same kind.
    labels : array-like of shape (n,), int or str, optional
        A class of each latent.
    decode : callable, optional
        From latents (n, d) to images (n, C, H, W), in [0, 1].
    images : array-like of shape (n, C, H, W), float or bytes, optional
        What was encoded, for `decode` to be compared with.
    coordinates : array-like of shape (n, 2), float, optional
        A map of the latents to the plane, if they are those that the codebook was fitted on;
        `geoquant.plane.plane_map` by default.
    inertia_history : array-like of shape (n_steps,), float, optional
        Energy after each step of the fit; by default what the codebook's metadata holds.
    random_state : int, default=0
        Seed of samples and comparisons.
    n_jobs : int, optional
        Threads, all by default.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; may raise to stop.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If an argument cannot be used or does not fit the others.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report.study import study_codebook
    >>> x = np.arange(40, dtype=np.float32)[:, None]
    >>> found = study_codebook(gq.fit_codebook(x, 4, random_state=0).codebook, x)
    >>> found.numbers["n"], found.numbers["n_codes"]
    (40, 4)
    """
    x = check_latents(latents)
    classes = None if labels is None else _classes(labels, len(x))
    _check_images(images, decode, x)
    tell = _teller(progress)
    tell("codes")
    if isinstance(codebook, MultistageCodebook):
        single, columns = first_stage(codebook, x)
    else:
        single, columns = codebook, slice(None)
    subject = subject_of(single, x[:, columns], n_jobs=n_jobs)
    classes = None if classes is None else (classes[0], classes[1][subject.rows])
    xy = _coordinates(subject, coordinates, len(x))
    options: dict[str, Any] = {"random_state": random_state, "n_jobs": n_jobs}
    tell("KMeans")
    peer = kmeans_peer(subject, **options)
    numbers = _numbers(subject, peer, classes)
    numbers["energy_history"] = _history(subject, inertia_history)
    tell("centres")
    shown, path = _shown_and_path(subject)
    numbers["path"] = _path_numbers(subject, path, n_jobs)
    tell("graph")
    edges = edges_of(subject.graph)
    numbers["graph"] = graph_numbers(subject, edges)
    labels_of_nodes = _labels_of_nodes(subject, classes)
    stable = stability(subject, labels=labels_of_nodes, progress=progress, **options)
    numbers["stability"] = None if stable is None else stable._asdict()
    bend = _elbow(subject, progress, options)
    numbers["elbow"] = {**bend._asdict(), "knee": knee(bend.ks, bend.geodesic_energy)}
    named = None
    if classes is not None and labels_of_nodes is not None:
        named = np.asarray(classes[0])[labels_of_nodes]
    found = Study(numbers, subject, peer, edges, bend, stable, shown, path, xy, labels=named)
    if isinstance(codebook, MultistageCodebook):
        numbers["stages"] = _stage_numbers(codebook, x[subject.rows], n_jobs)
    if decode is not None:
        tell("images")
        _add_images(found, codebook, x[subject.rows], decode, images, n_jobs)
    return found


def _elbow(subject: Subject, progress: Progress | None, options: dict[str, Any]) -> Elbow:
    return elbow(
        subject.nodes,
        subject.codebook.n_codes,
        n_neighbors=subject.n_neighbors,
        power=subject.power,
        progress=progress,
        **options,
    )


def _shown_and_path(subject: Subject) -> tuple[npt.NDArray[np.int64], Path]:
    """Codes in the order in which they are shown, and the path between two of them."""
    shown = _shown_codes(subject)
    centres = subject.centres[shown]
    distances = centre_distances(subject.graph, centres)
    path = telling_path(subject.graph, subject.nodes, centres, distances)
    first, last = (int(shown[c]) if c >= 0 else -1 for c in path.codes)
    return shown[geodesic_order(distances)], path._replace(codes=(first, last))


def _teller(progress: Progress | None) -> Any:
    """What names a stage that has no steps of its own."""
    return lambda stage: None if progress is None else progress(stage, 0, 1)


def _check_images(images: Any, decode: Decode | None, x: npt.NDArray[np.float32]) -> None:
    """Try the decoder on one latent, so that it fails before the work and not after it."""
    if images is not None and decode is None:
        raise InputError("images are for decode to be compared with; give decode or a model, too")
    if images is not None and len(images) != len(x):
        raise InputError(f"images must be {len(x)}, one of each latent, found {len(images)}")
    if decode is not None:
        given = None if images is None else _Rows(images, np.arange(1))
        pictures.image_errors(decode, x[:1], {}, given)


def _classes(labels: npt.ArrayLike, n: int) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of the classes, and the number of each latent's."""
    given = np.asarray(labels)
    if given.shape != (n,):
        raise InputError(f"labels must have shape ({n},), one of each latent, found {given.shape}")
    if given.dtype.kind not in "iubUS":
        raise InputError(f"labels must be integers or strings, found dtype {given.dtype}")
    names, number = np.unique(given, return_inverse=True)
    return [str(name) for name in names], number.reshape(-1).astype(np.int64)


def _numbers(
    subject: Subject, peer: Peer, classes: tuple[list[str], npt.NDArray[np.int64]] | None
) -> dict[str, Any]:
    """What can be said of the codes without pictures."""
    book = subject.codebook
    labels = None if classes is None else classes[1]
    own = (subject.codes, book.vectors, subject.centres)
    other = (peer.codes, peer.vectors, peer.centres)
    counts = quality.code_counts(subject.codes, book.n_codes)
    return {
        "schema_version": SCHEMA_VERSION,
        "geoquant_version": version("geoquant"),
        "n": len(subject.latents),
        "d": book.dim,
        "n_codes": book.n_codes,
        "n_neighbors": subject.n_neighbors,
        "power": subject.power,
        "codewords": book.metadata.get("codewords"),
        "latents_are_anchors": subject.node_of_row is not None,
        "has_own_unit": subject.has_own_unit,
        "thinned": book.metadata.get("thinned"),
        "is_sample": len(subject.rows) == MOST_ROWS,
        "counts": [int(count) for count in counts],
        "usage": quality.usage(subject.codes, book.n_codes),
        "entropy_nats": quality.entropy(subject.codes, book.n_codes),
        "imbalance": quality.imbalance(subject.codes, book.n_codes),
        "agreement_with_euclidean": quality.agreement(subject.codes, subject.straight_codes),
        "agreement_with_kmeans": float(matched(subject.codes, peer.codes, book.n_codes).mean()),
        "adjusted_rand_with_kmeans": _adjusted_rand(subject.codes, peer.codes),
        "kmeans_rows": peer.n_rows,
        "kmeans_starts": peer.n_init,
        "classes": None if classes is None else len(classes[0]),
        "geodesic": numbers_of_codes(subject, *own, labels),
        "kmeans": numbers_of_codes(subject, *other, labels),
        "majority": None if classes is None else _majority(subject, *classes),
        "majority_discordant": None
        if labels is None
        else _discordant(subject.codes, peer.codes, labels),
    }


def _discordant(
    codes: npt.NDArray[np.int32], other: npt.NDArray[np.int32], labels: npt.NDArray[np.int64]
) -> float:
    """Share of the latents whose label the majorities of just one of two codings tell."""
    n_labels = int(labels.max()) + 1
    told = []
    for coding in (codes, other):
        table = np.bincount(coding * n_labels + labels, minlength=(coding.max() + 1) * n_labels)
        told.append(table.reshape(-1, n_labels).argmax(axis=1)[coding] == labels)
    return float(np.mean(told[0] != told[1]))


def _adjusted_rand(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(first, second))


def _majority(
    subject: Subject, names: list[str], labels: npt.NDArray[np.int64]
) -> list[str | None]:
    """The class of most of each code's latents; None for a code of none."""
    k = subject.codebook.n_codes
    table = np.bincount(subject.codes * len(names) + labels, minlength=k * len(names))
    rows = table.reshape(k, len(names))
    return [names[int(row.argmax())] if row.any() else None for row in rows]


def _history(subject: Subject, given: npt.ArrayLike | None) -> list[float] | None:
    """Energies of the fit's steps, given or kept with the codebook; None where they are not."""
    kept: Any = subject.codebook.metadata.get("inertia_history") if given is None else given
    if kept is None:
        return None
    history = np.asarray(kept, np.float64)
    if history.ndim != 1 or not np.isfinite(history).all():
        raise InputError(f"inertia_history must be finite numbers, found {given!r}")
    return [float(energy) for energy in history] or None


def _labels_of_nodes(
    subject: Subject, classes: tuple[list[str], npt.NDArray[np.int64]] | None
) -> npt.NDArray[np.int64] | None:
    """The class of each node, if the latents are the nodes; of equal latents, that of the last."""
    if classes is None or subject.node_of_row is None or len(subject.rows) == MOST_ROWS:
        return None
    labels = np.zeros(len(subject.nodes), np.int64)
    labels[subject.node_of_row] = classes[1]
    return labels


def _shown_codes(subject: Subject) -> npt.NDArray[np.int64]:
    """The most used codes that there is room for, of those that are used."""
    counts = np.bincount(subject.codebook.anchor_code, minlength=subject.codebook.n_codes)
    most_used = np.argsort(-counts, kind="stable")[:MOST_SHOWN]
    return np.sort(most_used[counts[most_used] > 0])


def _path_numbers(subject: Subject, path: Path, n_jobs: int | None) -> dict[str, Any]:
    along, chord = _frames(subject, path)
    off = [distance_to_data(z, subject.nodes, n_jobs=n_jobs) for z in (along, chord)]
    return {
        "codes": list(path.codes),
        "n_nodes": len(path.nodes),
        "length": path.length,
        "chord": path.chord,
        "frames_to_nearest_latent": [float(d) for d in off[0]],
        "chord_frames_to_nearest_latent": [float(d) for d in off[1]],
        "neighbour_distance": float(np.median(subject.neighbors.distance[:, 0])),
    }


def _frames(
    subject: Subject, path: Path
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    points = subject.nodes[path.nodes]
    return frames_along(points, _N_FRAMES), frames_along(points[[0, -1]], _N_FRAMES)


def _coordinates(subject: Subject, given: npt.ArrayLike | None, n: int) -> npt.NDArray[np.float32]:
    """Where each node is drawn."""
    if given is None:
        if subject.nodes.shape[1] == 2:
            return subject.nodes
        return plane_map(subject.graph, subject.nodes)
    if subject.node_of_row is None:
        raise InputError(
            "coordinates are for the latents that the codebook was fitted on, found a report on "
            "others; leave them out"
        )
    xy = check_latents(given, name="coordinates")
    if xy.shape != (n, 2):
        raise InputError(f"coordinates must have shape ({n}, 2), found {xy.shape}")
    placed = np.empty((len(subject.nodes), 2), np.float32)
    placed[subject.node_of_row] = xy[subject.rows]
    return placed


def _stage_numbers(
    codebook: MultistageCodebook, x: npt.NDArray[np.float32], n_jobs: int | None
) -> dict[str, Any]:
    """Numbers of all stages together."""
    codes = codebook.assign(x, n_jobs=n_jobs)
    _, single = np.unique(codes, axis=0, return_inverse=True)
    single = single.reshape(-1)
    words = codebook.lookup(codes)
    return {
        "kind": codebook.kind,
        "n_codes": list(codebook.n_codes),
        "perplexity_of_stages": [
            quality.perplexity(column, k)
            for column, k in zip(codes.T, codebook.n_codes, strict=True)
        ],
        "perplexity_of_tuples": quality.perplexity(single, int(single.max()) + 1),
        "tuples_used": int(single.max()) + 1,
        "euclidean_distortion": quality.euclidean_distortion(x, words, np.arange(len(x))),
    }


def _add_images(
    found: Study,
    codebook: Codebook | MultistageCodebook,
    x: npt.NDArray[np.float32],
    decode: Decode,
    images: Any,
    n_jobs: int | None,
) -> None:
    """Decode what can be decoded: codewords of a first product stage are no whole latents."""
    subject, peer = found.subject, found.peer
    words = {}
    if subject.codebook.dim == x.shape[1]:
        words["KMeans codes"] = peer.vectors[peer.codes]
        name = "geodesic codes" if subject.codebook is codebook else "codes of stage 1"
        words[name] = subject.codebook.vectors[subject.codes]
        found.images["codebook"] = pictures.decoded(decode, subject.codebook.vectors[found.shown])
        along, chord = _frames(subject, found.path)
        found.images["path"] = pictures.decoded(decode, along)
        found.images["chord"] = pictures.decoded(decode, chord)
    if isinstance(codebook, MultistageCodebook):
        words["codes of all stages"] = codebook.lookup(codebook.assign(x, n_jobs=n_jobs))
    given = None if images is None else _Rows(images, subject.rows)
    found.numbers["reconstruction"] = pictures.image_errors(decode, x, words, given)
    rows = sample_of(len(x), _N_COLUMNS, seed=1)
    if given is not None:
        found.rows["images"] = pictures.checked_images(given[rows], len(rows), "images")
    found.rows["decoded latents"] = pictures.decoded(decode, x[rows])
    for name, stand_in in words.items():
        found.rows[name] = pictures.decoded(decode, stand_in[rows])


class _Rows:
    """Some rows of images, which are read only where they are asked for."""

    def __init__(self, images: Any, rows: npt.NDArray[np.int64]) -> None:
        self._images, self._rows = images, rows

    def __getitem__(self, at: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return np.asarray(self._images[self._rows[at]])
