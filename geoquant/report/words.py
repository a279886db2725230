"""What the numbers of a report say, in plain words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from geoquant.quality import KMEANS_WOULD_DO

#: Relative difference of two errors, and difference of two shares, up to which they are the same.
_SAME_ERROR = 0.01
_SAME_SHARE = 0.01
#: Difference of adjusted Rand indices that a change of graph may make beyond a change of seed.
_SAME_RAND = 0.1
_HEALTHY_SHARE = 0.5
_PIXELS, _MAJORITY = "error of a pixel, squared", "labels told by the code's majority"

Numbers = dict[str, Any]


class Verdict(NamedTuple):
    """A report in words.

    Attributes
    ----------
    headline : str
        Whether the geodesic detour pays.
    points : tuple of str
        On what ground, and what number of codes and of neighbours the data suggest; one sentence
        or a few each.

    Examples
    --------
    >>> from geoquant.report import Verdict
    >>> Verdict("Plain KMeans would do here.", ()).headline
    'Plain KMeans would do here.'
    """

    headline: str
    points: tuple[str, ...]


def verdict(numbers: Numbers) -> Verdict:
    """Put the numbers of a report into words.

    Parameters
    ----------
    numbers : dict
        Of `study_codebook`.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report.study import study_codebook
    >>> from geoquant.report.words import verdict
    >>> x = np.repeat([[0.0], [90.0]], 20, axis=0) + np.arange(40)[:, None] / 40
    >>> verdict(study_codebook(gq.fit_codebook(x, 2, random_state=0).codebook, x).numbers).headline
    'Plain KMeans would do here.'
    """
    points = [_what_changed(numbers), _distortions(numbers)]
    points += [*_reconstruction(numbers), *_labels(numbers), *_stages(numbers)]
    points += [_number_of_codes(numbers), _number_of_neighbors(numbers)]
    return Verdict(_headline(numbers), tuple(points))


def comparisons(numbers: Numbers) -> list[tuple[str, float, float, int]]:
    """The measures by which both kinds of codes are judged.

    Parameters
    ----------
    numbers : dict
        Of `study_codebook`.

    Returns
    -------
    list of (str, float, float, int)
        Name, of geodesic codes, of KMeans, and who is better: 1 geodesic, -1 KMeans, 0 neither.

    Examples
    --------
    >>> from geoquant.report.words import comparisons
    >>> sides = {"euclidean_distortion": 1.0, "geodesic_energy": 2.0}
    >>> comparisons({"geodesic": sides, "kmeans": sides | {"geodesic_energy": 3.0}, "power": 2})
    [('distance along the data, squared', 2.0, 3.0, 1), ('straight distance, squared', 1.0, 1.0, 0)]
    """
    own, other = numbers["geodesic"], numbers["kmeans"]
    name = "distance along the data" + (", squared" if numbers["power"] == 2 else "")
    rows = [
        _error_row(name, own["geodesic_energy"], other["geodesic_energy"]),
        _error_row(
            "straight distance, squared", own["euclidean_distortion"], other["euclidean_distortion"]
        ),
    ]
    return rows + _judges(numbers)


def _judges(numbers: Numbers) -> list[tuple[str, float, float, int]]:
    """Measures that neither kind of codes is made to minimise."""
    rows = []
    errors = _image_errors(numbers)
    if errors is not None:
        rows.append(_error_row(_PIXELS, *errors))
    own, other = numbers["geodesic"], numbers["kmeans"]
    for key, name in (
        ("majority_accuracy", _MAJORITY),
        ("nmi", "mutual information with labels (0 to 1)"),
    ):
        if key in own:
            difference = own[key] - other[key]
            better = 0 if abs(difference) < _chance(numbers, key) else int(np.sign(difference))
            rows.append((name, own[key], other[key], better))
    return rows


def _chance(numbers: Numbers, key: str) -> float:
    """The difference of two shares that is taken for none."""
    if key != "majority_accuracy":
        return _SAME_SHARE
    # Twice the standard error of a difference of paired shares.
    return max(_SAME_SHARE, 2 * float(np.sqrt(numbers["majority_discordant"] / numbers["n"])))


def _error_row(name: str, own: float, other: float) -> tuple[str, float, float, int]:
    is_same = abs(own - other) <= _SAME_ERROR * max(own, other)
    return name, own, other, 0 if is_same else int(np.sign(other - own))


def _image_errors(numbers: Numbers) -> tuple[float, float] | None:
    found = numbers.get("reconstruction", {}).get("mean_squared_error", {})
    own = found.get("geodesic codes", found.get("codes of stage 1"))
    return None if own is None else (own, found["KMeans codes"])


def _headline(numbers: Numbers) -> str:
    if numbers["agreement_with_kmeans"] > KMEANS_WOULD_DO:
        return "Plain KMeans would do here."
    judged = _judges(numbers)
    wins = _deeds([row for row in judged if row[3] > 0])
    losses = _deeds([row for row in judged if row[3] < 0])
    if wins and losses:
        return f"Geodesic codes {_listed(wins)}; those of KMeans {_listed(losses)}."
    if wins:
        return f"Geodesic codes are the better ones here: they {_listed(wins)}."
    if losses:
        return f"Plain KMeans is the better choice here: its codes {_listed(losses)}."
    if judged:
        return "Plain KMeans would do here: other codes, but no better and no worse."
    return _headline_of_energies(numbers)


def _deeds(rows: list[tuple[str, float, float, int]]) -> list[str]:
    """What the better codes do, in words; of two measures of labels, the first is enough."""
    deeds = []
    for name, own, other, _ in rows:
        best, worst = max(own, other), min(own, other)
        if name == _PIXELS:
            deeds.append(f"decode to better images (error {worst:.4g} against {best:.4g})")
        elif name == _MAJORITY:
            deeds.append(f"tell the labels better ({best:.1%} against {worst:.1%})")
        elif not any(row[0] == _MAJORITY for row in rows):
            deeds.append(f"share more with the labels ({best:.3f} against {worst:.3f})")
    return deeds


def _headline_of_energies(numbers: Numbers) -> str:
    own, other = (numbers[side]["geodesic_energy"] for side in ("geodesic", "kmeans"))
    if own >= other * (1 - _SAME_ERROR):
        return "Plain KMeans would do here: even along the data it is as near to the latents."
    return (
        f"Geodesic codes are {_share(own, other)} nearer along the data; whether that helps, "
        "labels or a model would tell."
    )


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _what_changed(numbers: Numbers) -> str:
    n, k = numbers["n"], numbers["n_codes"]
    moved = 1 - numbers["agreement_with_kmeans"]
    bent = 1 - numbers["agreement_with_euclidean"]
    return (
        f"What geodesic changed: KMeans with {k:,} clusters puts {moved:.1%} of the {n:,} latents "
        "elsewhere (clusters and codes paired one to one so that most agree; adjusted Rand index "
        f"{numbers['adjusted_rand_with_kmeans']:.2f}). Of the codebook's own codewords, the one "
        f"nearest in a straight line is another one for {bent:.1%}."
    )


def _distortions(numbers: Numbers) -> str:
    along, straight = comparisons(numbers)[:2]
    squared = "squared " if numbers["power"] == 2 else ""
    text = (
        f"Distances: the mean {squared}distance along the data to the nearest centre is "
        f"{along[1]:.4g}, and {along[2]:.4g} for the centres of KMeans ({_beside(along)}); the "
        f"mean squared straight distance to the codeword is {straight[1]:.4g}, and "
        f"{straight[2]:.4g} for KMeans ({_beside(straight)}). "
    )
    if along[3] < 0:
        return text + "Geodesic loses even by its own measure: fit longer, or with n_init > 1."
    return text + "Each is made to win one of these, so they do not decide."


def _beside(row: tuple[str, float, float, int]) -> str:
    _, own, other, better = row
    if better == 0:
        return "as good as the same"
    return f"geodesic {_share(own, other)} {'less' if better > 0 else 'more'}"


def _share(own: float, other: float) -> str:
    """By how much two errors differ, as a share of the second."""
    return f"{abs(other - own) / max(other, 1e-300):.1%}"


def _reconstruction(numbers: Numbers) -> list[str]:
    found = numbers.get("reconstruction")
    errors = _image_errors(numbers)
    if found is None or errors is None:
        return []
    row = _error_row("", *errors)
    text = (
        f"Decoded: the mean squared error of a pixel beside the {found['beside']} is "
        f"{errors[0]:.4g} with geodesic codes and {errors[1]:.4g} with KMeans ({_beside(row)}"
    )
    least = found["mean_squared_error"].get("latents")
    return [text + (f"; {least:.4g} without any codes)." if least else ").")]


def _labels(numbers: Numbers) -> list[str]:
    own, other = numbers["geodesic"], numbers["kmeans"]
    if "majority_accuracy" not in own:
        return []
    return [
        "Labels: the majority of a code's latents tells the class of "
        f"{own['majority_accuracy']:.1%} of the latents, with KMeans of "
        f"{other['majority_accuracy']:.1%}; normalised mutual information "
        f"{own['nmi']:.3f} against {other['nmi']:.3f}."
    ]


def _stages(numbers: Numbers) -> list[str]:
    stages = numbers.get("stages")
    if stages is None:
        return []
    sizes = " × ".join(str(k) for k in stages["n_codes"])
    return [
        f"Stages: this is about the first of {len(stages['n_codes'])} {stages['kind']} stages, as "
        f"a codebook of its own. All together ({sizes} codes, {stages['tuples_used']:,} "
        f"combinations in use) leave a mean squared straight distance of "
        f"{stages['euclidean_distortion']:.4g}."
    ]


def _number_of_codes(numbers: Numbers) -> str:
    found, k = numbers["elbow"], numbers["n_codes"]
    ks, energy = found["ks"], found["geodesic_energy"]
    on = f"on a sample of {found['n_rows']:,} latents"
    text = _unused(numbers)
    if len(ks) < 3:
        return text + f"Number of codes: too few latents to say more about K = {k}."
    if found["knee"] is not None:
        return text + (
            f"Number of codes: the data suggest K = {found['knee']}, where the energy over K "
            f"bends ({on}: more codes gain much less than those up to there)."
        )
    per_doubling = 1 - (energy[-1] / energy[0]) ** (1 / np.log2(ks[-1] / ks[0]))
    return text + (
        f"Number of codes: no K stands out between {ks[0]} and {ks[-1]} ({on}); every doubling "
        f"takes about {per_doubling:.0%} off the energy, so choose K by the error that is allowed."
    )


def _unused(numbers: Numbers) -> str:
    dead, k = numbers["geodesic"]["dead_codes"], numbers["n_codes"]
    effective = numbers["geodesic"]["perplexity"]
    if effective < _HEALTHY_SHARE * k:
        return (
            f"Use: {dead} of {k} codes are unused and the perplexity is {effective:.1f}, as if "
            f"there were about {effective:.0f} codes: fewer would do. "
        )
    return ""


def _number_of_neighbors(numbers: Numbers) -> str:
    graph, stable = numbers["graph"], numbers["stability"]
    k = graph["n_neighbors"]
    text = f"Number of neighbours: {_pieces(graph)} with k = {k}"
    if stable is None:
        return text + "; too few latents for so many codes to try others."
    return f"{text}. {_advice_on_neighbors(numbers)}"


def _pieces(graph: Numbers) -> str:
    pieces = graph["n_components"]
    if pieces == 1:
        return "the graph is of one piece"
    return f"the graph was of {pieces} pieces, joined by bridges,"


def _advice_on_neighbors(numbers: Numbers) -> str:
    stable, k = numbers["stability"], numbers["graph"]["n_neighbors"]
    pieces = dict(zip(stable["ks"], stable["n_components"], strict=True))
    whole = [m for m in stable["ks"] if pieces[m] == 1]
    if pieces[k] > 1 and whole and whole[0] > k:
        return f"k = {whole[0]} gives one piece: take it, unless the gaps are real."
    if pieces[k] > 1:
        return "More neighbours do not join them: the gaps are real, or k has to grow further."
    chance = stable["other_seed"]
    tried = [(m, a) for m, a in zip(stable["ks"], stable["agreement"], strict=True) if m != k]
    moving = [(m, a) for m, a in tried if a < chance - _SAME_RAND]
    if not moving:
        return f"{_changes(tried)} no more than another seed ({chance:.2f}): k = {k} can stay."
    text = f"{_changes(moving)} more than another seed ({chance:.2f})"
    if stable["majority_accuracy"] is None:
        return f"{text}; which are better, labels would tell. Nothing speaks against {k}."
    return text + _best_told(stable, k)


def _changes(tried: list[tuple[int, float]]) -> str:
    """Which other numbers of neighbours change the codes, and how far, to be gone on with."""
    numbers = _listed([f"k = {m}" for m, _ in tried])
    rand = _listed([f"{a:.2f}" for _, a in tried])
    change = "changes" if len(tried) == 1 else "change"
    return f"{numbers} {change} the codes (adjusted Rand index {rand})"


def _best_told(stable: Numbers, k: int) -> str:
    """The number of neighbours whose codes tell the labels best, beyond what a seed does."""
    told = dict(zip(stable["ks"], stable["majority_accuracy"], strict=False))
    by_seed = abs(stable["majority_accuracy"][-1] - told[k])
    best = max(told, key=lambda m: (told[m], m == k))
    if told[best] - told[k] > max(_SAME_SHARE, 2 * by_seed):
        gain = f"{told[best]:.1%} against {told[k]:.1%}"
        return f", and with k = {best} they tell the labels better ({gain}): the data suggest it."
    return f", but they tell the labels no better: k = {k} can stay."
