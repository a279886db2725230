"""Latents and codes as Parquet, in the columns that viewers of millions of points take."""

from __future__ import annotations

import io
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from geoquant.files import PathLike, write_atomically
from geoquant.pictures import pixels_of, png_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoquant.export.table import Images, LatentTable
    from geoquant.graph.knn import Neighbors

#: Rows that are held as Arrow and as Parquet at a time.
_ROWS, _ROWS_WITH_IMAGES = 1 << 16, 1 << 13


def write_parquet(path: PathLike, table: LatentTable) -> None:
    """Write a table as Parquet, whole or not at all.

    Columns are ``x`` and ``y`` (with a map), ``code`` (``code_1``, ``code_2`` ... of stages),
    ``distance``, ``row``, ``label`` (with labels), ``image`` (with images: a struct of PNG
    ``bytes`` and an empty ``path``, as in data sets of Hugging Face) and ``neighbors`` (with
    neighbours: a struct of lists ``ids`` and ``distances``, nearest first, the ids counted from 0
    in the file). Embedding Atlas takes them as they are: ``embedding-atlas FILE --x x --y y
    --neighbors neighbors``. Rows are written in groups, of which one is in memory at a time.

    Parameters
    ----------
    path : str or PathLike
        The file to write; an older one is replaced.
    table : LatentTable
        What `latent_table` gathered.

    Raises
    ------
    ImportError
        If pyarrow is missing, or Pillow where there are images.
    InputError
        If the images cannot be used.
    ResourceError, OSError
        As `geoquant.files.write_atomically`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoquant as gq
    >>> from geoquant.export import latent_table, write_parquet
    >>> book = gq.fit_codebook([[0.0], [1.0], [8.0], [9.0]], 2, random_state=0).codebook
    >>> table = latent_table(book, [[0.5], [8.5], [1.0]], plane="geodesic", n_neighbors=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.parquet")
    ...     write_parquet(path, table)  # doctest: +SKIP
    """
    write_atomically(path, _blocks(table, load_pyarrow()))


def load_pyarrow() -> Any:
    """The library that writes Parquet, or the error that says how to get it.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed.

    Examples
    --------
    >>> from geoquant.export.parquet import load_pyarrow
    >>> load_pyarrow().__name__  # doctest: +SKIP
    'pyarrow'
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ImportError(
            "geoquant.export writes Parquet with pyarrow, which is not installed; "
            "install it with: pip install 'geoquant[io]'"
        ) from error
    return pyarrow


class _Sink(io.RawIOBase):
    """What a writer writes to: blocks that can be taken away meanwhile."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._n_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._n_bytes

    def write(self, block: Any, /) -> int:
        self._blocks.append(bytes(block))
        self._n_bytes += len(self._blocks[-1])
        return len(self._blocks[-1])

    def taken(self) -> list[bytes]:
        """What was written since the last call."""
        blocks, self._blocks = self._blocks, []
        return blocks


def _blocks(table: LatentTable, pa: Any) -> Iterator[bytes]:
    """The content of the file, group by group."""
    step = _ROWS if table.images is None else _ROWS_WITH_IMAGES
    groups = [slice(start, start + step) for start in range(0, len(table), step)]
    sink = _Sink()
    first = _group(table, groups[0], pa)
    schema = first.schema.with_metadata({"geoquant": _said_of(table)})
    with pa.parquet.ParquetWriter(sink, schema) as writer:
        for rows in groups:
            group = first if rows is groups[0] else _group(table, rows, pa)
            first = None
            writer.write_table(group.cast(schema), row_group_size=step)
            yield from sink.taken()
    yield from sink.taken()


def _said_of(table: LatentTable) -> str:
    return json.dumps(
        {"schema_version": 1, "geoquant_version": version("geoquant"), "distance": table.unit}
    )


def _group(table: LatentTable, rows: slice, pa: Any) -> Any:
    columns: dict[str, Any] = {}
    if table.plane is not None:
        columns |= {"x": table.plane[rows, 0], "y": table.plane[rows, 1]}
    columns |= {name: codes[rows] for name, codes in table.code_columns().items()}
    columns |= {"distance": table.distance[rows], "row": table.row[rows]}
    if table.labels is not None:
        columns["label"] = _labels(table.labels[rows], pa)
    if table.images is not None:
        columns["image"] = _images(table.images, rows, pa)
    if table.neighbors is not None:
        columns["neighbors"] = _neighbors(table.neighbors, rows, pa)
    return pa.table(columns)


def _labels(labels: Any, pa: Any) -> Any:
    if labels.dtype.kind != "U":
        return pa.array(labels.astype(labels.dtype.newbyteorder("=")))
    # Half a character, which Python's strings may hold, is none in UTF-8.
    return pa.array([text.encode("utf-8", "replace").decode() for text in labels.tolist()])


def _images(images: Images, rows: slice, pa: Any) -> Any:
    files = pa.array([png_of(picture) for picture in pixels_of(images[rows])], pa.binary())
    return pa.StructArray.from_arrays(
        [files, pa.nulls(len(files), pa.string())], names=["bytes", "path"]
    )


def _neighbors(near: Neighbors, rows: slice, pa: Any) -> Any:
    ids, distances = near.index[rows], near.distance[rows]
    starts = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * np.int32(ids.shape[1]))
    lists = [
        pa.ListArray.from_arrays(starts, pa.array(column.ravel())) for column in (ids, distances)
    ]
    return pa.StructArray.from_arrays(lists, names=["ids", "distances"])
