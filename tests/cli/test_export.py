"""``geoquant export``: what it writes, what it says, and what it refuses before the work."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.plane import plane_map
from tests.cli.conftest import assert_one_line_error, assert_usage_error, blobs, contents

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
BOOK = "latents.codebook.safetensors"


@pytest.fixture
def book(run: Run, latents: Path) -> gq.Codebook:
    """A codebook of sixty latents in three heaps."""
    run("fit", latents, "-k", 5, "-q")
    found = gq.load_codebook(BOOK)
    assert isinstance(found, gq.Codebook)
    return found


@pytest.fixture
def stages(run: Run, latents: Path) -> gq.MultistageCodebook:
    """A codebook of two residual stages of the same latents."""
    run("fit", latents, "-k", 4, "--stages", 2, "-q", "-o", "two.safetensors")
    found = gq.load_codebook("two.safetensors")
    assert isinstance(found, gq.MultistageCodebook)
    return found


def new_latents() -> np.ndarray:
    return blobs()[::2] + np.float32(0.25)


# ----------------------------------------------------------------------------------------- parquet


def test_parquet_of_new_latents(run: Run, book: gq.Codebook, folder: Path) -> None:
    """Codes, map, neighbours, labels and thumbnails; JSON on stdout and nothing else."""
    pq = pytest.importorskip("pyarrow.parquet")
    z, images = new_latents(), np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8)
    np.save("z.npy", z)
    np.save("labels.npy", np.arange(30) % 3)
    np.save("images.npy", images)
    outcome = run(
        *("export", BOOK, "--to", "parquet", "--latents", "z.npy", "--labels", "labels.npy"),
        *("--images", "images.npy", "--neighbors", 4, "-o", "out.parquet", "--json"),
    )
    assert (outcome.exit_code, outcome.err) == (0, "")
    said = json.loads(outcome.out)
    table = pq.read_table("out.parquet")
    assert said == {
        "schema_version": 1,
        "to": "parquet",
        "n": 30,
        "columns": table.schema.names,
        "distance": "along the data to the centre of the code, in units of the latents",
        "output": "out.parquet",
    }
    assert said["columns"] == ["x", "y", "code", "distance", "row", "label", "image", "neighbors"]
    assert np.array_equal(table["code"].to_numpy(), book.assign(z))
    graph = gq.bridge_components(gq.knn_graph(z, 10), z).graph
    found = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    assert np.allclose(found, plane_map(graph, z), atol=1e-4)
    assert table["label"].to_pylist() == (np.arange(30) % 3).tolist()
    assert {len(entry["ids"]) for entry in table["neighbors"].to_pylist()} == {4}


def test_parquet_of_what_the_codebook_keeps(run: Run, book: gq.Codebook) -> None:
    """Without latents: the anchors; words say what is in it and how to look at it."""
    pq = pytest.importorskip("pyarrow.parquet")
    outcome = run("export", BOOK, "--to", "parquet", "-o", "out it.parquet")
    assert outcome.exit_code == 0
    assert outcome.out.splitlines() == [
        "60 latents with x, y, code, distance, row, neighbors",
        "distance: along the data to the centre of the code, in units of the latents",
        "to look at it: embedding-atlas 'out it.parquet' --x x --y y --neighbors neighbors",
        "parquet: out it.parquet",
    ]
    table = pq.read_table("out it.parquet")
    assert np.array_equal(table["code"].to_numpy(), book.anchor_code)
    assert {len(entry["ids"]) for entry in table["neighbors"].to_pylist()} == {15}


@pytest.mark.parametrize("kind", ["pca", "file"])
def test_map_of_ones_own(run: Run, book: gq.Codebook, kind: str) -> None:
    """Principal directions, or two numbers for each latent from a file."""
    pq = pytest.importorskip("pyarrow.parquet")
    places = np.random.default_rng(0).random((60, 2)).astype(np.float32)
    np.save("places.npy", places)
    given = "pca" if kind == "pca" else "places.npy"
    options = ("--map", given, "--neighbors", 0, "-q")
    assert run("export", BOOK, "--to", "parquet", "-o", "o.parquet", *options) == (0, "", "")
    table = pq.read_table("o.parquet")
    assert "neighbors" not in table.schema.names
    found = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    if kind == "pca":
        graph = gq.Graph.from_edges(60, [], [], [])
        places = plane_map(graph, book.anchors, method="pca")
    assert np.allclose(found, places, atol=1e-4)


def test_text_labels_of_stages(run: Run, stages: gq.MultistageCodebook, latents: Path) -> None:
    """One in each line of a .txt, whatever else is in it; codes have a column each."""
    pq = pytest.importorskip("pyarrow.parquet")
    labels = [f'"{row}"\tline\u2028{row}' for row in range(60)]
    (latents.parent / "labels.txt").write_bytes("\r\n".join([*labels, ""]).encode())
    command = ("export", "two.safetensors", "--to", "parquet", "-o", "o.parquet", "-q")
    outcome = run(*command, "--latents", latents, "--labels", "labels.txt")
    assert outcome == (0, "", "")
    table = pq.read_table("o.parquet")
    assert table["label"].to_pylist() == labels
    assert np.array_equal(table["code_2"].to_numpy(), stages.assign(blobs())[:, 1])
    assert_usage_error(run(*command), "--latents", "a codebook of stages keeps none")


# --------------------------------------------------------------------------------------- projector


def test_projector(run: Run, book: gq.Codebook, folder: Path) -> None:
    """The folder, and the words that say how to look at it."""
    outcome = run("export", BOOK, "--to", "projector", "-o", "projector")
    assert outcome.out.splitlines() == [
        "60 latents",
        "to look at it: tensorboard --logdir projector",
        "projector: projector",
    ]
    assert len((folder / "projector" / "vectors.tsv").read_text().splitlines()) == 60
    assert len((folder / "projector" / "metadata.tsv").read_text().splitlines()) == 61


def test_projector_says_that_it_has_a_sample(
    run: Run, book: gq.Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More images than have room in a sprite."""
    pytest.importorskip("PIL")
    from geoquant.export import projector

    monkeypatch.setattr(projector, "MAX_SPRITE", 20)
    np.save("images.npy", np.zeros((60, 4, 4), np.uint8))
    command = ("export", BOOK, "--to", "projector", "--images", "images.npy", "--overwrite")
    outcome = run(*command, "-o", "p")
    assert outcome.out.startswith("25 latents of 60, a random part: more images have no room in")
    found = json.loads(run(*command, "-o", "p", "--json").out)
    assert (found["n"], found["n_shown"]) == (60, 25)


def test_thumbnails_of_data_and_of_a_model(run: Run, folder: Path) -> None:
    """Images of a set of data, or what a model decodes of the latents."""
    torch = pytest.importorskip("geoquant.torch")
    image = pytest.importorskip("PIL.Image")
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, (90, 4, 5), np.uint8))
    data = torch.load_images("images.npy")  # nine tenths of them
    with torch.seeded(0):
        torch.VAE((1, 4, 5), latent_dim=2, hidden_dim=8).save_pretrained(folder / "model")
    adapter = torch.VAEAdapter.wrap(folder / "model")
    z = adapter.encode_array(data)
    np.save("z.npy", z)
    gq.fit_codebook(z, 3, random_state=0).codebook.save(BOOK)
    command = ("export", BOOK, "--to", "projector", "--latents", "z.npy", "--overwrite", "-q")
    decoded = np.rint(adapter.decode_array(z) * 255).astype(np.uint8)[:, 0]
    for options, expected in (
        (("--data", "images.npy"), data.pixels[:, 0]),
        (("--model", "model"), decoded),
    ):
        assert run(*command, "-o", "p", *options) == (0, "", "")
        sprite = np.asarray(image.open(io.BytesIO((folder / "p/sprite.png").read_bytes())))
        for row in (0, 11, 80):
            y, x = divmod(row, 9)
            assert np.array_equal(sprite[4 * y : 4 * y + 4, 5 * x : 5 * x + 5], expected[row])
    outcome = run(*command, "-o", "p", "--data", "images.npy", "--model", "model")
    assert_usage_error(outcome, "--data and --model each say what the images are; give one")
    np.save("z.npy", z[:80])
    outcome = run(*command, "-o", "p", "--data", "images.npy")
    assert_usage_error(outcome, "--data", "has 81 images, and there are 80 latents")


# ----------------------------------------------------------------------------- modules and folders


@pytest.mark.parametrize("kind", ["vector-quantize-pytorch", "diffusers"])
def test_modules(run: Run, spiral_latents: Path, folder: Path, kind: str) -> None:
    """A folder with the module; how many codes become others is measured on the latents."""
    pytest.importorskip(kind.replace("-", "_"))
    torch = pytest.importorskip("geoquant.torch")
    run("fit", spiral_latents, "-k", 6, "-q")
    book = gq.load_codebook("spiral.codebook.safetensors")
    part = np.load(spiral_latents)[:100]
    np.save("part.npy", part)
    command = ("export", "spiral.codebook.safetensors", "--to", kind)
    outcome = run(*command, "--latents", "part.npy", "-o", "module", "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    share = (book.assign(part) != gq.nearest_codeword(part, book.vectors)).mean()
    assert json.loads(outcome.out) == {
        "schema_version": 1,
        "to": kind,
        "share_of_other_codes": pytest.approx(share),
        "output": "module",
    }
    assert f"| {share:.1%} |" in (folder / "module" / "README.md").read_text()
    outcome = run(*command, "-o", "all")
    share = torch.share_of_other_codes(book)
    assert 0 < share < 1
    assert outcome.out.splitlines() == [
        f"{share:.1%} of the latents get another code from it: it assigns by the straight distance "
        "to codewords, not along the data",
        "how to load it: all/README.md",
        f"{kind}: all",
    ]


def test_module_of_stages(run: Run, stages: gq.MultistageCodebook, latents: Path) -> None:
    """They keep no latents to measure on, and say which option brings some."""
    pytest.importorskip("vector_quantize_pytorch")
    command = ("export", "two.safetensors", "--to", "vector-quantize-pytorch")
    outcome = run(*command, "-o", "module")
    assert "--latents says how many codes become others" in outcome.out
    found = json.loads(run(*command, "-o", "other", "--latents", latents, "--json").out)
    assert 0 <= found["share_of_other_codes"] <= 1
    pytest.importorskip("diffusers")
    outcome = run("export", "two.safetensors", "--to", "diffusers", "-o", "none")
    assert_one_line_error(outcome, 2, "of one stage", "found MultistageCodebook")


def test_vq_model_gets_the_codewords(run: Run, book: gq.Codebook, folder: Path) -> None:
    """A folder that diffusers saved becomes another; what is no VQModel is refused."""
    diffusers = pytest.importorskip("diffusers")
    options = {"block_out_channels": (8,), "norm_num_groups": 2, "latent_channels": 2}
    diffusers.VQModel(**options, num_vq_embeddings=9).save_pretrained(folder / "model")
    command = ("export", BOOK, "--to", "diffusers", "-q")
    assert run(*command, "--model", "model", "-o", "new") == (0, "", "")
    model = diffusers.VQModel.from_pretrained(folder / "new")
    assert np.array_equal(model.quantize.embedding.weight.detach().numpy(), book.vectors)
    assert_usage_error(run(*command, "--model", "model", "-o", "model"), "is an input")
    os.remove(folder / "model" / "diffusion_pytorch_model.safetensors")
    outcome = run(*command, "--model", "model", "-o", "none")
    assert_one_line_error(outcome, 3, "model/diffusion_pytorch_model.safetensors: no such file")
    (folder / "model" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    outcome = run(*command, "--model", "model", "-o", "none")
    assert_one_line_error(outcome, 3, "model: must hold a VQModel", "'UNet2DModel'")
    assert_one_line_error(run(*command, "--model", "nowhere", "-o", "none"), 3, "no such folder")
    assert not (folder / "none").exists()


def test_folder_is_a_codebook(run: Run, book: gq.Codebook, folder: Path) -> None:
    """Other commands take it as they take the file, and so does export."""
    outcome = run("export", BOOK, "--to", "folder", "-o", "shared")
    assert outcome.out.splitlines() == [
        "to load it: geoquant.load_codebook('shared')",
        "folder: shared",
    ]
    names = sorted(path.name for path in (folder / "shared").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    for command in (("assign", "latents.npy", "--codebook"), ("inspect",)):
        first, second = run(*command, BOOK, "--json"), run(*command, "shared", "--json")
        assert first == second
        assert first.exit_code == 0
    assert run("export", "shared", "--to", "folder", "-o", "again", "-q") == (0, "", "")
    first, second = contents(folder / "shared"), contents(folder / "again")
    assert first == second


# ------------------------------------------------------------------------------------ what is wrong


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("folder", ("--latents", "latents.npy"), ("--latents", "is for --to parquet, projector,")),
        ("folder", ("--model", "m"), ("--model", "is for --to parquet, projector, diffusers")),
        ("projector", ("--map", "pca"), ("--map", "is for --to parquet")),
        ("diffusers", ("--labels", "x.npy"), ("--labels", "is for --to parquet, projector")),
        ("projector", ("--neighbors", 3), ("--neighbors", "is for --to parquet")),
        ("projector", ("--key", "z"), ("--key", "names an array of --latents")),
        ("parquet", ("--neighbors", -1), ("--neighbors",)),
        ("parquet", ("--map", "umap"), ("--map", "must be geodesic, pca or an .npy, found umap")),
        ("projector", ("--split", "test"), ("--split", "is a part of --data")),
        ("projector", ("--latents", "wide.npy"), ("--latents", "has 3 columns, the codebook 2")),
        ("projector", ("--labels", "few.npy"), ("--labels", "shape (60,), one for each")),
        ("projector", ("--images", "few.npy"), ("--images", "must be 60, one for each latent")),
        ("parquet", ("--map", "wide.npy"), ("--map", "must have shape (60, 2), a place for")),
    ],
)
def test_options_that_do_not_fit(
    run: Run, folder: Path, kind: str, options: tuple[Any, ...], words: tuple[str, ...]
) -> None:
    """The option, what it is for or what was found; nothing is written."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    np.save("wide.npy", np.zeros((60, 3), np.float32))
    np.save("few.npy", np.zeros(59, int))
    before = contents(folder)
    assert_usage_error(run("export", BOOK, "--to", kind, "-o", "out", *options), *words)
    assert contents(folder) == before


@pytest.mark.usefixtures("book")
def test_what_is_there_is_not_lost(run: Run, folder: Path) -> None:
    """A folder that holds something, such as a model, is not written over unasked."""
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    command = ("export", BOOK, "--to", "folder", "-o")
    assert_usage_error(run(*command, "model"), "model holds something already", "--overwrite")
    assert (folder / "model" / "config.json").read_text() == "{}"
    assert run(*command, "model", "--overwrite", "-q") == (0, "", "")
    assert_usage_error(run(*command, "latents.npy"), "latents.npy is a file; name a folder")
    assert_usage_error(run(*command, BOOK), "is an input")
    assert_usage_error(run(*command, "no/where"), "folder no does not exist")
    outcome = run("export", BOOK, "--to", "parquet", "-o", "model")
    assert_usage_error(outcome, "model is a folder; name a file")


@pytest.mark.usefixtures("book")
def test_files_that_cannot_be_read(run: Run, folder: Path) -> None:
    """Exit code 3 and one line with the name of the file."""
    (folder / "labels.txt").write_bytes(b"caf\xe9\n")
    os.mkfifo(folder / "pipe.txt")
    command = ("export", BOOK, "--to", "projector", "-o", "out")
    for name, words in (
        ("labels.txt", "is not text in UTF-8"),
        ("pipe.txt", "is not a regular file"),
        ("none.txt", "no such file"),
        ("none.npy", "no such file"),
    ):
        assert_one_line_error(run(*command, "--labels", name), 3, name, words)
    assert_one_line_error(run(*command, "--images", "none.npy"), 3, "none.npy")
    assert_one_line_error(run("export", "none", "--to", "folder", "-o", "out"), 3, "none")
    assert not (folder / "out").exists()


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize(
    ("kind", "module", "cure"),
    [
        ("parquet", "pyarrow", "pip install 'geoquant[io]'"),
        ("vector-quantize-pytorch", "vector_quantize_pytorch", "pip install vector-quantize-"),
        ("diffusers", "diffusers", "pip install diffusers"),
    ],
)
def test_missing_library(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str, cure: str
) -> None:
    """One line that says how to get it, before latents are mapped; nothing is written."""
    if kind != "parquet":
        pytest.importorskip("torch")
    for name in [key for key in sys.modules if key.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("geoquant.export.latent_table", None)  # must not be called
    before = contents(folder)
    assert_one_line_error(run("export", BOOK, "--to", kind, "-o", "out"), 2, cure)
    assert contents(folder) == before
