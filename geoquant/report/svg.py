"""Figures as SVG that takes on the colours of the page around it."""

from __future__ import annotations

import html
import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from geoquant.report.plots import GEODESIC, KMEANS

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Colours that stand for those of the page until the figure is in it.
_INK, _MUTED, _SURFACE = "#010203", "#040506", "#070809"
_OF_PAGE = {
    _INK: "currentColor",
    _MUTED: "var(--muted)",
    _SURFACE: "var(--surface)",
    GEODESIC: "var(--geodesic)",
    KMEANS: "var(--kmeans)",
}
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "legend.edgecolor": "none",
    "legend.facecolor": _SURFACE,
    "legend.fontsize": 9,
    "legend.framealpha": 0.85,
    "savefig.dpi": 170,
    "svg.fonttype": "none",
    "svg.hashsalt": "geoquant",
    "text.color": _INK,
    "xtick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.color": _MUTED,
    "ytick.labelcolor": _INK,
}
_NAMES = re.compile(r'\b(id="|xlink:href="#|href="#|url\(#)([\w.-]+)')


@contextmanager
def page_style() -> Iterator[None]:
    """Draw in colours that `inline_svg` turns into those of the page."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width: float = 4.6, height: float = 3.4, *, is_bare: bool = False) -> Any:
    """Axes of a figure that belongs to no window.

    Parameters
    ----------
    width, height : float
        In inches.
    is_bare : bool, default=False
        Whether the axes fill the figure.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from geoquant.report.svg import new_figure
    >>> float(new_figure(3.0, 2.0).figure.get_figwidth())
    3.0
    """
    figure = Figure(figsize=(width, height), layout=None if is_bare else "constrained")
    return figure.add_axes((0, 0, 1, 1)) if is_bare else figure.add_subplot()


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """A figure as an element of a page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn within `page_style`.
    name : str
        Of letters, different for every figure of the page: what its parts are named after.
    alt : str
        What is to be seen, for those who do not see it.

    Returns
    -------
    str
        An ``<svg>`` without any address, in the colours ``currentColor``, ``--muted``,
        ``--surface``, ``--geodesic`` and ``--kmeans`` of the page.

    Examples
    --------
    >>> from geoquant.report.svg import inline_svg, new_figure, page_style
    >>> with page_style():
    ...     svg = inline_svg(new_figure().figure, "nothing", "Empty axes.")
    >>> svg[:37], "http" in svg
    ('<svg role="img" aria-label="Empty axe', False)
    """
    stream = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    view = re.search(r'viewBox="([^"]+)"', svg)
    opening = f'<svg role="img" aria-label="{html.escape(alt)}"'
    opening += f' viewBox="{view[1]}">' if view else ">"
    svg = re.sub(r"^<svg[^>]*>", lambda _: opening, svg)
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', svg))
    svg = _NAMES.sub(lambda m: f"{m[1]}{name}-{m[2]}" if m[2] in used else m[0], svg)
    svg = re.sub(r' id="(?!' + re.escape(name) + r'-)[\w.-]+"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for colour, of_page in _OF_PAGE.items():
        svg = svg.replace(colour, of_page)
    return svg
