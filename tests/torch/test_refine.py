"""Fitting through a decoder: optima known by hand, losses that never rise, and the errors."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import geoquant as gq
from geoquant.errors import InputError
from geoquant.torch import reassign, reconstruction_loss, rectify_decoder, refine_codebook


class Sigmoid(nn.Module):
    """Two latents to four pixels, by a fixed map."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
        self.linear = nn.Linear(2, 4)
        self.linear.weight = nn.Parameter(weight)
        self.linear.bias = nn.Parameter(torch.zeros(4))

    def decode_logits(self, z: torch.Tensor) -> torch.Tensor:
        return self.linear(z).reshape(-1, 1, 2, 2)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.decode_logits(z).sigmoid()


def book_of(vectors: np.ndarray) -> gq.Codebook:
    codes = np.arange(len(vectors), dtype=np.int32)
    return gq.Codebook(vectors, vectors, np.zeros(len(vectors)), codes, 1, {"origin": "test"})


def data(n: int = 60, seed: int = 0) -> tuple[np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(n, 2)).astype(np.float32) * 2
    return latents, Sigmoid().decode(torch.from_numpy(latents)).detach()


def single(seed: int = 1, n_codes: int = 5) -> gq.Codebook:
    rng = np.random.default_rng(seed)
    return book_of(rng.normal(size=(n_codes, 2)).astype(np.float32) * 2)


def staged(kind: str = "residual") -> gq.MultistageCodebook:
    rng = np.random.default_rng(2)
    dims = (2, 2) if kind == "residual" else (1, 1)
    scales = (2.0, 0.7) if kind == "residual" else (2.0, 2.0)
    stages = [
        book_of(scale * rng.normal(size=(k, d)).astype(np.float32))
        for k, d, scale in zip((4, 3), dims, scales, strict=True)
    ]
    return gq.MultistageCodebook(tuple(stages), kind)  # type: ignore[arg-type]


BOOKS = {"single": single, "residual": staged, "product": lambda: staged("product")}


def identity(z: torch.Tensor) -> torch.Tensor:
    return z[:, None, None]


def mean_loss(book: Any, codes: np.ndarray, images: torch.Tensor) -> float:
    return float(reconstruction_loss(Sigmoid(), book.lookup(codes), images).mean())


@pytest.mark.parametrize("uses_logits", [True, False])
def test_loss_is_cross_entropy(uses_logits: bool) -> None:
    """The Bernoulli loss is -sum(x log p + (1 - x) log(1 - p)), from logits or probabilities."""
    latents, images = data()
    decoder = Sigmoid()
    p = decoder.decode(torch.from_numpy(latents[::-1].copy())).double()
    expected = -(images * p.log() + (1 - images) * (1 - p).log()).flatten(1).sum(1)
    found = reconstruction_loss(
        decoder if uses_logits else decoder.decode, latents[::-1].copy(), images
    )
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5)


def test_gaussian_and_own_losses() -> None:
    """'gaussian' is half the squared error, and a callable is used as it is."""
    latents = np.array([[1.0, 2.0]], np.float32)
    images = torch.zeros(1, 1, 1, 2)

    def largest(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        return (decoded - images).abs().flatten(1).amax(1)

    assert reconstruction_loss(identity, latents, images, loss="gaussian").tolist() == [2.5]
    assert reconstruction_loss(identity, latents, images, loss=largest).tolist() == [2.0]


def test_codewords_of_squared_error_are_means() -> None:
    """Through the identity, the fitted codeword of a cell is the mean of its images."""
    latents, _ = data()
    images = torch.from_numpy(latents)[:, None, None] + 0.5
    book = single(n_codes=3)
    refined = refine_codebook(
        book, identity, latents, images, loss="gaussian", epochs=300, batch_size=60
    )
    for code in range(3):
        mean = latents[refined.codes == code].mean(0) + 0.5
        np.testing.assert_allclose(refined.codebook.vectors[code], mean, atol=0.01)


@pytest.mark.parametrize("name", BOOKS)
def test_fit_lowers_the_loss_and_keeps_the_codes(name: str) -> None:
    """Without rounds the codes stay, codewords move, and decoded images come nearer."""
    latents, images = data()
    book = BOOKS[name]()
    codes = book.assign(latents)
    refined = refine_codebook(book, Sigmoid(), latents, images, epochs=60)
    np.testing.assert_array_equal(refined.codes, codes)
    assert mean_loss(refined.codebook, codes, images) < mean_loss(book, codes, images) - 0.01
    assert refined.codebook.metadata["codewords"] == "decoder"


@pytest.mark.parametrize("name", BOOKS)
def test_own_assignment_stays(name: str) -> None:
    """Fitting changes what codes stand for, and no assignment of new latents."""
    latents, images = data()
    book = BOOKS[name]()
    refined = refine_codebook(book, Sigmoid(), latents, images, epochs=60, n_rounds=1).codebook
    new, _ = data(seed=5)
    np.testing.assert_array_equal(refined.assign(new), book.assign(new))
    assert refined.metadata["codewords"] == "decoder"
    assert refined.metadata.get("origin") == book.metadata.get("origin")


@pytest.mark.parametrize("name", BOOKS)
def test_rounds_lower_the_loss(name: str) -> None:
    """Codes found anew and codewords fitted again beat codewords alone."""
    latents, images = data()
    options = {"epochs": 60, "n_candidates": 3}
    once = refine_codebook(BOOKS[name](), Sigmoid(), latents, images, **options)
    more = refine_codebook(BOOKS[name](), Sigmoid(), latents, images, n_rounds=2, **options)
    assert mean_loss(more.codebook, more.codes, images) < mean_loss(
        once.codebook, once.codes, images
    )
    assert [record["round"] for record in more.history[::40]][-1] == 2


def best_codes(book: Any, images: torch.Tensor) -> np.ndarray:
    """Least loss of each image over all codes there are."""
    counts = book.n_codes if isinstance(book.n_codes, tuple) else (book.n_codes,)
    losses = []
    for tokens in product(*(range(k) for k in counts)):
        codes = tokens if len(counts) > 1 else tokens[0]
        latents = np.repeat(np.atleast_2d(book.lookup(codes)), len(images), 0)
        losses.append(reconstruction_loss(Sigmoid(), latents, images))
    return np.min(losses, 0)


def test_reassign_tries_all_codes_of_one_stage() -> None:
    """With as many candidates as codes each image gets the best code."""
    latents, images = data()
    book = single()
    codes = reassign(book, Sigmoid(), latents, images, n_candidates=99)
    found = reconstruction_loss(Sigmoid(), book.lookup(codes), images)
    np.testing.assert_allclose(found, best_codes(book, images), rtol=1e-5)
    assert codes.dtype == np.int32
    assert codes.shape == (60,)


@pytest.mark.parametrize("name", ["residual", "product"])
def test_reassign_comes_near_the_best_tokens(name: str) -> None:
    """Coordinate descent over all codes of each stage is never worse than a fixed point of it."""
    latents, images = data()
    book = BOOKS[name]()
    codes = reassign(book, Sigmoid(), latents, images, n_candidates=99, n_sweeps=6)
    found = reconstruction_loss(Sigmoid(), book.lookup(codes), images)
    assert (found >= best_codes(book, images) - 1e-4).all()
    assert found.mean() < best_codes(book, images).mean() + 0.05
    for stage, count in enumerate(book.n_codes):
        for code in range(count):
            other = codes.copy()
            other[:, stage] = code
            worse = reconstruction_loss(Sigmoid(), book.lookup(other), images)
            assert (worse >= found - 1e-4).all()


def test_candidates_follow_the_data() -> None:
    """A better code is not tried if none of the nearest anchors has it, and is if one has."""
    vectors = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    anchors = np.array([[0.0, 0.0], [0.1, 0.0], [9.0, 0.0]], np.float32)
    codes = np.array([0, 2, 1], np.int32)
    book = gq.Codebook(vectors, anchors, np.zeros(3), codes, 1, {})
    image = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)  # what code 1 makes
    for n_candidates, expected in ((2, 0), (3, 1)):
        found = reassign(
            book,
            identity,
            np.zeros((1, 2), np.float32),
            image,
            loss="gaussian",
            n_candidates=n_candidates,
        )
        assert found.tolist() == [expected]


@pytest.mark.parametrize("name", BOOKS)
def test_no_image_gets_worse(name: str) -> None:
    """Whatever is tried, no image's loss rises."""
    latents, images = data()
    book = BOOKS[name]()
    before = reconstruction_loss(Sigmoid(), book.lookup(book.assign(latents)), images)
    codes = reassign(book, Sigmoid(), latents, images, n_candidates=1)
    assert (reconstruction_loss(Sigmoid(), book.lookup(codes), images) <= before + 1e-5).all()


def test_reassign_without_images_aims_at_the_decoded_latents() -> None:
    """Without images the target is what the decoder makes of the latents."""
    latents, images = data()
    book = single()
    np.testing.assert_array_equal(
        reassign(book, Sigmoid(), latents), reassign(book, Sigmoid(), latents, images)
    )


def test_codewords_without_images_aim_at_the_decoded_latents() -> None:
    """Fitting without images is fitting to what the decoder makes of the latents."""
    latents, images = data()
    refined = [
        refine_codebook(staged(), Sigmoid(), latents, target, n_rounds=1).codebook
        for target in (None, images)
    ]
    for one, other in zip(refined[0].stages, refined[1].stages, strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)


def test_rate_is_weighed_against_the_loss() -> None:
    """A code that costs much is given up, one that costs little is not."""
    latents, images = data()
    book = single()
    plain = reassign(book, Sigmoid(), latents, images, n_candidates=99)

    def rate(tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.ndim == 2
        return 1000.0 * (tokens[:, 0] == 0)

    codes = reassign(book, Sigmoid(), latents, images, n_candidates=99, rate=rate)
    assert (plain == 0).any()
    assert not (codes == 0).any()
    np.testing.assert_array_equal(codes[plain != 0], plain[plain != 0])


def test_latents_that_must_not_be_written_to() -> None:
    """Latents of a read-only file are taken, without a warning, and are the same."""
    latents, images = data()
    frozen = latents.copy()
    frozen.flags.writeable = False
    for given in (latents, frozen):
        found = reconstruction_loss(Sigmoid(), given, images)
        np.testing.assert_allclose(found, reconstruction_loss(Sigmoid(), latents, images))


def test_decoder_is_left_as_it_was() -> None:
    """Parameters, their gradients, and the mode of the decoder do not change."""
    latents, images = data()
    decoder = Sigmoid().train()
    before = decoder.linear.weight.clone()
    refine_codebook(single(), decoder, latents, images, n_rounds=1)
    assert torch.equal(decoder.linear.weight, before)
    assert decoder.linear.weight.grad is None
    assert decoder.linear.weight.requires_grad
    assert decoder.training


def test_same_seed_same_codebook() -> None:
    """A seed decides everything."""
    latents, images = data()
    first, second = (
        refine_codebook(staged(), Sigmoid(), latents, images, n_rounds=1, batch_size=16)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.codes, second.codes)
    for one, other in zip(first.codebook.stages, second.codebook.stages, strict=True):
        np.testing.assert_array_equal(one.vectors, other.vectors)


def test_rectified_decoder_is_a_better_copy() -> None:
    """The copy reconstructs better from codes, and the given model is as before."""
    latents, images = data()
    book, model = staged(), Sigmoid()
    codes = book.assign(latents)
    rectified = rectify_decoder(model, book, codes, images, epochs=60, learning_rate=0.01)
    found = reconstruction_loss(rectified.model, rectified.codebook.lookup(codes), images)
    assert found.mean() < mean_loss(book, codes, images)
    assert torch.equal(model.linear.weight, Sigmoid().linear.weight)
    assert not torch.equal(rectified.model.linear.weight, model.linear.weight)


def test_rectifier_can_leave_the_codewords() -> None:
    """With a rate of 0 the codewords stay, bit for bit."""
    latents, images = data()
    book = single()
    codes = book.assign(latents)
    rectified = rectify_decoder(Sigmoid(), book, codes, images, epochs=2, codeword_learning_rate=0)
    np.testing.assert_array_equal(rectified.codebook.vectors, book.vectors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "huber"}, "loss must be 'bernoulli', 'gaussian' or a callable, found 'huber'"),
        ({"latents": np.zeros((60, 3), np.float32)}, r"\(n, 2\)"),
        ({"decoder": nn.Linear(3, 4)}, r"cannot take latents of shape \(2, 2\).*of the model"),
        ({"latents": np.zeros((59, 2), np.float32)}, "found 60 and 59"),
        ({"images": torch.zeros(60, 1, 3, 3)}, r"makes images of shape \(1, 2, 2\).*\(1, 3, 3\)"),
        ({"images": torch.full((60, 1, 2, 2), 2.0)}, r"images must lie in \[0, 1\], found 2 to 2"),
        ({"images": torch.zeros(60, 1, 2, 2, dtype=torch.uint8)}, "floating tensor, found torch.u"),
        ({"codes": np.zeros((60, 2), int)}, r"codes must have shape \(n,\)"),
        ({"codes": np.full(60, 5)}, r"\[0, 5\), found 5"),
        ({"codes": np.zeros(59, int)}, "codes and latents must be as many, found 59 and 60"),
        ({"decoder": 3}, "decoder must have decode or be callable, found int"),
        ({"decoder": lambda z: None}, "must give a tensor, found NoneType"),
        ({"decoder": lambda z: identity(z).reshape(-1, 1, 1, 2).repeat(1, 1, 2, 1) * 9}, r"\[0, 1"),
        ({"decoder": lambda z: torch.full((len(z), 1, 2, 2), torch.nan)}, "not finite"),
        ({"n_rounds": -1}, "n_rounds"),
        ({"epochs": -1}, "epochs"),
        ({"n_candidates": 0, "n_rounds": 1}, "n_candidates"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    """What does not fit is named with what was found."""
    latents, images = data()
    given = {"decoder": Sigmoid(), "latents": latents, "images": images} | change
    book = single()
    if "latents" in change and "codes" not in change:
        given["codes"] = np.zeros(60, int)
    with pytest.raises(InputError, match=message):
        refine_codebook(book, **given)
