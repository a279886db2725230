"""The training loop: what it reaches, that it repeats, resumes and refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from geoquant.errors import FileFormatError, InputError
from geoquant.torch import train

if TYPE_CHECKING:
    from pathlib import Path

X = torch.linspace(-1, 1, 50)[:, None]


class Line(nn.Module):
    """A line with noise in its loss, so that generators matter."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def loss(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        noisy = X[rows] + 0.01 * torch.randn(len(rows), 1)
        error = (self.line(noisy) - 2 * X[rows] - 1).square().mean()
        return {"loss": error, "rows": torch.tensor(float(len(rows)))}


def run(epochs: int = 4, **options: object) -> tuple[Line, list[dict[str, float]]]:
    module = Line()
    settings = {"batch_size": 16, "learning_rate": 0.1, "schedule": "linear"} | options
    history = train(module, module.loss, len(X), epochs=epochs, **settings)  # type: ignore[arg-type]
    return module, history


def state(module: nn.Module) -> list[torch.Tensor]:
    return list(module.state_dict().values())


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(state(a), state(b), strict=True))


def test_one_step_of_adam() -> None:
    """The first step of Adam moves each parameter by the learning rate against its gradient."""
    module = Line()
    train(module, module.loss, len(X), epochs=1, batch_size=50, learning_rate=0.1)
    assert module.line.weight.item() == pytest.approx(0.1, abs=1e-6)
    assert module.line.bias.item() == pytest.approx(0.1, abs=1e-6)


def test_reaches_the_minimum() -> None:
    """A line is fitted, and the history tells the way."""
    module, history = run(epochs=60)
    assert module.line.weight.item() == pytest.approx(2, abs=0.02)
    assert module.line.bias.item() == pytest.approx(1, abs=0.02)
    assert [record["epoch"] for record in history] == list(range(1, 61))
    assert history[-1]["loss"] < 0.01 * history[0]["loss"]


def test_means_are_weighted_by_rows() -> None:
    """The small last batch counts by its rows: (16 * 48 + 2 * 2) / 50 of the batch sizes."""
    assert run(epochs=1)[1][0]["rows"] == pytest.approx((16 * 48 + 2 * 2) / 50)


def test_same_seed_same_bits() -> None:
    """A seed decides order and noise, whatever PyTorch's own generator was at; another differs."""
    torch.manual_seed(1)
    first, _ = run()
    torch.manual_seed(2)
    assert same(first, run()[0])
    assert not same(first, run(random_state=1)[0])


def test_leaves_generators_and_mode_alone() -> None:
    """The caller's random numbers and the module's mode are as before."""
    module = Line().eval()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(module, module.loss, len(X), epochs=1, batch_size=16, learning_rate=0.1)
    assert torch.equal(torch.rand(1), expected)
    assert not module.training


def test_interrupted_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """A run stopped within an epoch and begun again ends like one never stopped."""
    whole, history = run()

    def stop(stage: str, done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=path, progress=stop)
    assert path.exists()
    resumed, resumed_history = run(checkpoint=path)
    assert same(whole, resumed)
    assert resumed_history == history


def test_finished_checkpoint_is_only_loaded(tmp_path: Path) -> None:
    """A second call with the checkpoint of a finished run trains no further."""
    path = tmp_path / "checkpoint.safetensors"
    first, _ = run(checkpoint=path)

    def unwanted(stage: str, done: int, total: int) -> None:
        raise AssertionError

    assert same(first, run(checkpoint=path, progress=unwanted)[0])


@pytest.mark.parametrize(
    ("option", "value"),
    [("learning_rate", 0.2), ("random_state", 1), ("batch_size", 10), ("identity", "other")],
)
def test_checkpoint_of_other_options_is_refused(tmp_path: Path, option: str, value: object) -> None:
    """Going on with other options would be a run that nobody can name."""
    path = tmp_path / "checkpoint.safetensors"
    run(checkpoint=path)
    with pytest.raises(InputError, match=f"run with {option} = .* remove the checkpoint"):
        run(checkpoint=path, **{option: value})


def test_checkpoint_of_another_module_is_refused(tmp_path: Path) -> None:
    """A checkpoint whose parameters have other shapes is not loaded."""
    path = tmp_path / "checkpoint.safetensors"
    run(checkpoint=path)
    other = nn.Linear(2, 2)
    with pytest.raises(InputError, match="another module"):
        train(
            other,
            lambda rows: {"loss": other.weight.sum()},
            len(X),
            epochs=4,
            batch_size=16,
            learning_rate=0.1,
            schedule="linear",
            checkpoint=path,
        )


def test_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    """A file cut short is named as such."""
    path = tmp_path / "checkpoint.safetensors"
    run(checkpoint=path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match=r"checkpoint\.safetensors"):
        run(checkpoint=path)


@pytest.mark.parametrize(
    ("option", "value"),
    [("epochs", -1), ("batch_size", 0), ("learning_rate", 0.0), ("schedule", "cosine")],
)
def test_bad_arguments(option: str, value: object) -> None:
    """An argument out of range is named."""
    with pytest.raises(InputError, match=option):
        run(**{option: value})  # type: ignore[arg-type]


def test_loss_that_is_not_finite() -> None:
    """Training stops at the epoch whose loss is no number, with the cure."""
    module = Line()
    with pytest.raises(InputError, match=r"epoch 1 is nan.*lower learning_rate"):
        train(
            module,
            lambda rows: {"loss": module.line.weight.sum() * float("nan")},
            4,
            epochs=2,
            batch_size=2,
            learning_rate=0.1,
        )
