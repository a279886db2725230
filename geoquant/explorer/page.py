"""The page itself: one file of markup, style, script and data."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from geoquant.explorer.content import page_content
from geoquant.explorer.scene import scene_of
from geoquant.files import PathLike, write_atomically

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.codebook import Codebook

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def write_explorer(
    path: PathLike,
    codebook: Codebook,
    latents: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    decode: Any = None,
    images: npt.ArrayLike | None = None,
    plane: npt.ArrayLike | None = None,
    n_neighbors: int | None = None,
    max_points: int = 200_000,
    title: str = "Latents and their codes",
    random_state: int = 0,
    n_jobs: int | None = None,
) -> dict[str, Any]:
    """Write latents and their codes as a page to explore: one file that needs nothing else.

    The page shows the latents in the plane, each with its code and, if it can, what is decoded of
    it; between two of them the shortest path along the data beside the straight chord.

    Parameters
    ----------
    path : path
        The ``.html`` file to write; an older one is replaced.
    codebook : Codebook
        Of one stage.
    latents : array_like of shape (n, d)
        Those that the codebook was fitted on, or others of the same model.
    labels : array_like of shape (n,), int or str, optional
        A class of each latent, to colour by.
    decode : LayeredDecoder, VAEAdapter or callable, optional
        From latents (m, d) to images (m, C, H, W) in [0, 1], of 1 or 3 channels. A
        `LayeredDecoder`, and an adapter's decoder of linear layers, is computed by the page, so
        that any latent is decoded; of others it holds decoded codewords and points.
    images : array_like of shape (n, C, H, W), optional
        What the latents were encoded from, floats in [0, 1] or bytes; the page holds a part.
    plane : array_like of shape (n, 2), optional
        Where each latent is drawn; default: :func:`geoquant.plane.plane_map`.
    n_neighbors : int, optional
        Of the graph that paths lead along; default: the codebook's.
    max_points : int, default=200_000
        Of more latents a sample is shown, and the page says so; of more than 100 numbers each,
        fewer.
    title : str
        Heading of the page.
    random_state : int, default=0
        Chooses samples.
    n_jobs : int, optional
        Threads.

    Returns
    -------
    dict
        "n", "n_shown", "n_codes", "decoder" ("layers", "atlas" or None), "n_samples" (images) and
        "bytes", for a summary.

    Raises
    ------
    InputError
        If an argument cannot be used, or the codebook has several stages.
    ResourceError
        If the disk is full.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoquant as gq
    >>> from geoquant.explorer import write_explorer
    >>> x = [[0.0, 0.0], [1.0, 0.0], [8.0, 0.0], [9.0, 1.0]]
    >>> book = gq.fit_codebook(x, 2, random_state=0).codebook
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_explorer(pathlib.Path(folder, "latent.html"), book, x)["n_shown"]
    4
    """
    scene = scene_of(
        codebook,
        latents,
        labels=labels,
        plane=plane,
        n_neighbors=n_neighbors,
        max_points=max_points,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    content = page_content(scene, title=title, decode=decode, images=images)
    page = page_of(content).encode()
    write_atomically(path, page)
    decoder, samples = content["decoder"], content["samples"]
    return {
        "n": scene.n_latents,
        "n_shown": scene.n_points,
        "n_codes": scene.n_codes,
        "decoder": None if decoder is None else decoder["kind"],
        "n_samples": 0 if samples is None else len(samples["node"]),
        "bytes": len(page),
    }


def page_of(content: dict[str, Any]) -> str:
    """The whole page around its data.

    Parameters
    ----------
    content : dict
        What `page_content` gives.

    Returns
    -------
    str
        HTML; whatever comes from the user is escaped.
    """
    style, script = (_source(f"page.{kind}") for kind in ("css", "js"))
    parts = {
        "policy": _policy(style, script),
        "title": html.escape(content["title"]),
        "style": style,
        "script": script,
        "data": _json_for_html(content),
    }
    # In one go, so that no text of a user is taken for a placeholder.
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], _source("page.html"))


def _source(name: str) -> str:
    return files("geoquant.explorer").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, and only this style and this script may be used."""
    rules = [
        "default-src 'none'",
        "img-src data:",
        f"style-src '{_source_hash(style)}'",
        f"script-src '{_source_hash(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _json_for_html(content: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")
