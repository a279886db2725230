"""The Parquet file: read back with pyarrow and pandas, and failures that leave nothing."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant.errors import InputError, ResourceError
from geoquant.export import latent_table, parquet, write_parquet
from tests.export.conftest import N, some_images, some_latents

if TYPE_CHECKING:
    from pathlib import Path

    import geoquant as gq

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "latents.parquet"


def full_table(book: gq.Codebook, **more: Any) -> Any:
    return latent_table(
        book, some_latents(), images=some_images(), plane="geodesic", n_neighbors=4, **more
    )


def test_columns_are_those_of_the_table(book: gq.Codebook, file: Path) -> None:
    """Every value comes back, in the types that viewers take."""
    pandas = pytest.importorskip("pandas")
    from PIL import Image

    table = full_table(book, labels=np.arange(N) % 10)
    write_parquet(file, table)
    found = pandas.read_parquet(file)
    names = ["x", "y", "code", "distance", "row", "label", "image", "neighbors"]
    assert list(found.columns) == names
    assert np.array_equal(found[["x", "y"]].to_numpy(), table.plane)
    for name, column in (("code", table.codes), ("distance", table.distance)):
        assert np.array_equal(found[name].to_numpy(), column)
        assert found[name].dtype == column.dtype
    assert np.array_equal(found["label"], np.arange(N) % 10)
    assert np.array_equal(found["row"], np.arange(N))
    for row, entry in enumerate(found["neighbors"]):
        assert set(entry) == {"ids", "distances"}
        assert np.array_equal(entry["ids"], table.neighbors.index[row])
        assert np.array_equal(entry["distances"], table.neighbors.distance[row])
    for picture, entry in zip(some_images(), found["image"], strict=True):
        assert entry["path"] is None
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(entry["bytes"]))), picture)


def test_schema_is_that_of_embedding_atlas(book: gq.Codebook, file: Path) -> None:
    """Neighbours are a struct of two lists; the file says what the distance is."""
    write_parquet(file, full_table(book))
    schema = pq.read_schema(file)
    near = schema.field("neighbors").type
    assert near.field("ids").type == pa.list_(pa.int32())
    assert near.field("distances").type == pa.list_(pa.float32())
    assert [field.name for field in schema.field("image").type] == ["bytes", "path"]
    said = json.loads(schema.metadata[b"geoquant"])
    assert said["distance"] == "along the data to the centre of the code, in units of the latents"
    assert said["schema_version"] == 1


def test_only_what_there_is_has_a_column(
    book: gq.Codebook, stages: gq.MultistageCodebook, file: Path
) -> None:
    """Without map, labels, images and neighbours; and with a column for each stage."""
    write_parquet(file, latent_table(book))
    assert pq.read_schema(file).names == ["code", "distance", "row"]
    table = latent_table(stages, some_latents())
    write_parquet(file, table)
    found = pq.read_table(file)
    assert found.schema.names == ["code_1", "code_2", "distance", "row"]
    assert np.array_equal(found["code_2"].to_numpy(), table.codes[:, 1])


@pytest.mark.parametrize("step", [1, 7, 30, N, 1000])
def test_groups_join_to_the_whole(
    book: gq.Codebook, file: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Cut anywhere, the rows are the same, and each group is of that many."""
    table = full_table(book, labels=[f"class {row % 3}" for row in range(N)])
    write_parquet(file, table)
    whole = pq.read_table(file)
    monkeypatch.setattr(parquet, "_ROWS_WITH_IMAGES", step)
    write_parquet(file, table)
    assert pq.ParquetFile(file).num_row_groups == -(-N // step)
    assert pq.read_table(file).equals(whole)


@pytest.mark.parametrize(
    "labels",
    [
        np.arange(N, dtype=">i2"),
        np.arange(N) / 7,
        np.arange(N) % 2 == 0,
        np.array(['tab\t"quote"\nline', "ünï😀", ""] * (N // 3)),
    ],
    ids=["big-endian", "floats", "truth values", "text"],
)
def test_labels_come_back(book: gq.Codebook, file: Path, labels: np.ndarray) -> None:
    """Of any kind, and with any text."""
    write_parquet(file, latent_table(book, some_latents(), labels=labels))
    assert pq.read_table(file)["label"].to_pylist() == labels.tolist()


def test_half_a_character_is_replaced(book: gq.Codebook, file: Path) -> None:
    """A lone surrogate, which a name of a file may hold, does not stop the export."""
    write_parquet(file, latent_table(book, some_latents(2), labels=["a\ud800b", "c"]))
    assert pq.read_table(file)["label"].to_pylist() == ["a?b", "c"]


def test_images_are_read_when_they_are_written(book: gq.Codebook, file: Path) -> None:
    """Group by group, each image once."""

    class Lazy:
        asked: list[tuple[int, int]]

        def __init__(self) -> None:
            self.asked = []

        def __len__(self) -> int:
            return N

        def __getitem__(self, rows: slice) -> np.ndarray:
            self.asked.append((rows.start, rows.stop))
            return some_images()[rows]

    lazy = Lazy()
    table = latent_table(book, some_latents(), images=lazy)
    assert lazy.asked == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_ROWS_WITH_IMAGES", 40)
        write_parquet(file, table)
    assert lazy.asked == [(0, 40), (40, 80), (80, 120)]


def test_what_fails_half_way_leaves_nothing(book: gq.Codebook, file: Path) -> None:
    """Images that turn bad in the last group: no file, and an older one as it was."""
    images = some_images().astype(np.float32) / 255
    images[-1, 0, 0] = np.nan
    table = latent_table(book, some_latents(), images=images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_ROWS_WITH_IMAGES", 40)
        for before in (None, b"old"):
            if before is not None:
                file.write_bytes(before)
            with pytest.raises(InputError, match=r"images must be uint8, or floats in \[0, 1\]"):
                write_parquet(file, table)
            assert [path.read_bytes() for path in file.parent.iterdir()] == [before][: bool(before)]


def test_full_disk_leaves_nothing(
    book: gq.Codebook, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the system has the file's name."""
    import errno
    import os

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    table = latent_table(book, some_latents())
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(ResourceError, match=r"latents\.parquet: cannot be written"):
            write_parquet(file, table)
    assert list(file.parent.iterdir()) == []


def test_same_table_same_bytes(book: gq.Codebook, tmp_path: Path) -> None:
    """Nothing in the file depends on the time or on threads."""
    for name, n_jobs in (("a", 1), ("b", 2)):
        write_parquet(tmp_path / name, full_table(book, n_jobs=n_jobs))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_without_pyarrow_the_cure_is_named(
    book: gq.Codebook, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else in geoquant.export goes without it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'geoquant\[io\]'"):
        write_parquet(file, latent_table(book))
