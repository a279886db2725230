"""The quantizer of stages: codes as the codebook's, layouts, export, folders, and errors."""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import geoquant as gq
from geoquant.errors import FileFormatError, InputError
from geoquant.torch import GeodesicQuantizer, MultistageQuantizer
from geoquant.torch import quantizer as blocks

if TYPE_CHECKING:
    from pathlib import Path


def latents(n: int = 1500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


def stage(vectors: np.ndarray) -> gq.Codebook:
    k = len(vectors)
    return gq.Codebook(vectors, vectors, np.zeros(k), np.arange(k, dtype=np.int32), 1, {})


@pytest.fixture(scope="module")
def books() -> dict[str, gq.MultistageCodebook]:
    """A codebook of each kind; the stages have anchors and numbers of codes of their own."""
    options: Any = {"n_neighbors": 6, "random_state": 0}
    return {
        kind: gq.fit_multistage(latents(), [8, 5, 7], 3, kind=kind, **options).codebook
        for kind in ("residual", "product")
    }


KINDS = pytest.mark.parametrize("kind", ["residual", "product"])


@KINDS
def test_codes_are_those_of_the_codebook(books: dict[str, Any], kind: str) -> None:
    """On new latents codes and codewords are the codebook's own."""
    book, z = books[kind], latents(4000, seed=1)
    quantizer = MultistageQuantizer.from_codebook(book)
    quantized, indices, loss = quantizer(torch.from_numpy(z))
    assert (indices.numpy() == book.assign(z)).all(1).mean() >= 0.9995
    expected = book.lookup(indices.numpy())
    np.testing.assert_array_equal(quantized.numpy(), expected)
    assert loss.item() == pytest.approx(np.square(z - expected).mean(), rel=1e-5)
    assert quantizer.codebook_sizes == book.n_codes


def test_codewords_fitted_otherwise(books: dict[str, Any], tmp_path: Path) -> None:
    """A codebook that encodes by other codewords than it decodes to does so as a module too."""
    vectors = [part.vectors + np.float32(0.5) for part in books["residual"].stages]
    book, z = books["residual"].replace_vectors(vectors, keep_codes=True), latents(4000, seed=1)
    quantizer = MultistageQuantizer.from_codebook(book)
    quantizer.save_pretrained(tmp_path)
    quantized, indices, _ = MultistageQuantizer.from_pretrained(tmp_path)(torch.from_numpy(z))
    assert (indices.numpy() == book.assign(z)).all(1).mean() >= 0.9995
    np.testing.assert_array_equal(quantized.numpy(), book.lookup(indices.numpy()))


@pytest.mark.parametrize("beam", [1, 2, 5, 64])
def test_ties_on_a_grid(beam: int) -> None:
    """Of equal sums the lexicographically smaller codes win, as in the codebook, in any beam."""
    rng = np.random.default_rng(0)
    vectors = [rng.integers(-2, 3, (n, 2)).astype(np.float32) for n in (5, 7, 4)]
    book = gq.MultistageCodebook(tuple(map(stage, vectors)), "residual", beam)
    z = np.array(list(product(range(-5, 6), repeat=2)), np.float32)
    indices = MultistageQuantizer.from_codebook(book)(torch.from_numpy(z)).indices
    np.testing.assert_array_equal(indices.numpy(), book.assign(z))


def test_wide_beam_finds_the_best() -> None:
    """With a beam of all prefixes the sum is the nearest of all sums."""
    rng = np.random.default_rng(1)
    vectors = [rng.normal(size=(n, 3)).astype(np.float32) for n in (4, 3, 5)]
    book = gq.MultistageCodebook(tuple(map(stage, vectors)), "residual", 12)
    z = rng.normal(size=(50, 3)).astype(np.float32)
    quantized = MultistageQuantizer.from_codebook(book)(torch.from_numpy(z)).quantized.numpy()
    sums = np.array([sum(row) for row in product(*vectors)])
    best = np.square(z[:, None] - sums).sum(2).min(1)
    np.testing.assert_allclose(np.square(z - quantized).sum(1), best, rtol=1e-5)


@KINDS
@pytest.mark.parametrize("shape", [(7, 6), (7, 5, 6), (2, 6, 4, 5), (2, 6, 3, 4, 5)])
def test_shapes(books: dict[str, Any], kind: str, shape: tuple[int, ...]) -> None:
    """Every layout is that of its rows with an axis of stages, and comes back from its codes."""
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    quantizer = MultistageQuantizer.from_codebook(books[kind])
    quantized, indices, _ = quantizer(z)
    axis = 1 if z.ndim > 3 else -1
    last = z.movedim(axis, -1)
    assert quantized.shape == z.shape
    assert indices.shape == (*last.shape[:-1], 3)
    assert torch.equal(quantizer(last.reshape(-1, 6)).indices, indices.reshape(-1, 3))
    assert torch.equal(quantizer.get_output_from_indices(indices), quantized)
    codewords = quantizer.get_codes_from_indices(indices)
    assert torch.equal(codewords, quantized.movedim(axis, -1))


@KINDS
def test_batch_does_not_matter(
    books: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of any size give the same codes."""
    z = torch.from_numpy(latents(100, seed=1))
    quantizer = MultistageQuantizer.from_codebook(books[kind])
    whole = quantizer(z).indices
    monkeypatch.setattr(blocks, "_DISTANCES_ON_CPU", 1)
    assert torch.equal(quantizer(z).indices, whole)


def test_gradients(books: dict[str, Any]) -> None:
    """Straight through by default; none on demand."""
    z = torch.from_numpy(latents(10)).requires_grad_()
    quantized, _, loss = MultistageQuantizer.from_codebook(books["residual"])(z)
    quantized.sum().backward(retain_graph=True)
    assert z.grad is not None
    assert torch.equal(z.grad, torch.ones_like(z))
    assert loss.requires_grad
    none = MultistageQuantizer.from_codebook(books["residual"], gradient="none")
    assert not none(z).quantized.requires_grad


def test_one_stage_is_a_quantizer(books: dict[str, Any]) -> None:
    """A product of one stage has the codes of its codebook."""
    book = gq.fit_codebook(latents(), 6, random_state=0).codebook
    z = torch.from_numpy(latents(50, seed=1))
    one = MultistageQuantizer.from_codebook(gq.MultistageCodebook((book,), "product"))
    expected = GeodesicQuantizer.from_codebook(book)(z)
    assert torch.equal(one(z).indices[:, 0], expected.indices)
    assert torch.equal(one(z).quantized, expected.quantized)


@KINDS
def test_saved_is_loaded(books: dict[str, Any], kind: str, tmp_path: Path) -> None:
    """A saved quantizer gives the same codes; never by unpickling."""
    quantizer = MultistageQuantizer.from_codebook(books[kind], gradient="rotation")
    quantizer.save_pretrained(tmp_path)
    loaded = MultistageQuantizer.from_pretrained(tmp_path)
    z = torch.from_numpy(latents(50, seed=1))
    assert torch.equal(loaded(z).indices, quantizer(z).indices)
    assert (loaded.kind, loaded.gradient, loaded.beam) == (kind, "rotation", quantizer.beam)
    assert loaded.metadata == books[kind].metadata
    with pytest.raises(FileFormatError, match="model_type"):
        GeodesicQuantizer.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileFormatError, match="could run code"):
        MultistageQuantizer.from_pretrained(tmp_path)


@KINDS
def test_compiles_without_a_break(books: dict[str, Any], kind: str) -> None:
    """The whole forward is one graph."""
    quantizer = MultistageQuantizer.from_codebook(books[kind])
    torch._dynamo.reset()
    compiled = torch.compile(quantizer, fullgraph=True, backend="eager")
    z = torch.from_numpy(latents(40, seed=1))
    assert torch.equal(compiled(z).indices, quantizer(z).indices)


@KINDS
def test_exported_to_onnx_takes_any_batch(books: dict[str, Any], kind: str, tmp_path: Path) -> None:
    """The exported program and the ONNX file give the same codes for batches of another size."""
    import onnxruntime

    quantizer = MultistageQuantizer.from_codebook(books[kind]).eval()
    example = (torch.from_numpy(latents(6)),)
    shapes = {"z": {0: torch.export.Dim("batch", min=2)}}
    program = torch.export.export(quantizer, example, dynamic_shapes=shapes)
    z = latents(33, seed=1)
    expected = quantizer(torch.from_numpy(z))
    assert torch.equal(program.module()(torch.from_numpy(z))[1], expected.indices)
    path = tmp_path / "quantizer.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(program, example, path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    quantized, indices, _ = session.run(None, {session.get_inputs()[0].name: z})
    np.testing.assert_array_equal(indices, expected.indices.numpy())
    np.testing.assert_allclose(quantized, expected.quantized.numpy(), atol=1e-5)


def test_cuda(books: dict[str, Any]) -> None:
    """On a GPU the codes are the same."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    z = torch.from_numpy(latents(500, seed=1))
    for book in books.values():
        quantizer = MultistageQuantizer.from_codebook(book)
        expected = quantizer(z).indices
        found = quantizer.cuda()(z.cuda()).indices.cpu()
        assert (found == expected).float().mean() >= 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": []}, "an entry for each stage, found 0, 2"),
        ({"codebook_sizes": [4]}, "an entry for each stage, found 2, 1"),
        ({"n_anchors": [1]}, "found 2, 2, 1 and 2"),
        ({"dims": [2, 3]}, r"one dimension and no anchors.* found dims \[2, 3\]"),
        ({"n_anchors": [9, 9]}, "no anchors"),
        ({"kind": "sum"}, "'residual' or 'product', found 'sum'"),
        ({"beam": 0}, "beam"),
        ({"dims": [2, 0]}, "dims"),
        ({"gradient": "gumbel"}, "found 'gumbel'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    """An argument that cannot be used is named."""
    with pytest.raises(InputError, match=message):
        MultistageQuantizer(**({"dims": [2, 2], "codebook_sizes": [4, 4]} | options))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.zeros(4, 2, dtype=torch.int64), r"shape \(\.\.\., 3\), .* found \(4, 2\)"),
        (torch.tensor([0, 9, 0]), r"indices\[\.\.\., 1\] must lie in \[0, \d\), found 9"),
        (torch.tensor([-1, 0, 0]), r"indices\[\.\.\., 0\] .*found -1"),
        (torch.zeros(3), "integers, found torch.float32"),
        (torch.tensor(0), r"found \(\)"),
    ],
)
def test_bad_indices(books: dict[str, Any], indices: torch.Tensor, message: str) -> None:
    """Codes that are none of the codebook are named with their stage."""
    quantizer = MultistageQuantizer.from_codebook(books["residual"])
    with pytest.raises(InputError, match=message):
        quantizer.get_output_from_indices(indices)


def test_bad_latents_and_codebooks(books: dict[str, Any]) -> None:
    """Another dimension or device, and a codebook of one stage, are named with the cure."""
    quantizer = MultistageQuantizer.from_codebook(books["residual"])
    with pytest.raises(InputError, match=r"6 channels in axis 1, found shape \(4, 5\)"):
        quantizer(torch.zeros(4, 5))
    with pytest.raises(InputError, match="z is on meta, the quantizer on cpu"):
        quantizer(torch.zeros(4, 6, device="meta"))
    with pytest.raises(InputError, match="found Codebook; GeodesicQuantizer"):
        MultistageQuantizer.from_codebook(books["product"].stages[0])  # type: ignore[arg-type]
