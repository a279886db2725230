"""Folders of Hugging Face's save_to_disk, made with pyarrow alone as that library makes them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant.errors import FileFormatError
from geoquant.latents import latents_shape, read_latents

pa = pytest.importorskip("pyarrow")

if TYPE_CHECKING:
    from pathlib import Path

GRID = np.arange(24, dtype=np.float32).reshape(8, 3)


def save(folder: Path, n_files: int = 1, **state: Any) -> Path:
    """A dataset of a column of latents and one of text."""
    folder.mkdir(parents=True)
    table = pa.table({"z": list(GRID), "text": ["a"] * 8, "label": range(8)})
    names = [f"data-{i:05}-of-{n_files:05}.arrow" for i in range(n_files)]
    for i, name in enumerate(names):
        part = table.slice(i * 8 // n_files, 8 // n_files)
        with pa.ipc.new_stream(str(folder / name), table.schema) as writer:
            writer.write_table(part)
    (folder / "dataset_info.json").write_text("{}")
    files = [{"filename": name} for name in names]
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_split": None} | state))
    return folder


@pytest.mark.parametrize("n_files", [1, 2, 4])
def test_datasets(tmp_path: Path, n_files: int) -> None:
    """A column of all files is read in their order."""
    folder = save(tmp_path / "in", n_files)
    assert latents_shape(folder, "z") == (8, 3)
    for key in (None, "z"):
        np.testing.assert_array_equal(read_latents(folder, key), GRID, strict=True)
    assert read_latents(folder, "label").tolist() == list(range(8))
    with pytest.raises(FileFormatError, match=r"no column 'y'; .*'z', 'text', 'label'"):
        read_latents(folder, "y")


def test_splits(tmp_path: Path) -> None:
    """The key names a split before the column, where there are several."""
    folder = tmp_path / "in"
    save(folder / "train", 2)
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    for key in (None, "train", "train/z", "/train/z"):
        np.testing.assert_array_equal(read_latents(folder, key), GRID)
    save(folder / "test")
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    np.testing.assert_array_equal(read_latents(f"{folder}::/test/z"), GRID)
    listed = "choose one with key=split/column: 'train', 'test'"
    with pytest.raises(FileFormatError, match=f"not exactly one split; {listed}"):
        read_latents(folder)
    with pytest.raises(FileFormatError, match=f"no split 'z'; {listed}"):
        read_latents(folder, "z")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_data_files": None}, "must list the files"),
        ({"_data_files": []}, "must list the files"),
        ({"_data_files": ["a"]}, "must list the files"),
        ({"_data_files": 3}, "must list the files"),
        ({"_data_files": [{"filename": "../x.arrow"}]}, "must list the files"),
        ({"_data_files": [{"filename": "x.arrow"}]}, r"x\.arrow: no such file"),
        ({"_indices_data_files": [{"filename": "i.arrow"}]}, "flatten_indices"),
    ],
)
def test_states_that_are_refused(tmp_path: Path, state: dict[str, Any], message: str) -> None:
    """No state leads out of its folder."""
    folder = save(tmp_path / "in", **state)
    with pytest.raises(FileFormatError, match=message):
        latents_shape(folder)


def test_damaged_folders(tmp_path: Path) -> None:
    """Missing and damaged files are named."""
    folder = save(tmp_path / "in", 2)
    data = folder / "data-00001-of-00002.arrow"
    data.write_bytes(data.read_bytes()[:-20])
    with pytest.raises(FileFormatError, match=r"data-00001-of-00002\.arrow: "):
        read_latents(folder)
    (folder / "state.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"state\.json: is not strict JSON"):
        read_latents(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    for splits in ("3", "[]", '["../a"]'):
        (folder / "dataset_dict.json").write_text(f'{{"splits": {splits}}}')
        with pytest.raises(FileFormatError, match="must list the splits"):
            read_latents(folder)
