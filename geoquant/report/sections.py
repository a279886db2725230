"""The sections of a report: a question each, its pictures, and what is to be seen in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoquant.report.images import (
    aspect_of_grid,
    columns_for,
    plot_codebook,
    plot_frames,
    plot_reconstructions,
)
from geoquant.report.paths import CLASS_COLOURS, plot_classes
from geoquant.report.plots import (
    plot_degrees,
    plot_distances,
    plot_edge_lengths,
    plot_elbow,
    plot_energy,
    plot_map,
    plot_stability,
    plot_usage,
)
from geoquant.report.svg import inline_svg, new_figure, page_style

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from geoquant.report.study import Study

_WIDTH = 4.6
_MOST_CAPTIONED = 144


class Picture(NamedTuple):
    """A picture as it stands in the page.

    Attributes
    ----------
    svg : str
        The element.
    caption : str
        Below it, plain text.
    """

    svg: str
    caption: str


class Section(NamedTuple):
    """A question and its answer.

    Attributes
    ----------
    name : str
        A word, by which it is linked to.
    question : str
        Its heading.
    pictures : tuple of Picture
        None if it cannot be answered.
    text : str
        What is said first; or why there is no picture.
    """

    name: str
    question: str
    pictures: tuple[Picture, ...]
    text: str = ""


def sections(found: Study) -> list[Section]:
    """Draw all sections of a report.

    Parameters
    ----------
    found : Study
        What is known.

    Returns
    -------
    list of Section
        In the order in which people ask.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report.sections import sections
    >>> from geoquant.report.study import study_codebook
    >>> x = np.arange(40, dtype=np.float32)[:, None]
    >>> drawn = sections(study_codebook(gq.fit_codebook(x, 4, random_state=0).codebook, x))
    >>> [section.name for section in drawn if not section.pictures]
    ['codes', 'reconstructions', 'frames']
    """
    makers = (
        _codes,
        _reconstructions,
        _usage,
        _distances,
        _map,
        _frames,
        _energy,
        _elbow,
        _graph,
    )
    with page_style():
        return [make(found) for make in makers]


def _picture(name: str, alt: str, caption: str, draw: Callable[[Axes], Axes]) -> Picture:
    ax = new_figure()
    draw(ax)
    return Picture(inline_svg(ax.figure, name, alt), caption)


def _grid(
    name: str, alt: str, caption: str, aspect: float, draw: Callable[[Axes], Axes]
) -> Picture:
    """A picture made of images, which fills its figure."""
    ax = new_figure(_WIDTH, _WIDTH * aspect, is_bare=True)
    draw(ax)
    return Picture(inline_svg(ax.figure, name, alt), caption)


def _without_decoder(found: Study) -> str:
    if found.rows:
        return "The codewords of one product stage are no whole latents and cannot be decoded."
    return "Without a decoder nothing is decoded: give --model, or decode= from Python."


def _codes(found: Study) -> Section:
    name, question = "codes", "What does each code look like?"
    if "codebook" not in found.images:
        return Section(name, question, (), _without_decoder(found))
    images, n = found.images["codebook"], len(found.shown)
    majority = found.numbers["majority"]
    captions = [
        str(code) if majority is None else f"{code}: {majority[code]}" for code in found.shown
    ]
    columns = columns_for(n)
    text = f"{n} of {found.numbers['n_codes']} codes, each decoded" + (
        "; below it its number and the class of most of its latents." if majority else "."
    )
    picture = _grid(
        "codes",
        f"{n} decoded codewords in rows, similar ones beside each other.",
        "Read row by row: each code is followed by one near it along the data (a short tour "
        "through the geodesic distances between centres).",
        aspect_of_grid(-(-n // columns), columns, images.shape),
        lambda ax: plot_codebook(
            images, captions if n <= _MOST_CAPTIONED else None, ax, n_columns=columns
        ),
    )
    return Section(name, question, (picture,), text)


def _reconstructions(found: Study) -> Section:
    name, question = "reconstructions", "What is lost by quantizing?"
    if not found.rows:
        return Section(name, question, (), _without_decoder(found))
    errors = found.numbers["reconstruction"]
    told = "; ".join(f"{row} {error:.4g}" for row, error in errors["mean_squared_error"].items())
    first = next(iter(found.rows.values()))
    picture = _grid(
        "reconstructions",
        f"Rows of the same {len(first)} latents: {', '.join(found.rows)}.",
        f"Chosen at random. Mean squared error of a pixel beside the {errors['beside']}, over "
        f"{errors['n_rows']:,} latents: {told}.",
        aspect_of_grid(len(found.rows), len(first), first.shape),
        lambda ax: plot_reconstructions(found.rows, ax),
    )
    return Section(name, question, (picture,))


def _usage(found: Study) -> Section:
    numbers = found.numbers
    own, k = numbers["geodesic"], numbers["n_codes"]
    caption = (
        f"Perplexity {own['perplexity']:.1f} of {k}: as many codes, used alike, would carry as "
        f"much. {own['dead_codes']} unused; imbalance {numbers['imbalance']:.2f} (1 is even). "
        f"KMeans: perplexity {numbers['kmeans']['perplexity']:.1f}."
    )
    alt = (
        f"Bars of how many latents each of {k} codes has, from {max(numbers['counts']):,} down to "
        f"{min(numbers['counts']):,}; perplexity {own['perplexity']:.1f}."
    )
    picture = _picture("usage", alt, caption, lambda ax: plot_usage(numbers["counts"], ax))
    return Section("usage", "Are all codes used?", (picture,))


def _distances(found: Study) -> Section:
    name, question = "distances", "Where do geodesic and straight distance disagree?"
    subject = found.subject
    if subject.has_own_unit:
        return Section(
            name,
            question,
            (),
            "The codebook measures along edges in the unit of outputs, the straight distance is in "
            "that of the latents: they cannot be drawn beside each other.",
        )
    ends = subject.nodes[subject.centres[subject.codes]]
    straight = np.linalg.norm(subject.latents.astype(np.float64) - ends, axis=1)
    is_different = subject.codes != subject.straight_codes
    caption = (
        f"Each latent's two distances to the centre of its code. {is_different.mean():.1%} would "
        "get another code from the nearest codeword in a straight line; the farther above the "
        "dashed line, the more the data bend."
    )
    alt = (
        "Geodesic distance of each latent to its centre over the straight one, all on or above the "
        f"diagonal; {is_different.mean():.1%} of them with another code in a straight line."
    )
    picture = _picture(
        name, alt, caption, lambda ax: plot_distances(straight, subject.distance, is_different, ax)
    )
    return Section(name, question, (picture,))


def _map(found: Study) -> Section:
    subject, path = found.subject, found.path
    n = len(subject.nodes)
    caption = (
        "Cells in colours that repeat, centres as black dots, and the path between two centres "
        f"that is longest beyond its chord: codes {path.codes[0]} and {path.codes[1]}. Lengths are "
        "those among the latents, not in this map, which flattens them."
        if path.codes[1] >= 0
        else "The one cell, its centre, and the path to the latent farthest along the data."
    )
    alt = (
        f"Map of {n:,} latents in the plane, coloured by code. A path along the data of length "
        f"{path.length:.4g} beside its straight chord of {path.chord:.4g}."
    )
    picture = _picture(
        "map",
        alt,
        caption,
        lambda ax: plot_map(
            found.coordinates,
            subject.codebook.anchor_code,
            subject.centres[np.unique(subject.codebook.anchor_code)],
            path.nodes,
            ax,
            lengths=(path.length, path.chord),
        ),
    )
    text = "" if subject.node_of_row is not None else "Drawn are the anchors of the codebook."
    pictures = (picture, *_map_of_classes(found))
    return Section("map", "How do the cells lie?", pictures, text)


def _map_of_classes(found: Study) -> list[Picture]:
    """The same map coloured by class, where there are few enough to be told apart."""
    if found.labels is None or len(np.unique(found.labels)) > len(CLASS_COLOURS):
        return []
    labels = found.labels
    n_classes = len(np.unique(labels))
    return [
        _picture(
            "classes",
            f"The same map, coloured by {n_classes} classes.",
            "The same latents, coloured by their labels.",
            lambda ax: plot_classes(found.coordinates, labels, ax),
        )
    ]


def _frames(found: Study) -> Section:
    name, question = "frames", "What lies on the way between two codes?"
    if "path" not in found.images:
        return Section(name, question, (), _without_decoder(found))
    along, chord = found.images["path"], found.images["chord"]
    numbers = found.numbers["path"]
    off = [
        max(numbers[key]) for key in ("frames_to_nearest_latent", "chord_frames_to_nearest_latent")
    ]
    picture = _grid(
        name,
        f"Two rows of {len(along)} decoded frames, along the data and straight through space.",
        f"From code {found.path.codes[0]} to {found.path.codes[1]} at equal steps. A frame of the "
        f"path is at most {off[0]:.3g} from a latent, of the chord {off[1]:.3g}; latents are "
        f"{numbers['neighbour_distance']:.3g} from each other (median to the nearest).",
        aspect_of_grid(2, len(along), along.shape),
        lambda ax: plot_frames(along, chord, ax),
    )
    return Section(name, question, (picture,))


def _energy(found: Study) -> Section:
    name, question = "energy", "Did the fit settle?"
    history = found.numbers["energy_history"]
    if history is None:
        return Section(
            name,
            question,
            (),
            "The codebook file does not hold the energies of its fit: it is older than the report, "
            "or has another origin. Fit it anew, or give inertia_history= from Python.",
        )
    last = (history[-2] - history[-1]) / history[-2] if len(history) > 1 and history[-2] else 0.0
    fall = 1 - history[-1] / history[0] if history[0] else 0.0
    picture = _picture(
        name,
        f"Energy over {len(history)} steps, from {history[0]:.4g} to {history[-1]:.4g}.",
        f"{fall:.1%} below the seeds after {len(history) - 1} steps; the last took {last:.2%} off.",
        lambda ax: plot_energy(history, ax, power=found.numbers["power"]),
    )
    return Section(name, question, (picture,))


def _elbow(found: Study) -> Section:
    bend, k = found.elbow, found.numbers["n_codes"]
    marked = k if k in bend.ks else None
    squared = "squared " if found.numbers["power"] == 2 else ""
    along = f"mean {squared}distance along the data"
    pictures = tuple(
        _picture(
            name,
            f"{label} over the number of codes from {bend.ks[0]} to {bend.ks[-1]}: geodesic "
            f"{own[0]:.4g} to {own[-1]:.4g}, KMeans {other[0]:.4g} to {other[-1]:.4g}.",
            caption,
            lambda ax, own=own, other=other, label=label: plot_elbow(  # type: ignore[misc]
                bend.ks, {"geodesic": own, "KMeans": other}, ax, ylabel=label, marked=marked
            ),
        )
        for name, label, own, other, caption in (
            (
                "elbow-energy",
                along,
                bend.geodesic_energy,
                bend.kmeans_energy,
                "To the nearest centre: what geodesic codes minimise. The centres of KMeans are "
                "the latents nearest to its means.",
            ),
            (
                "elbow-distortion",
                "mean squared straight distance",
                bend.geodesic_distortion,
                bend.kmeans_distortion,
                "To the mean of the own cell: what KMeans minimises.",
            ),
        )
    )
    text = (
        f"Codebooks of several sizes, fitted on {bend.n_rows:,} latents. The two errors have "
        "different units and stand in pictures of their own."
    )
    return Section("elbow", "How many codes?", pictures, text)


def _graph(found: Study) -> Section:
    graph, edges = found.numbers["graph"], found.edges
    degrees = np.diff(found.subject.graph.indptr)
    pictures = [
        _picture(
            "degrees",
            f"Histogram of neighbours of each latent: median {graph['degree_median']:.0f}, most "
            f"{graph['degree_max']}.",
            f"Median {graph['degree_median']:.0f}, most {graph['degree_max']}. Hubs: how often a "
            f"latent is named as a neighbour has skewness {graph['hub_skewness']:.2f} (0: no "
            f"hubs); {graph['nodes_that_no_other_names']:,} are named by none.",
            lambda ax: plot_degrees(degrees, ax),
        ),
        _picture(
            "lengths",
            f"Histogram of the lengths of {graph['n_edges']:,} edges, all and those in no "
            "triangle.",
            "Edges that are long and in no triangle may be shortcuts: "
            f"{graph['possible_shortcuts']:,} are among the longest 1 %, and "
            f"{graph['latents_over_possible_shortcuts']:.2%} of the latents reach their centre "
            "over one.",
            lambda ax: plot_edge_lengths(edges.length, edges.is_lone, ax),
        ),
    ]
    pictures += _stability(found)
    return Section("graph", "Can the graph be trusted?", tuple(pictures), _pieces(found))


def _stability(found: Study) -> list[Picture]:
    """How far codes change with the number of neighbours, where others were tried."""
    stable = found.stability
    if stable is None:
        return []
    return [
        _picture(
            "stability",
            "Bars of the adjusted Rand index beside the codes of the codebook's own k.",
            f"Fitted anew on {stable.n_rows:,} latents with other numbers of neighbours, and "
            "with another seed: what chance does.",
            lambda ax: plot_stability(
                stable.ks,
                stable.agreement,
                stable.other_seed,
                ax,
                own=found.subject.n_neighbors,
            ),
        )
    ]


def _pieces(found: Study) -> str:
    graph = found.numbers["graph"]
    text = f"{graph['n_nodes']:,} latents, each with its {graph['n_neighbors']} nearest neighbours"
    if graph["n_components"] == 1:
        return f"{text}; all in one piece."
    sizes = ", ".join(f"{size:,}" for size in graph["component_sizes"])
    longest = graph["bridge_lengths"][0]
    return (
        f"{text}: {graph['n_components']} pieces before bridging, of {sizes} latents"
        f"{' and fewer' if graph['n_components'] > len(graph['component_sizes']) else ''}. The "
        f"longest bridge is {longest:.4g} long, the median edge "
        f"{graph['edge_length_quantiles']['0.5']:.4g}."
    )
