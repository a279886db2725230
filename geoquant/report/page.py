"""The report as one file: words, table, pictures, and the numbers for programs."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from geoquant.files import write_atomically
from geoquant.report.sections import Picture, Section, sections
from geoquant.report.study import Study, study_codebook
from geoquant.report.style import SCRIPT, STYLE
from geoquant.report.words import comparisons, verdict

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.codebook import Codebook
    from geoquant.files import PathLike
    from geoquant.multistage import MultistageCodebook
    from geoquant.progress import Progress
    from geoquant.report.decoded import Decode

#: The id of the element that holds the numbers.
NUMBERS_ID = "geoquant-report"


def write_report(
    path: PathLike,
    codebook: Codebook | MultistageCodebook,
    latents: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    decode: Decode | None = None,
    images: Any = None,
    coordinates: npt.ArrayLike | None = None,
    inertia_history: npt.ArrayLike | None = None,
    title: str = "codebook",
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write all that can be said of a codebook into one HTML file that needs nothing else.

    Parameters
    ----------
    path : str or PathLike
        The file; an older one is replaced.
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
    title : str, default="codebook"
        What the page is about; any text.
    random_state : int, default=0
        Seed of samples and comparisons.
    n_jobs : int, optional
        Threads, all by default.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; may raise to stop.

    Returns
    -------
    dict
        The numbers that are in the page, too.

    Raises
    ------
    InputError
        If an argument cannot be used or does not fit the others.
    OSError, ResourceError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report import write_report
    >>> x = np.arange(40, dtype=np.float32)[:, None]
    >>> book = gq.fit_codebook(x, 4, random_state=0).codebook
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "report.html")
    ...     numbers = write_report(path, book, x)
    ...     path.read_text(encoding="utf-8")[:15], numbers["n_codes"]
    ('<!DOCTYPE html>', 4)
    """
    found = study_codebook(
        codebook,
        latents,
        labels=labels,
        decode=decode,
        images=images,
        coordinates=coordinates,
        inertia_history=inertia_history,
        random_state=random_state,
        n_jobs=n_jobs,
        progress=progress,
    )
    write_atomically(path, report_html(found, title=title).encode())
    return found.numbers


def report_html(found: Study, *, title: str = "codebook") -> str:
    """The page of a study.

    Parameters
    ----------
    found : Study
        Of `study_codebook`.
    title : str, default="codebook"
        What the page is about; any text.

    Returns
    -------
    str
        HTML that refers to nothing outside itself. The element ``geoquant-report`` holds the
        numbers as JSON.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report import report_html, study_codebook
    >>> x = np.arange(40, dtype=np.float32)[:, None]
    >>> found = study_codebook(gq.fit_codebook(x, 4, random_state=0).codebook, x)
    >>> "<title>geoquant: &lt;mine&gt;</title>" in report_html(found, title="<mine>")
    True
    """
    drawn = sections(found)
    shown = [section for section in drawn if section.pictures]
    parts = [
        _header(found, title),
        _verdict(found),
        _table(found),
        _navigation(shown),
        '<div class="questions">',
        *(_section(section) for section in shown),
        "</div>",
        _notes(found, [section for section in drawn if not section.pictures]),
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>geoquant: {escape(title)}</title>",
            f"<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            *parts,
            f'</main>\n<script type="application/json" id="{NUMBERS_ID}">',
            _json_in_page(found.numbers),
            f"</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


def _json_in_page(numbers: dict[str, Any]) -> str:
    """JSON in which nothing ends the element around it."""
    text = json.dumps(numbers, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _header(found: Study, title: str) -> str:
    numbers = found.numbers
    facts = (
        f"{numbers['n']:,} latents of {numbers['d']} dimensions, {numbers['n_codes']:,} codes, "
        f"{numbers['n_neighbors']} neighbours"
    )
    return (
        f"<header><h1>{escape(title)}</h1>"
        '<button id="theme" type="button" hidden aria-label="Light or dark">Dark</button></header>'
        f'\n<p class="facts">{facts}</p>'
    )


def _verdict(found: Study) -> str:
    said = verdict(found.numbers)
    points = "\n".join(f"<li>{_with_name(point)}</li>" for point in said.points)
    return f'<div class="verdict">\n<h2>{escape(said.headline)}</h2>\n<ul>\n{points}\n</ul>\n</div>'


def _with_name(point: str) -> str:
    """A point of the verdict, the words before its colon in bold."""
    name, colon, rest = point.partition(": ")
    return f"<b>{escape(name)}:</b> {escape(rest)}" if colon else escape(point)


def _table(found: Study) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{_cell(own, better > 0)}{_cell(other, better < 0)}'
        "</tr>"
        for name, own, other, better in comparisons(found.numbers)
    )
    return (
        '<div class="scroll"><table><thead><tr><th scope="col">mean over the latents</th>'
        '<th scope="col">geodesic</th><th scope="col">KMeans</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cell(value: float, is_best: bool) -> str:
    return f"<td{' class=' + chr(34) + 'best' + chr(34) if is_best else ''}>{value:.4g}</td>"


def _navigation(shown: list[Section]) -> str:
    links = "\n".join(f'<a href="#{s.name}">{escape(s.question)}</a>' for s in shown)
    return f'<nav aria-label="Questions">\n{links}\n</nav>'


def _section(section: Section) -> str:
    text = f"<p>{escape(section.text)}</p>\n" if section.text else ""
    pictures = "\n".join(map(_figure, section.pictures))
    wide = ' class="wide"' if len(section.pictures) > 1 else ""
    return (
        f'<section id="{section.name}"{wide}>\n<h2>{escape(section.question)}</h2>\n{text}'
        f'<div class="pictures">\n{pictures}\n</div>\n</section>'
    )


def _figure(picture: Picture) -> str:
    return f"<figure>{picture.svg}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def _notes(found: Study, missing: list[Section]) -> str:
    """How the numbers were made, and what is not there."""
    numbers = found.numbers
    notes = [
        "Distances along the data are lengths of shortest paths in the graph of nearest "
        "neighbours, built anew from the codebook's anchors.",
        f"KMeans is scikit-learn's, the best of {numbers['kmeans_starts']} starts, fitted on "
        f"{numbers['kmeans_rows']:,} latents.",
        "Codes tell labels on the latents that the majorities were taken of, so more codes tell "
        "more; both kinds have as many."
        if numbers["classes"]
        else "",
        "The latents are not the ones that the codebook was fitted on: each got the code of the "
        "centre nearest through the anchors near it. Graph, map, elbow and stability are of the "
        "anchors."
        if not numbers["latents_are_anchors"]
        else "",
        f"There are more latents than a report looks at; it took {numbers['n']:,} at random."
        if numbers["is_sample"]
        else "",
        f"The codebook holds a sample of its anchors ({numbers['thinned']['n_anchors']:,} of "
        f"{numbers['thinned']['of']:,}), so its graph is coarser than that of the fit."
        if numbers["thinned"]
        else "",
        "The codebook's edges were measured in the space of outputs; the graph here is measured "
        "among the latents, so its energies are not those of the fit."
        if numbers["has_own_unit"]
        else "",
        "The codewords were fitted through a decoder; the codes here follow the graph, as those of "
        "new latents do, and not the images."
        if numbers["codewords"] == "decoder"
        else "",
        *(f"{section.question} {section.text}" for section in missing),
        f"geoquant {numbers['geoquant_version']}; the numbers are in this file as JSON, in the "
        f"element {NUMBERS_ID}.",
    ]
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes if note)
    return f'<section id="notes">\n<h2>How this was made</h2>\n<ul>\n{items}\n</ul>\n</section>'
