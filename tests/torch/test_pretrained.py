"""Folders of models: what is written, and everything that is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from geoquant.errors import FileFormatError
from geoquant.tensor_files import read_safetensors, write_safetensors
from geoquant.torch.pretrained import Pretrained, model_config

if TYPE_CHECKING:
    from pathlib import Path


class Scale(Pretrained, nn.Module, model_type="test-scale"):
    """A small model with a parameter, a buffer and a configuration."""

    def __init__(self, dim: int, factor: float = 2.0) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError("dim must be at least 1")
        self.weight = nn.Parameter(torch.full((dim,), factor))
        self.register_buffer("count", torch.tensor(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = Scale(2, factor=0.5)
    with torch.no_grad():
        model.weight[0] = 7
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_saved_is_loaded(folder: Path) -> None:
    """A model comes back with its configuration and weights, in evaluation mode."""
    model = Scale.from_pretrained(folder)
    assert model.weight.tolist() == [7, 0.5]
    assert model.count.item() == 3
    assert not model.training
    assert model_config(folder) == {"dim": 2, "factor": 0.5, "model_type": "test-scale"}


def test_three_files_are_written(folder: Path) -> None:
    """A folder holds the configuration, the weights and a card, and nothing else."""
    files = sorted(file.name for file in folder.iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]


def test_card_is_that_of_the_class(folder: Path) -> None:
    """It says how the model is loaded, and what it was made with; Hugging Face's call gives it."""
    text = (folder / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: geoquant\ntags:\n- geoquant\n")
    assert "- pytorch_model_hub_mixin\n" in text
    assert "license" not in text
    assert "# Scale of geoquant\n\nA small model with a parameter, a buffer and a" in text
    assert "| numbers in it | 3 |" in text
    assert f"from {Scale.__module__} import Scale\n\nmodel = Scale.from_pretrained(" in text
    assert '"factor": 0.5' in text
    assert str(Scale(2, factor=0.5).generate_model_card()).strip() == text.strip()


def test_card_that_somebody_made_their_own_stays(folder: Path) -> None:
    """Ours is written anew; one without our line is not."""
    card = folder / "README.md"
    ours = card.read_text()
    card.write_text(ours.replace("factor", "faktor"))
    Scale(2, factor=0.5).save_pretrained(folder)
    assert card.read_text() == ours
    card.write_text("# Mine\n")
    Scale(2).save_pretrained(folder)
    assert card.read_text() == "# Mine\n"
    assert model_config(folder)["factor"] == 2.0


def test_what_cannot_be_saved_leaves_no_folder(tmp_path: Path) -> None:
    """A name that no file can have, and the folders made for it are gone again."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Scale(2).save_pretrained(tmp_path / "file" / "model")
    (tmp_path / "taken" / "config.json").mkdir(parents=True)
    with pytest.raises(OSError, match=r"config\.json"):
        Scale(2).save_pretrained(tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["config.json"]


def test_folder_with_a_pickle_is_refused(folder: Path) -> None:
    """What would have to be unpickled is named, and not opened."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileFormatError, match=r"pytorch_model\.bin.*could run code.*convert"):
        Scale.from_pretrained(folder)


def test_other_type_is_refused(folder: Path) -> None:
    """The folder of another kind of model is not loaded."""
    change_config(folder, model_type="other")
    with pytest.raises(FileFormatError, match="must be 'test-scale', found 'other'"):
        Scale.from_pretrained(folder)


def test_unknown_configuration_is_refused(folder: Path) -> None:
    """A key that the class has no argument for is named."""
    change_config(folder, depth=3)
    with pytest.raises(FileFormatError, match=r"unknown keys \['depth'\]"):
        Scale.from_pretrained(folder)


def test_impossible_configuration_is_refused(folder: Path) -> None:
    """What the class cannot be made of is an error of the file."""
    change_config(folder, dim=0)
    with pytest.raises(FileFormatError, match="does not make a Scale: dim must be at least 1"):
        Scale.from_pretrained(folder)


@pytest.mark.parametrize("text", ["", "[1]", '{"dim": 1, "dim": 2}', '{"dim": NaN}', "{" * 10_000])
def test_broken_configuration_is_refused(folder: Path, text: str) -> None:
    """A configuration is one strict JSON object."""
    (folder / "config.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"config\.json"):
        Scale.from_pretrained(folder)


def test_long_configuration_is_refused(folder: Path) -> None:
    """No more than a mebibyte of configuration is read."""
    (folder / "config.json").write_text(" " * (1 << 20) + "{}")
    with pytest.raises(FileFormatError, match="longer than"):
        Scale.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("extra", np.zeros(1, np.float32), r"unknown \['extra'\]"),
        ("weight", None, r"missing \['weight'\]"),
        ("weight", np.zeros(3, np.float32), r"weight must be .* of shape \(2,\), found .*\(3,\)"),
        ("weight", np.zeros(2, np.float64), r"found torch\.float64"),
    ],
)
def test_other_tensors_are_refused(
    folder: Path, name: str, array: np.ndarray | None, message: str
) -> None:
    """Tensors must be those of the model: no more, no fewer, no other shape or type."""
    arrays, texts = read_safetensors(folder / "model.safetensors")
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    write_safetensors(folder / "model.safetensors", arrays, texts)
    with pytest.raises(FileFormatError, match=message):
        Scale.from_pretrained(folder)


def test_cut_weights_are_refused(folder: Path) -> None:
    """A file of weights cut short is named."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match=r"model\.safetensors"):
        Scale.from_pretrained(folder)


def test_missing_folder() -> None:
    """A folder that is not there is named."""
    with pytest.raises(FileFormatError, match="nowhere: no such folder"):
        model_config("nowhere")
