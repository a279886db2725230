"""A codebook as a folder of the shape that the Hugging Face Hub knows."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from geoquant.card import card_files, codebook_card
from geoquant.codebook import FILE_IN_FOLDER, Codebook
from geoquant.files import PathLike, write_folder

if TYPE_CHECKING:
    from geoquant.multistage import MultistageCodebook

CONFIG_FILE = "config.json"


def write_codebook_folder(folder: PathLike, codebook: Codebook | MultistageCodebook) -> None:
    """Write a codebook as ``config.json``, ``model.safetensors`` and a card, all or none.

    `geoquant.load_codebook` reads such a folder. What it needs is in ``model.safetensors`` alone;
    ``config.json`` says the same to programs that do not know the format.

    Parameters
    ----------
    folder : str or PathLike
        Made if it is not there. A README.md in it that somebody made their own stays.
    codebook : Codebook or MultistageCodebook
        What is written.

    Raises
    ------
    InputError, ResourceError, OSError
        As `Codebook.save`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.export import write_codebook_folder
    >>> v = np.array([[0.0], [9.0]], np.float32)
    >>> book = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_codebook_folder(folder, book)
    ...     names = sorted(path.name for path in pathlib.Path(folder).iterdir())
    ...     names, gq.load_codebook(folder).n_codes
    (['README.md', 'config.json', 'model.safetensors'], 2)
    """
    write_folder(
        folder,
        {
            CONFIG_FILE: json_bytes(_config(codebook)),
            FILE_IN_FOLDER: codebook.file_blocks(),
            **card_files(folder, codebook_card(codebook)),
        },
    )


def json_bytes(content: dict[str, Any]) -> bytes:
    r"""Content of a JSON file, the same for the same content.

    Examples
    --------
    >>> from geoquant.export.folder import json_bytes
    >>> json_bytes({"b": 1, "a": 2})
    b'{\n  "a": 2,\n  "b": 1\n}\n'
    """
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _config(codebook: Codebook | MultistageCodebook) -> dict[str, Any]:
    shared = {
        "schema_version": 1,
        "geoquant_version": version("geoquant"),
        "dim": codebook.dim,
        "n_codes": codebook.n_codes,
        "metadata": codebook.metadata,
    }
    if isinstance(codebook, Codebook):
        return {
            **shared,
            "model_type": "geoquant-codebook",
            "n_anchors": codebook.n_anchors,
            "n_neighbors": codebook.n_neighbors,
        }
    return {
        **shared,
        "model_type": "geoquant-multistage-codebook",
        "kind": codebook.kind,
        "beam": codebook.beam,
        "dims": [stage.dim for stage in codebook.stages],
        "n_anchors": [stage.n_anchors for stage in codebook.stages],
    }
