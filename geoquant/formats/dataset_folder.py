"""Folders that Hugging Face's ``datasets`` wrote with ``save_to_disk``, read without that library.

They hold Arrow streams, whose names are in a JSON file.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geoquant.errors import FileFormatError
from geoquant.files import read_json_object
from geoquant.formats.arrow_ipc import open_arrow
from geoquant.formats.shards import is_plain_name, open_concatenated
from geoquant.formats.stored import PathLike, Stored, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_JSON_BYTES = 64 << 20
_CURE = "write it anew with dataset.save_to_disk(folder)"


@contextmanager
def open_dataset(folder: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open columns of a Hugging Face dataset on disk.

    Parameters
    ----------
    folder : str or PathLike
        What ``save_to_disk`` wrote, of a ``Dataset`` or a ``DatasetDict``.
    key : str, optional
        The column, or several, as for :func:`geoquant.formats.columns.chosen_columns`; of a
        ``DatasetDict`` after the split, as in ``train/z``.

    Yields
    ------
    Stored

    Raises
    ------
    FileFormatError
        If a file is missing or damaged, or there is no such column or split.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> import pyarrow as pa
    >>> from geoquant.formats.dataset_folder import open_dataset
    >>> table = pa.table({"z": [[1.0, 2.0]]})
    >>> state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "state.json").write_text(json.dumps(state))
    ...     path = pathlib.Path(folder, "data-00000-of-00001.arrow")
    ...     with pa.ipc.new_stream(str(path), table.schema) as writer:
    ...         writer.write_table(table)
    ...     with open_dataset(folder) as stored:
    ...         stored.read().tolist()
    [[1.0, 2.0]]
    """
    where = os.fspath(folder)
    if os.path.lexists(os.path.join(where, "dataset_dict.json")):
        where, key = _split(where, key)
    state = read_json_object(os.path.join(where, "state.json"), max_bytes=_MAX_JSON_BYTES)
    names = _data_files(state, os.path.join(where, "state.json"))
    paths = [os.path.join(where, name) for name in names]
    with open_concatenated(paths, key, open_arrow) as stored:
        yield stored


def _split(folder: str, key: str | None) -> tuple[str, str | None]:
    """Folder of the split that a key begins with, and the rest of the key."""
    manifest = os.path.join(folder, "dataset_dict.json")
    splits = read_json_object(manifest, max_bytes=_MAX_JSON_BYTES).get("splits")
    if not isinstance(splits, list) or not splits or not all(map(is_plain_name, splits)):
        raise FileFormatError(f"{manifest}: must list the splits; {_CURE}")
    split, _, column = (key or "").strip("/").partition("/")
    if not split and len(splits) == 1:
        split = splits[0]
    if split not in splits:
        raise FileFormatError(
            f"{folder}: there is {f'no split {split!r}' if split else 'not exactly one split'}; "
            f"choose one with key=split/column: {listed(splits)}"
        )
    return os.path.join(folder, split), column or None


def _data_files(state: dict[str, Any], where: str) -> list[str]:
    found = state.get("_data_files")
    files = found if isinstance(found, list) else []
    names = [one.get("filename") if isinstance(one, dict) else None for one in files]
    if not names or not all(map(is_plain_name, names)):
        raise FileFormatError(f"{where}: must list the files of the dataset; {_CURE}")
    if state.get("_indices_data_files"):
        raise FileFormatError(
            f"{where}: the dataset is a selection of rows; write it anew with "
            "dataset.flatten_indices().save_to_disk(folder)"
        )
    return [str(name) for name in names]
