"""The quantizer: codes as the codebook's, every shape, gradients by hand, export, and errors."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import geoquant as gq
from geoquant.card import codebook_facts
from geoquant.errors import FileFormatError, InputError
from geoquant.torch import GeodesicQuantizer
from geoquant.torch.quantizer import columns_of_least

if TYPE_CHECKING:
    from pathlib import Path


def spiral(n: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    angle = np.linspace(2, 16, n)
    curve = np.stack([angle * np.cos(angle), angle * np.sin(angle), 0.1 * angle], 1)
    return (curve + 0.1 * rng.normal(size=curve.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def book() -> gq.Codebook:
    """A codebook of a spiral, whose geodesic codes are others than the nearest codewords."""
    return gq.fit_codebook(spiral(), 6, random_state=0).codebook


def new_latents(n: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(1)
    rows = spiral()[rng.integers(0, 400, n)]
    return (rows + rng.normal(size=rows.shape)).astype(np.float32)


def on_a_line(gradient: Any = "straight-through", **options: Any) -> GeodesicQuantizer:
    vectors = np.array([[0.0, 1.0], [4.0, 0.0]], np.float32)
    made = gq.Codebook(vectors, vectors, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    return GeodesicQuantizer.from_codebook(made, gradient=gradient, **options)


@pytest.mark.parametrize("assignment", ["geodesic", "codeword"])
def test_codes_are_those_of_the_codebook(book: gq.Codebook, assignment: Any) -> None:
    """On random latents the codes are the codebook's own, whatever the blocks."""
    z = new_latents()
    method = "geodesic" if assignment == "geodesic" else "euclidean"
    quantizer = GeodesicQuantizer.from_codebook(book, assignment=assignment)
    quantized, indices, _ = quantizer(torch.from_numpy(z))
    assert (indices.numpy() == book.assign(z, method=method)).mean() >= 0.9995
    np.testing.assert_allclose(quantized.numpy(), book.lookup(indices.numpy()), atol=1e-5)
    if assignment == "geodesic":
        assert (indices.numpy() != book.assign(z, method="euclidean")).mean() > 0.05


@pytest.mark.parametrize("assignment", ["geodesic", "codeword"])
def test_latents_far_from_zero(book: gq.Codebook, assignment: Any) -> None:
    """Products of large numbers do not blur the differences that decide."""
    shift = np.float32(4096)
    far = replace(book, vectors=book.vectors + shift, anchors=book.anchors + shift)
    z = new_latents() + shift
    method = "geodesic" if assignment == "geodesic" else "euclidean"
    quantizer = GeodesicQuantizer.from_codebook(far, assignment=assignment)
    indices = quantizer(torch.from_numpy(z)).indices.numpy()
    assert (indices == far.assign(z, method=method)).mean() >= 0.999


def test_quantized_without_a_gradient_are_codewords(book: gq.Codebook) -> None:
    """To the bit, as there is nothing to pass straight through."""
    for gradient in ("straight-through", "rotation", "none"):
        output = GeodesicQuantizer.from_codebook(book, gradient=gradient)(
            torch.from_numpy(new_latents(100))
        )
        np.testing.assert_array_equal(output.quantized.numpy(), book.lookup(output.indices.numpy()))


def test_codes_of_anchors_are_their_own(book: gq.Codebook) -> None:
    """A latent that is an anchor has the anchor's code."""
    indices = GeodesicQuantizer.from_codebook(book)(torch.tensor(book.anchors)).indices
    np.testing.assert_array_equal(indices.numpy(), book.anchor_code)


def test_ties_on_a_grid() -> None:
    """Where sums of whole numbers are equal, the smaller code wins, as in the codebook."""
    side = np.arange(6, dtype=np.float32)
    anchors = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2) * 2
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, 36).astype(np.int32)
    distance = rng.integers(0, 3, 36).astype(np.float64)
    grid = gq.Codebook(anchors[:5], anchors, distance, codes, 36, {})
    z = np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2).astype(np.float32)
    indices = GeodesicQuantizer.from_codebook(grid)(torch.from_numpy(z)).indices
    np.testing.assert_array_equal(indices.numpy(), grid.assign(z))


def test_ties_among_many_anchors() -> None:
    """Of anchors equally far the first are near, also where anchors are searched in groups."""
    rng = np.random.default_rng(0)
    anchors = rng.integers(0, 8, (3000, 3)).astype(np.float32)
    codes = rng.integers(0, 50, 3000).astype(np.int32)
    distance = rng.integers(0, 4, 3000).astype(np.float64)
    many = gq.Codebook(anchors[:50], anchors, distance, codes, 7, {})
    z = rng.integers(0, 8, (400, 3)).astype(np.float32)
    z[200:] += 8
    indices = GeodesicQuantizer.from_codebook(many)(torch.from_numpy(z)).indices
    np.testing.assert_array_equal(indices.numpy(), many.assign(z))


def test_columns_of_least_by_hand() -> None:
    """Ascending columns, of equal values the first; something in range where there is no least."""
    values = torch.tensor([[3.0, 1.0, 2.0, 1.0, 2.0], [torch.nan] * 5])
    assert columns_of_least(values, 1)[0].tolist() == [1]
    assert columns_of_least(values, 3)[0].tolist() == [1, 2, 3]
    assert columns_of_least(values, 5)[0].tolist() == [0, 1, 2, 3, 4]
    assert columns_of_least(values, 3)[1].max() < 5


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((7, 3), (7,)),
        ((7, 5, 3), (7, 5)),
        ((2, 3, 4, 5), (2, 4, 5)),
        ((2, 3, 4, 5, 6), (2, 4, 5, 6)),
    ],
)
def test_shapes(book: gq.Codebook, shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    """Every layout is that of its rows, and comes back from its codes."""
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 5
    quantizer = GeodesicQuantizer.from_codebook(book, gradient="none")
    quantized, indices, _ = quantizer(z)
    assert quantized.shape == z.shape
    assert indices.shape == grid
    axis = 1 if z.ndim > 3 else -1
    rows = z.movedim(axis, -1).reshape(-1, 3)
    assert torch.equal(quantizer(rows).indices, indices.flatten())
    assert torch.equal(quantizer.get_output_from_indices(indices), quantized)
    last = quantizer.get_codes_from_indices(indices)
    assert torch.equal(last, quantized.movedim(axis, -1))


def test_channel_dim_is_a_choice(book: gq.Codebook) -> None:
    """(B, D, N) and (B, H, W, C) need to be said."""
    z = torch.randn(2, 4, 4, 3)
    last = GeodesicQuantizer.from_codebook(book, channel_dim=-1)(z)
    first = GeodesicQuantizer.from_codebook(book)(z.movedim(-1, 1))
    assert torch.equal(last.indices, first.indices)
    quantizer = GeodesicQuantizer.from_codebook(book, channel_dim=1)
    output = quantizer(z[:, 0].movedim(-1, 1))
    assert output.indices.shape == (2, 4)
    assert quantizer.get_output_from_indices(output.indices).shape == (2, 3, 4)


def test_batch_does_not_matter(book: gq.Codebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of any size give the same codes."""
    from geoquant.torch import quantizer as module

    z = torch.from_numpy(new_latents(100))
    whole = GeodesicQuantizer.from_codebook(book)(z).indices
    monkeypatch.setattr(module, "_DISTANCES_ON_CPU", 1)
    assert torch.equal(GeodesicQuantizer.from_codebook(book)(z).indices, whole)


def test_loss_by_hand() -> None:
    """The weight times the mean squared difference; its gradient pulls the latent."""
    z = torch.tensor([[3.0, 0.0]], requires_grad=True)
    loss = on_a_line(commitment_weight=2.0)(z).loss
    assert loss.item() == 1.0
    loss.backward()
    assert z.grad is not None
    assert z.grad.tolist() == [[-2.0, 0.0]]


def gradient_of(quantizer: GeodesicQuantizer, latent: list[float]) -> list[float]:
    z = torch.tensor([latent], requires_grad=True)
    quantized = quantizer(z).quantized
    (quantized * torch.tensor([[1.0, 10.0]])).sum().backward()
    assert z.grad is not None
    return list(z.grad[0].tolist())


def test_straight_through() -> None:
    """The gradient passes as it is."""
    assert gradient_of(on_a_line(), [3.0, 0.5]) == [1.0, 10.0]


def test_no_gradient() -> None:
    """With 'none' the codewords have none."""
    assert not on_a_line("none")(torch.tensor([[3.0, 0.5]], requires_grad=True)).quantized.grad_fn


def test_rotation_by_hand() -> None:
    """From (0, 2) to (4, 0): a quarter turn and a factor 2, so gradients are turned back."""
    quantizer = on_a_line("rotation")
    quantizer.codebook[0] = torch.tensor([9.0, 9.0])
    quantizer.anchors[0] = 9.0
    z = torch.tensor([[0.0, 2.0]])
    assert quantizer(z).quantized[0].tolist() == pytest.approx([4, 0], abs=1e-6)
    # the codeword's x comes from the latent's y, its y from minus the latent's x
    assert gradient_of(quantizer, [0.0, 2.0]) == pytest.approx([-20, 2], abs=1e-5)


def test_rotation_gives_codewords(book: gq.Codebook) -> None:
    """Rotated and scaled latents are the codewords, also opposite ones and those of no length."""
    quantizer = GeodesicQuantizer.from_codebook(book, gradient="rotation")
    z = torch.from_numpy(new_latents(200))
    z[0] = 0
    output = quantizer(z)
    expected = quantizer.get_codes_from_indices(output.indices)
    torch.testing.assert_close(output.quantized, expected, atol=1e-4, rtol=1e-4)
    opposite = on_a_line("rotation")(torch.tensor([[0.0, -0.5]]))
    assert opposite.quantized.tolist() == [[pytest.approx(0, abs=1e-6), 1.0]]


def test_saved_is_loaded(book: gq.Codebook, tmp_path: Path) -> None:
    """A saved quantizer gives the same codes, and keeps its options and the metadata."""
    quantizer = GeodesicQuantizer.from_codebook(book, gradient="rotation", commitment_weight=0.5)
    quantizer.save_pretrained(tmp_path)
    loaded = GeodesicQuantizer.from_pretrained(tmp_path)
    z = torch.from_numpy(new_latents(50))
    assert torch.equal(loaded(z).indices, quantizer(z).indices)
    assert loaded.gradient == "rotation"
    assert loaded.metadata == book.metadata
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileFormatError, match="could run code"):
        GeodesicQuantizer.from_pretrained(tmp_path)


def test_buffers_are_no_parameters(book: gq.Codebook) -> None:
    """No optimizer finds anything to change; everything is in the state."""
    quantizer = GeodesicQuantizer.from_codebook(book)
    assert not list(quantizer.parameters())
    names = {"codebook", "anchors", "anchor_distance", "anchor_code"}
    assert set(quantizer.state_dict()) == names


@pytest.mark.parametrize("assignment", ["geodesic", "codeword"])
@pytest.mark.parametrize("gradient", ["straight-through", "rotation"])
def test_compiles_without_a_break(book: gq.Codebook, assignment: Any, gradient: Any) -> None:
    """The whole forward is one graph."""
    quantizer = GeodesicQuantizer.from_codebook(book, assignment=assignment, gradient=gradient)
    torch._dynamo.reset()
    compiled = torch.compile(quantizer, fullgraph=True, backend="eager")
    z = torch.from_numpy(new_latents(40))
    found, expected = compiled(z), quantizer(z)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.quantized, expected.quantized)


@pytest.mark.slow
def test_compiles_to_machine_code(book: gq.Codebook) -> None:
    """The default backend gives the same codes."""
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    quantizer = GeodesicQuantizer.from_codebook(book)
    z = torch.from_numpy(new_latents(40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of its compiler
        found = torch.compile(quantizer, fullgraph=True)(z)
    assert torch.equal(found.indices, quantizer(z).indices)


@pytest.mark.parametrize("assignment", ["geodesic", "codeword"])
def test_exports_with_any_batch(book: gq.Codebook, assignment: Any) -> None:
    """An exported program takes batches of another size."""
    quantizer = GeodesicQuantizer.from_codebook(book, assignment=assignment).eval()
    batch = torch.export.Dim("batch", min=2)
    example = torch.from_numpy(new_latents(6))
    program = torch.export.export(quantizer, (example,), dynamic_shapes={"z": {0: batch}})
    z = torch.from_numpy(new_latents(33))
    assert torch.equal(program.module()(z)[1], quantizer(z).indices)


@pytest.mark.parametrize("assignment", ["geodesic", "codeword"])
def test_runs_in_onnxruntime(book: gq.Codebook, assignment: Any, tmp_path: Path) -> None:
    """The ONNX file gives the same codes and codewords for batches of another size."""
    import onnxruntime

    quantizer = GeodesicQuantizer.from_codebook(book, assignment=assignment).eval()
    path = tmp_path / "quantizer.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            quantizer,
            (torch.from_numpy(new_latents(6)),),
            path,
            dynamo=True,
            dynamic_shapes={"z": {0: torch.export.Dim("batch", min=2)}},
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path)
    z = new_latents(33)
    quantized, indices, _ = session.run(None, {session.get_inputs()[0].name: z})
    expected = quantizer(torch.from_numpy(z))
    np.testing.assert_array_equal(indices, expected.indices.numpy())
    np.testing.assert_allclose(quantized, expected.quantized.numpy(), atol=1e-5)


def test_cuda(book: gq.Codebook) -> None:
    """On a GPU the codes are the same."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    z = torch.from_numpy(new_latents())
    quantizer = GeodesicQuantizer.from_codebook(book)
    expected = quantizer(z).indices
    assert (quantizer.cuda()(z.cuda()).indices.cpu() == expected).float().mean() >= 0.999


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.zeros(4, 5), r"3 channels in axis 1, found shape \(4, 5\)"),
        (torch.zeros(2, 4, 4, 3), r"3 channels in axis 1, .*channel_dim names another"),
        (torch.zeros(3), "3 channels"),
        (torch.zeros(4, 3, dtype=torch.int64), r"floating tensor, found torch\.int64"),
        (np.zeros((4, 3), np.float32), "floating tensor, found float32"),
        (torch.zeros(4, 3, device="meta"), r"z is on meta, the quantizer on cpu.*\.to\('meta'\)"),
    ],
)
def test_bad_latents(book: gq.Codebook, z: Any, message: str) -> None:
    """Another dimension, type or device is named with the cure."""
    with pytest.raises(InputError, match=message):
        GeodesicQuantizer.from_codebook(book)(z)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.tensor([0, 6]), r"\[0, 6\), found 6"),
        (torch.tensor([-1]), "found -1"),
        (torch.tensor([0.0]), "integers, found torch.float32"),
    ],
)
def test_bad_indices(book: gq.Codebook, indices: torch.Tensor, message: str) -> None:
    """Codes that are none of the codebook are named."""
    with pytest.raises(InputError, match=message):
        GeodesicQuantizer.from_codebook(book).get_output_from_indices(indices)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim"),
        ({"codebook_size": 0}, "codebook_size"),
        ({"assignment": "geodesic"}, "needs anchors"),
        ({"assignment": "cosine"}, "'geodesic' or 'codeword', found 'cosine'"),
        ({"gradient": "gumbel"}, "'straight-through', 'rotation' or 'none', found 'gumbel'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    """An argument out of range is named."""
    with pytest.raises(InputError, match=message):
        GeodesicQuantizer(**({"dim": 2, "codebook_size": 3} | options))


def test_codebook_of_stages_is_refused(book: gq.Codebook) -> None:
    """A codebook of stages is told apart."""
    stages = gq.MultistageCodebook((book,), "residual")
    with pytest.raises(InputError, match="found MultistageCodebook"):
        GeodesicQuantizer.from_codebook(stages)  # type: ignore[arg-type]


def test_card_has_what_is_measured_on_the_anchors(tmp_path: Path) -> None:
    """With anchors it has the facts of the codebook; without, that it looks straight."""
    rng = np.random.default_rng(0)
    anchors = rng.normal(size=(30, 2)).astype(np.float32)
    codes = (np.arange(30) % 3).astype(np.int32)
    book = gq.Codebook(anchors[:4], anchors, rng.random(30), codes, 5, {"codewords": "medoid"})
    GeodesicQuantizer.from_codebook(book).save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert all(f"| {name} | {value} |" in text for name, value in codebook_facts(book).items())
    assert "codes that anchors have | 3 of 4 |" in text
    assert "not along the data" not in text
    quantizer = GeodesicQuantizer.from_codebook(book, assignment="codeword")
    assert "not along the data" in quantizer.card().text()


def test_a_module_without_numbers_has_a_card_all_the_same() -> None:
    """Buffers that make no codebook are not measured."""
    quantizer = GeodesicQuantizer(2, 3, n_anchors=4, assignment="geodesic")
    quantizer.anchor_distance.fill_(torch.nan)
    assert "perplexity" not in quantizer.card().text()
