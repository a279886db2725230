"""The prior: its probabilities, what it learns, what it samples, what it refuses."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from geoquant.errors import InputError
from geoquant.torch import GRUPrior, mean_nats, train_prior, windows

if TYPE_CHECKING:
    from pathlib import Path


def prior(*args: Any, seed: int = 0, **options: Any) -> GRUPrior:
    torch.manual_seed(seed)
    return GRUPrior(*args, **({"embedding_dim": 8, "hidden_dim": 16} | options))


def all_sequences(n_codes: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(list(product(*(range(k) for k in n_codes))))


def test_no_weights_is_uniform() -> None:
    """With all parameters zero each code of K costs ln K nats."""
    model = prior([4, 2], 2)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    nats = model.nats(torch.tensor([[3, 1]]))
    assert nats.tolist() == [pytest.approx([math.log(4), math.log(2)])]


def test_probabilities_add_up_to_one() -> None:
    """Over all sequences the probabilities are a distribution, with few codes at some positions."""
    model = prior([3, 2, 4], 3)
    total = torch.exp(-model.nats(all_sequences((3, 2, 4))).sum(1)).sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_later_codes_do_not_matter() -> None:
    """The logits at a position depend on the codes before it only."""
    model = prior(5, 4)
    first, second = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 0, 0]])
    logits = model(torch.cat([first, second]))
    assert torch.equal(logits[0, :3], logits[1, :3])
    assert not torch.equal(logits[0, 3], logits[1, 3])


def test_rows_do_not_matter_to_each_other() -> None:
    """A sequence costs the same whatever else is in the batch."""
    model = prior(5, 3)
    codes = torch.randint(5, (7, 3), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.nats(codes)[2:3], model.nats(codes[2:3]))


def test_learns_a_distribution() -> None:
    """Nats on held-out sequences come near the entropy of what the sequences were drawn from."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(4, (4000, 1), generator=generator)
    second = (first + torch.randint(2, (4000, 1), generator=generator)) % 4
    codes = torch.cat([first, second], 1)
    model = prior(4, 2)
    history = train_prior(model, codes[:3000], epochs=6, batch_size=50, learning_rate=0.01)
    nats = model.nats(codes[3000:]).mean(0)
    assert nats.tolist() == pytest.approx([math.log(4), math.log(2)], abs=0.03)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] == pytest.approx(math.log(8), abs=0.06)


def test_samples_follow_the_probabilities() -> None:
    """Sampled sequences are as frequent as the prior says, within four standard errors."""
    model = prior([3, 2], 2)
    sequences = all_sequences((3, 2))
    expected = torch.exp(-model.nats(sequences).sum(1))
    n = 20_000
    sampled = model.sample(n, generator=torch.Generator().manual_seed(3))
    found = (sampled[:, None] == sequences).all(2).float().mean(0)
    error = (expected * (1 - expected) / n).sqrt()
    assert ((found - expected).abs() < 4 * error).all()


def test_class_decides() -> None:
    """With classes the codes asked for are those of the class."""
    labels = torch.arange(2).repeat(100)
    model = prior(2, 1, n_classes=2)
    train_prior(model, labels[:, None], labels=labels, epochs=10, batch_size=20)
    wanted = torch.tensor([0, 1, 1, 0])
    assert model.sample(4, labels=wanted, temperature=0)[:, 0].tolist() == wanted.tolist()
    assert model.nats(wanted[:, None], wanted).max() < 0.3


def ordered_prior() -> GRUPrior:
    """A prior of one code of four, with probabilities 0.5, 0.3, 0.15, 0.05 in the order 2 0 3 1."""
    model = prior(4, 1)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([0.3, 0.05, 0.5, 0.15]).log())
    return model


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 0}, {2}),
        ({"top_k": 1}, {2}),
        ({"top_k": 2}, {2, 0}),
        ({"top_p": 0.4}, {2}),
        ({"top_p": 0.6}, {2, 0}),
        ({"top_p": 1.0}, {0, 1, 2, 3}),
        ({"top_k": 3, "top_p": 0.7}, {2, 0}),
        ({"temperature": 0.01}, {2}),
    ],
)
def test_limits_of_sampling(options: dict[str, Any], expected: set[int]) -> None:
    """Temperature, top_k and top_p leave the codes that they should, and all of those."""
    sampled = ordered_prior().sample(500, generator=torch.Generator().manual_seed(0), **options)
    assert set(sampled[:, 0].tolist()) == expected


def test_samples_repeat() -> None:
    """The same generator state gives the same sequences."""
    model = prior(6, 3)
    first, second = (model.sample(20, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert model.sample(0).shape == (0, 3)


def test_saved_is_loaded(tmp_path: Path) -> None:
    """A saved prior costs the same nats."""
    model = prior([3, 2], 2, n_classes=2)
    model.save_pretrained(tmp_path)
    codes, labels = torch.tensor([[2, 1]]), torch.tensor([1])
    loaded = GRUPrior.from_pretrained(tmp_path)
    assert torch.equal(loaded.nats(codes, labels), model.nats(codes, labels))


def test_training_resumes(tmp_path: Path) -> None:
    """A run stopped half-way and begun again ends on the same bits; other codes are refused."""
    codes = torch.randint(4, (60, 2), generator=torch.Generator().manual_seed(0))
    whole = prior(4, 2)
    train_prior(whole, codes, epochs=3, batch_size=20)

    def stop(stage: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    path = tmp_path / "prior.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_prior(prior(4, 2), codes, epochs=3, batch_size=20, checkpoint=path, progress=stop)
    resumed = prior(4, 2, seed=9)
    train_prior(resumed, codes, epochs=3, batch_size=20, checkpoint=path)
    assert torch.equal(whole.head.weight, resumed.head.weight)
    with pytest.raises(InputError, match="run with identity"):
        train_prior(prior(4, 2), (codes + 1) % 4, epochs=3, batch_size=20, checkpoint=path)


def test_mean_nats_of_codes_as_a_codebook_gives_them() -> None:
    """int32 codes are taken, in batches of any size, with the same means."""
    model = prior([4, 3], 2)
    codes = np.random.default_rng(0).integers(0, 3, (50, 2)).astype(np.int32)
    expected = model.nats(torch.from_numpy(codes)).mean(0).tolist()
    assert mean_nats(model, codes).tolist() == pytest.approx(expected)
    assert mean_nats(model, codes, batch_size=7).tolist() == pytest.approx(expected)


def test_windows() -> None:
    """Codes are cut in order, and a rest is left out."""
    assert windows(np.arange(7), 3).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("codes", [np.arange(2), np.zeros((4, 4), int), np.zeros(9)])
def test_bad_windows(codes: np.ndarray) -> None:
    """Windows are of one axis of integers, at least one window long."""
    with pytest.raises(InputError, match="codes must be at least 3 integers on one axis"):
        windows(codes, 3)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.tensor([[0, 4]]), "codes"),
        (torch.tensor([[-1, 0]]), "codes"),
        (torch.tensor([[0, 1, 2]]), r"shape \(n, 2\), found \(1, 3\)"),
        (torch.tensor([0, 1]), r"found \(2,\); codes of shape \(n,\) are"),
        (torch.tensor([[0.0, 1.0]]), "integers"),
    ],
)
def test_bad_codes(codes: torch.Tensor, message: str) -> None:
    """Codes of another shape, type or range are named."""
    with pytest.raises(InputError, match=message):
        prior(4, 2).nats(codes)


@pytest.mark.parametrize(
    ("n_classes", "labels", "message"),
    [
        (None, torch.tensor([0]), "has none"),
        (2, None, r"labels of shape \(1,\) are needed"),
        (2, torch.tensor([2]), r"\[0, 2\), found 2"),
        (2, torch.tensor([0, 1]), r"shape \(1,\), found \(2,\)"),
    ],
)
def test_bad_labels(n_classes: int | None, labels: torch.Tensor | None, message: str) -> None:
    """Labels must be there if and only if the prior has classes, one for each sequence."""
    with pytest.raises(InputError, match=message):
        prior(4, 2, n_classes=n_classes).nats(torch.tensor([[0, 1]]), labels)


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": 0}, {"top_p": 0.0}, {"n": -1}],
)
def test_bad_sampling(options: dict[str, Any]) -> None:
    """A limit out of range is named."""
    with pytest.raises(InputError, match=next(iter(options))):
        prior(4, 2).sample(**({"n": 1} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_codes": 0}, "n_codes"),
        ({"n_codes": [3]}, "one number or 2, found 1 numbers"),
        ({"length": 0}, "length"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"n_classes": 0}, "n_classes"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    """An argument out of range is named."""
    with pytest.raises(InputError, match=message):
        prior(**({"n_codes": 4, "length": 2} | options))
