"""Model cards: the README.md of what is saved as a folder, for people and the Hugging Face Hub.

Text of users stands in it only as JSON within a fence, where no Markdown or HTML is read.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geoquant import quality
from geoquant.assignment import nearest_codeword
from geoquant.codebook import Codebook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoquant.files import PathLike
    from geoquant.multistage import MultistageCodebook

CARD_FILE = "README.md"
#: What tells a card that may be written anew from one that somebody made their own.
MARKER = "<!-- Written by geoquant. Delete this line to keep what you change here. -->"
_TAGS = ("geoquant", "vector-quantization", "geodesic")

_LIMITS = (
    "The codes mean something for latents of the encoder that the codebook was fitted to, and for "
    "no others.",
    "Every latent gets a code, also one far from all that the fit has seen; `geoquant.assign` says "
    "how far it is.",
)
_GEODESIC_LIMITS = (
    "Codes are assigned along the data, through the anchors. A library that looks for the nearest "
    "codeword instead gives other codes to some latents.",
)


@dataclass(frozen=True)
class Card:
    """What a model card says.

    Parameters
    ----------
    title : str
        Of the page; no text of users.
    summary : str
        What it is, in a sentence or two.
    usage : str
        Python that loads and uses it.
    facts : mapping of str to str
        A table of what was measured or counted.
    made : mapping of str to object
        How it was made, in terms that JSON knows.
    limits : sequence of str
        What it cannot do.
    tags : sequence of str
        For the Hub, beside those that every card has.
    package : str, default="geoquant"
        What loads it.

    Examples
    --------
    >>> from geoquant.card import Card
    >>> Card("A codebook", "Of two codes.", "import geoquant as gq").text().splitlines()[:2]
    ['---', 'library_name: geoquant']
    """

    title: str
    summary: str
    usage: str
    facts: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    limits: Sequence[str] = ()
    tags: Sequence[str] = ()
    package: str = "geoquant"

    def text(self) -> str:
        """The page, in Markdown below a front matter of YAML.

        Returns
        -------
        str
            The same for the same content.
        """
        parts = [
            _front_matter(self.package, self.tags),
            f"# {self.title}",
            self.summary,
            f"## Use\n\n```python\n{self.usage}\n```",
        ]
        if self.facts:
            rows = "\n".join(f"| {name} | {value} |" for name, value in self.facts.items())
            parts.append(f"## Facts\n\n| | |\n|---|---|\n{rows}")
        if self.made:
            made = json.dumps(self.made, indent=2, sort_keys=True)
            parts.append(f"## How it was made\n\n```json\n{made}\n```")
        if self.limits:
            parts.append("## Limits\n\n" + "\n".join(f"- {limit}" for limit in self.limits))
        return "\n\n".join([*parts, MARKER]) + "\n"


def _front_matter(package: str, tags: Sequence[str]) -> str:
    listed = "\n".join(f"- {tag}" for tag in (*_TAGS, *tags))
    return f"---\nlibrary_name: {package}\ntags:\n{listed}\n---"


def is_own_card(path: PathLike) -> bool:
    """Whether a file is a card that somebody wrote or changed, and which therefore stays.

    Parameters
    ----------
    path : str or PathLike
        Where a card is to be written.

    Returns
    -------
    bool
        False if there is no such file, or it still has the line that marks cards of geoquant.

    Examples
    --------
    >>> from geoquant.card import is_own_card
    >>> is_own_card("nowhere/README.md")
    False
    """
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8", errors="replace") as stream:
        return MARKER not in stream.read()


def card_files(folder: PathLike, card: Card) -> dict[str, bytes]:
    """The card as a file of a folder, unless that has one that somebody made their own.

    Parameters
    ----------
    folder : str or PathLike
        Where it goes.
    card : Card
        What it says.

    Returns
    -------
    dict of str to bytes
        For `write_folder`; empty if the card in the folder stays.

    Examples
    --------
    >>> from geoquant.card import Card, card_files
    >>> list(card_files("nowhere", Card("A codebook", "Of two codes.", "")))
    ['README.md']
    """
    if is_own_card(os.path.join(folder, CARD_FILE)):
        return {}
    return {CARD_FILE: card.text().encode()}


def codebook_card(codebook: Codebook | MultistageCodebook) -> Card:
    """The card of a codebook.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        What it is about. Numbers are measured on its anchors, the latents that it keeps.

    Returns
    -------
    Card

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.card import codebook_card
    >>> v = np.array([[0.0], [9.0]], np.float32)
    >>> book = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> codebook_card(book).title
    'A codebook of 2 codes for latents of 1 number'
    """
    limits: tuple[str, ...] = _LIMITS
    if isinstance(codebook, Codebook):
        facts, limits = codebook_facts(codebook), (*limits, *_GEODESIC_LIMITS)
    else:
        facts = stage_facts(codebook)
    return Card(
        title=_title(codebook),
        summary="Discrete codes for the latents of a trained autoencoder, measured along the data "
        "by geoquant." + _made_from(codebook),
        usage="import geoquant as gq\n\n"
        'codebook = gq.load_codebook("path/to/this/folder")\n'
        "codes = codebook.assign(latents)  # (n, d) floats to integers\n"
        "latents_again = codebook.lookup(codes)  # what a decoder is fed",
        facts=facts,
        made=codebook.metadata,
        limits=limits,
    )


def _title(book: Codebook | MultistageCodebook) -> str:
    codes = book.n_codes
    words = f"{codes}" if isinstance(codes, int) else " × ".join(map(str, codes))
    return f"A codebook of {words} codes for latents of {_counted(book.dim, 'number')}"


def _made_from(book: Codebook | MultistageCodebook) -> str:
    n = book.metadata.get("n_latents")
    return f" It was fitted to {_counted(n, 'latent')}." if isinstance(n, int) else ""


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def codebook_facts(book: Codebook) -> dict[str, str]:
    """What a card tells of a codebook of one stage, measured on its anchors.

    Parameters
    ----------
    book : Codebook
        To be measured.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.card import codebook_facts
    >>> v = np.array([[0.0], [9.0]], np.float32)
    >>> book = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> codebook_facts(book)["codes that anchors have"]
    '2 of 2'
    """
    codes, k = book.anchor_code, book.n_codes
    straight = nearest_codeword(book.anchors, book.vectors)
    unit = "outputs" if book.metadata.get("edge_lengths") == "outputs" else "latents"
    distortion = quality.euclidean_distortion(book.anchors, book.vectors, codes)
    return {
        "anchors, the latents that new ones are compared with": f"{book.n_anchors:,}",
        "anchors considered for each new latent": f"{book.n_neighbors}",
        "codes that anchors have": f"{k - len(quality.dead_codes(codes, k)):,} of {k:,}",
        "perplexity of the anchors' codes": f"{quality.perplexity(codes, k):.2f}",
        f"mean distance of an anchor to its centre along the data, in units of the {unit}": (
            f"{book.anchor_distance.mean():.5g}"
        ),
        "mean squared straight distance of an anchor to its codeword": f"{distortion:.5g}",
        "anchors whose nearest codeword in a straight line is another": (
            f"{1 - quality.agreement(codes, straight):.1%}"
        ),
    }


def stage_facts(book: MultistageCodebook) -> dict[str, str]:
    """What a card tells of a codebook of stages.

    Parameters
    ----------
    book : MultistageCodebook
        To be described.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.card import stage_facts
    >>> v = np.array([[0.0], [9.0]], np.float32)
    >>> stage = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> stage_facts(gq.MultistageCodebook((stage, stage), "residual"))["codes of a latent"]
    '2'
    """
    is_residual = book.kind == "residual"
    facts = {
        "codes of a latent": f"{book.n_stages}",
        "how they make up a latent": (
            "residual: their codewords are added"
            if is_residual
            else "product: their codewords stand side by side"
        ),
        "codes of each stage": " × ".join(map(str, book.n_codes)),
        "numbers of each stage": ", ".join(str(stage.dim) for stage in book.stages),
    }
    if is_residual:
        facts["prefixes that encoding keeps (beam)"] = str(book.beam)
    return facts
