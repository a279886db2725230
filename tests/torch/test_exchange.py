"""Codebooks as modules of vector-quantize-pytorch and diffusers, tried with the real ones."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import geoquant as gq
from geoquant.errors import FileFormatError, InputError
from geoquant.tensor_files import read_safetensors
from geoquant.torch import (
    VAEAdapter,
    put_in_vq_model,
    share_of_other_codes,
    to_diffusers_vq,
    to_vector_quantize_pytorch,
)
from geoquant.torch.exchange_folders import (
    load_vq_model,
    write_diffusers,
    write_vector_quantize_pytorch,
)

if TYPE_CHECKING:
    from pathlib import Path

DIM, K = 4, 12


@pytest.fixture(scope="module")
def lucidrains() -> Any:
    return pytest.importorskip("vector_quantize_pytorch")


@pytest.fixture(scope="module")
def diffusers() -> Any:
    pytest.importorskip("diffusers.models.autoencoders.vae")
    return pytest.importorskip("diffusers")


def random_latents(n: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def book() -> gq.Codebook:
    return gq.fit_codebook(random_latents(), K, random_state=0).codebook


@pytest.fixture(scope="module")
def stages() -> gq.MultistageCodebook:
    return gq.fit_multistage(random_latents(), (6, 5), n_stages=2, random_state=0).codebook


def vq_model(diffusers: Any, n_codes: int = K, dim: int = DIM) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.VQModel(
            in_channels=1,
            out_channels=1,
            block_out_channels=(8,),
            norm_num_groups=2,
            latent_channels=dim,
            num_vq_embeddings=n_codes,
            sample_size=8,
        ).eval()


def run_usage(folder: Path) -> dict[str, Any]:
    """Run the Python in a folder's README.md as it stands, with the folder put in."""
    text = (folder / "README.md").read_text()
    code = re.search(r"```python\n(.*?)\n```", text, re.DOTALL)
    assert code
    names: dict[str, Any] = {}
    exec(code[1].replace("path/to/this/folder", str(folder)), names)
    return names


# ------------------------------------------------------------------------- vector-quantize-pytorch


def test_module_has_our_codewords_and_nearest_codes(lucidrains: Any, book: gq.Codebook) -> None:
    """Of random latents, in training and in evaluation, and decoded from indices."""
    module = to_vector_quantize_pytorch(book)
    assert isinstance(module, lucidrains.VectorQuantize)
    assert np.array_equal(module.codebook.numpy(), book.vectors)
    z = random_latents(seed=1)
    nearest = gq.nearest_codeword(z, book.vectors)
    for mode in (True, False):
        quantized, indices, _ = module.train(mode)(torch.from_numpy(z))
        assert np.array_equal(indices.numpy(), nearest)
        assert np.allclose(quantized.detach().numpy(), book.lookup(nearest), atol=1e-6)
    found = module.get_output_from_indices(torch.from_numpy(nearest).long())
    assert np.array_equal(found.numpy(), book.lookup(nearest))


def test_sites_of_images(lucidrains: Any, book: gq.Codebook) -> None:
    """Their option of layout is passed on: (n, d, H, W) gives codes (n, H, W)."""
    module = to_vector_quantize_pytorch(book, accept_image_fmap=True, commitment_weight=0.5)
    assert module.commitment_weight == 0.5
    z = random_latents(2 * 3 * 5).reshape(2, 3, 5, DIM)
    _, indices, _ = module(torch.from_numpy(z).movedim(-1, 1))
    expected = gq.nearest_codeword(z.reshape(-1, DIM), book.vectors).reshape(2, 3, 5)
    assert np.array_equal(indices.numpy(), expected)


def test_frozen_codewords_stay_and_others_learn(lucidrains: Any, book: gq.Codebook) -> None:
    """Training leaves ours as they are, unless asked; then they go on from where they are."""
    z = torch.from_numpy(random_latents(seed=2))
    frozen = to_vector_quantize_pytorch(book).train()
    frozen(z)
    assert np.array_equal(frozen.codebook.numpy(), book.vectors)
    learning = to_vector_quantize_pytorch(book, freeze=False, decay=0.99).train()
    learning(z)
    change = np.abs(learning.codebook.numpy() - book.vectors).max()
    assert 0 < change < 1


def test_stages_are_a_residual_vq(lucidrains: Any, stages: gq.MultistageCodebook) -> None:
    """Stage after stage the nearest codeword, as our encoding with a beam of one."""
    module = to_vector_quantize_pytorch(stages).eval()
    assert isinstance(module, lucidrains.ResidualVQ)
    for codebook, stage in zip(module.codebooks, stages.stages, strict=True):
        assert np.array_equal(codebook.numpy(), stage.vectors)
    z = random_latents(seed=1)
    greedy = replace(stages, beam=1).assign(z)
    quantized, indices, _ = module(torch.from_numpy(z))
    assert np.array_equal(indices.numpy(), greedy)
    assert np.allclose(quantized.numpy(), stages.lookup(greedy), atol=1e-6)
    assert not np.array_equal(greedy, stages.assign(z))


def test_stages_of_one_size(lucidrains: Any) -> None:
    """Equal sizes of stages, which their module treats otherwise, are as good."""
    z = random_latents()
    stages = gq.fit_multistage(z, 5, n_stages=3, random_state=0).codebook
    module = to_vector_quantize_pytorch(stages).eval()
    greedy = replace(stages, beam=1).assign(z)
    assert np.array_equal(module(torch.from_numpy(z))[1].numpy(), greedy)


def test_what_has_no_equal_there(
    lucidrains: Any, book: gq.Codebook, stages: gq.MultistageCodebook
) -> None:
    """Product stages, codewords other than those encoded by, and options that change codewords."""
    with pytest.raises(InputError, match=r"residual stages .* found product stages; use"):
        to_vector_quantize_pytorch(replace(stages, kind="product"))
    vectors = [stage.vectors + 1 for stage in stages.stages]
    with pytest.raises(InputError, match="stage 1 has others; use geoquant"):
        to_vector_quantize_pytorch(stages.replace_vectors(vectors, keep_codes=True))
    to_vector_quantize_pytorch(stages.replace_vectors(vectors))
    with pytest.raises(InputError, match="found kmeans_init, use_cosine_sim; leave out"):
        to_vector_quantize_pytorch(book, use_cosine_sim=True, kmeans_init=True)
    with pytest.raises(InputError, match=r"found str; load one with geoquant\.load_codebook"):
        to_vector_quantize_pytorch("latents.safetensors")


@pytest.mark.parametrize("kind", ["single", "stages", "equal stages"])
def test_folder_loads_by_its_own_words(
    lucidrains: Any, book: gq.Codebook, stages: gq.MultistageCodebook, tmp_path: Path, kind: str
) -> None:
    """The Python of its README.md gives the module; its configuration says the same."""
    given: Any = {
        "single": book,
        "stages": stages,
        "equal stages": gq.MultistageCodebook((book, book), "residual"),
    }[kind]
    write_vector_quantize_pytorch(tmp_path / "module", given, share_of_others=0.1234)
    text = (tmp_path / "module" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: vector-quantize-pytorch\n")
    assert "gives another code | 12.3% |" in text
    sizes = {"single": "12", "stages": "6 × 5", "equal stages": "12 × 12"}
    assert f"| codes | {sizes[kind]} |" in text
    module = run_usage(tmp_path / "module")["module"].eval()
    z = torch.from_numpy(random_latents(seed=3))
    assert torch.equal(module(z)[1], to_vector_quantize_pytorch(given).eval()(z)[1])
    config = json.loads((tmp_path / "module" / "config.json").read_text())
    assert config["class"] == type(module).__name__
    assert config["arguments"]["dim"] == DIM
    assert module.freeze_codebook if kind == "single" else module.layers[0].freeze_codebook


# --------------------------------------------------------------------------------------- diffusers


def test_diffusers_quantizer_has_nearest_codes(diffusers: Any, book: gq.Codebook) -> None:
    """Indices have the shape of the sites, and give the codewords back."""
    module = to_diffusers_vq(book)
    z = random_latents(2 * 3 * 5, seed=1).reshape(2, 3, 5, DIM)
    nearest = gq.nearest_codeword(z.reshape(-1, DIM), book.vectors)
    quantized, _, (_, _, indices) = module(torch.from_numpy(z).movedim(-1, 1))
    assert np.array_equal(indices.numpy(), nearest.reshape(2, 3, 5))
    expected = book.lookup(nearest).reshape(z.shape)
    assert np.allclose(quantized.movedim(1, -1).numpy(), expected, atol=1e-6)
    entry = module.get_codebook_entry(indices.flatten(), (2, 3, 5, DIM))
    assert np.array_equal(entry.movedim(1, -1).numpy(), expected)
    assert not module.embedding.weight.requires_grad
    assert to_diffusers_vq(book, freeze=False).embedding.weight.requires_grad
    flat = to_diffusers_vq(book, sane_index_shape=False)(torch.from_numpy(z).movedim(-1, 1))
    assert flat[2][2].shape == (30,)


def test_vq_model_decodes_by_our_codewords(diffusers: Any, book: gq.Codebook) -> None:
    """What it quantizes is what our nearest codewords decode to without its quantizer."""
    model = vq_model(diffusers)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert put_in_vq_model(book, model) is model
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name != "quantize.embedding.weight")
    z = random_latents(2 * 4 * 4, seed=1)
    nearest = book.lookup(gq.nearest_codeword(z, book.vectors))
    grid, ours = (torch.from_numpy(x.reshape(2, 4, 4, DIM)).movedim(-1, 1) for x in (z, nearest))
    with torch.no_grad():
        quantized = model.decode(grid).sample
        direct = model.decode(ours, force_not_quantize=True).sample
        plain = model.decode(grid, force_not_quantize=True).sample
    assert torch.allclose(quantized, direct, atol=1e-5)
    assert not torch.allclose(plain, direct, atol=1e-3)
    adapter = VAEAdapter.wrap(model, granularity="site", latent_shape=(DIM, 4, 4))
    assert np.allclose(adapter.decode_array(nearest), direct.numpy() / 2 + 0.5, atol=1e-5)


def test_vq_model_of_other_sizes(diffusers: Any, book: gq.Codebook) -> None:
    """Another number of codes needs to be asked for; another dimension cannot be had."""
    model = vq_model(diffusers, n_codes=20)
    with pytest.raises(InputError, match="must have the model's 20 codes, found 12; give resize="):
        put_in_vq_model(book, model)
    old = model.quantize
    put_in_vq_model(book, model, resize=True)
    assert model.config.num_vq_embeddings == K
    assert np.array_equal(model.quantize.embedding.weight.numpy(), book.vectors)
    for name in ("beta", "legacy", "sane_index_shape", "vq_embed_dim"):
        assert getattr(model.quantize, name) == getattr(old, name)
    with pytest.raises(InputError, match="of the 3 numbers that the model has at each site"):
        put_in_vq_model(book, vq_model(diffusers, dim=3))
    with pytest.raises(InputError, match=r"quantize\.embedding, as VQModel .* found Linear"):
        put_in_vq_model(book, torch.nn.Linear(2, 2))


def test_half_precision_and_device_of_the_model_stay(diffusers: Any, book: gq.Codebook) -> None:
    """A resized quantizer is of the model's type."""
    model = put_in_vq_model(book, vq_model(diffusers, n_codes=5).half(), resize=True)
    assert model.quantize.embedding.weight.dtype == torch.float16


def test_stages_have_no_equal_in_diffusers(diffusers: Any, stages: gq.MultistageCodebook) -> None:
    """Both functions say so."""
    for make in (to_diffusers_vq, lambda book: put_in_vq_model(book, vq_model(diffusers))):
        with pytest.raises(InputError, match=r"of one stage, .* found MultistageCodebook"):
            make(stages)


def test_folder_of_the_quantizer(diffusers: Any, book: gq.Codebook, tmp_path: Path) -> None:
    """It loads by the words of its README.md."""
    write_diffusers(tmp_path, book)
    assert "another code" not in (tmp_path / "README.md").read_text().partition("## Facts")[2]
    module = run_usage(tmp_path)["module"]
    assert np.array_equal(module.embedding.weight.detach().numpy(), book.vectors)
    assert (module.legacy, module.sane_index_shape) == (False, True)


def test_folder_of_a_model(diffusers: Any, book: gq.Codebook, tmp_path: Path) -> None:
    """diffusers loads it with our codes, however many it had."""
    given = vq_model(diffusers, n_codes=20)
    write_diffusers(tmp_path, book, given, share_of_others=0.5)
    model = run_usage(tmp_path)["model"]
    assert model.config.num_vq_embeddings == K
    expected = given.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    arrays, texts = read_safetensors(tmp_path / "diffusion_pytorch_model.safetensors")
    assert texts == {"format": "pt"}
    assert np.array_equal(arrays["quantize.embedding.weight"], book.vectors)


@pytest.mark.parametrize("half", [False, True])
def test_model_is_loaded_as_diffusers_does(diffusers: Any, tmp_path: Path, half: bool) -> None:
    """What its save_pretrained wrote, in the precision that it has."""
    given = vq_model(diffusers).half() if half else vq_model(diffusers)
    given.save_pretrained(tmp_path)
    model, expected = load_vq_model(tmp_path), given.state_dict()
    assert set(model.state_dict()) == set(expected)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert model.config.num_vq_embeddings == K
    assert not model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": None}, "must hold a VQModel of diffusers, found _class_name None"),
        ({"norm_num_groups": 3}, "makes no VQModel"),
        ({"num_vq_embeddings": 5}, r"weight must be .* of shape \(5, 4\), found"),
    ],
)
def test_folder_that_holds_no_vq_model(
    diffusers: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Another kind of model, a configuration that makes none, or weights of another."""
    vq_model(diffusers).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FileFormatError, match=message):
        load_vq_model(tmp_path)


def test_weights_unknown_to_numpy_are_refused(
    diffusers: Any, book: gq.Codebook, tmp_path: Path
) -> None:
    """Bfloat16 is not converted unasked, and no folder is left."""
    with pytest.raises(InputError, match=r"found .* of torch\.bfloat16; convert it with model"):
        write_diffusers(tmp_path / "new", book, vq_model(diffusers).bfloat16())
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------- shares


def test_share_is_that_of_the_modules(
    lucidrains: Any, diffusers: Any, book: gq.Codebook, stages: gq.MultistageCodebook
) -> None:
    """Counted from the indices of the real modules, on given latents and on anchors."""
    z = random_latents(seed=4)
    for given, latents in ((book, z), (book, None), (stages, z)):
        x = given.anchors if latents is None else latents
        theirs = to_vector_quantize_pytorch(given).eval()(torch.from_numpy(x.copy()))[1].numpy()
        other = (theirs != given.assign(x)).reshape(len(x), -1).any(axis=1).mean()
        assert share_of_other_codes(given, latents) == pytest.approx(other)
        assert 0 < other < 1
    grid = torch.from_numpy(z).T.reshape(1, DIM, 15, 20)
    other = (to_diffusers_vq(book)(grid)[2][2].flatten().numpy() != book.assign(z)).mean()
    assert share_of_other_codes(book, z) == pytest.approx(other)


def test_share_needs_latents_of_stages(stages: gq.MultistageCodebook) -> None:
    """They keep none; and product stages have no such modules."""
    with pytest.raises(InputError, match="latents must be given for a codebook of stages"):
        share_of_other_codes(stages)
    with pytest.raises(InputError, match="found product stages"):
        share_of_other_codes(replace(stages, kind="product"), random_latents())


@pytest.mark.parametrize("name", ["vector_quantize_pytorch", "diffusers.models.autoencoders.vae"])
def test_missing_library_is_named(
    book: gq.Codebook, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With what installs it."""
    make = to_vector_quantize_pytorch if "pytorch" in name else to_diffusers_vq
    package = name.partition(".")[0]
    for module in [key for key in sys.modules if key.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install {package.replace('_', '-')}"):
        make(book)
