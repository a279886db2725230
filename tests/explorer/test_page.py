"""The whole page: what is in it, that nothing of a user's gets out of its place, and its size."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.explorer import LayeredDecoder, content, write_explorer
from geoquant.explorer.content import page_content, undirected_edges
from geoquant.explorer.scene import scene_of
from tests.explorer.reading import content_of, read_page

ROOT = Path(__file__).parents[2]


def written(path: Path, *args: Any, **options: Any) -> str:
    write_explorer(path, *args, **options)
    return path.read_text(encoding="utf-8")


def test_a_page_holds_its_scene(tmp_path: Path, latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Every array is read back, as exactly as it is stored."""
    labels = np.where(latents[:, 0] > 0, "right", "left")
    html = written(tmp_path / "page.html", codebook, latents, labels=labels, plane=latents)
    found, scene = read_page(content_of(html)), scene_of(codebook, latents)
    assert found.row == scene.row.tolist()
    assert found.code == scene.code.tolist()
    assert found.label == labels[scene.row].tolist()
    low, high, length = undirected_edges(scene.graph)
    assert found.edges == list(zip(low.tolist(), high.tolist(), strict=True))
    np.testing.assert_allclose(found.distance, scene.distance, atol=scene.distance.max() / 65535)
    nodes = np.concatenate([scene.latents, scene.vectors])
    np.testing.assert_allclose(found.latents, nodes, atol=np.ptp(nodes) / 65535)
    between = np.linalg.norm(found.latents[low] - found.latents[high], axis=1)
    error = content_of(html)["length_error"]
    assert np.abs(between - length).max() == pytest.approx(error)
    assert 0 < error < 1e-3


def test_places_keep_the_proportions_of_the_map(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """The wider axis fills what there is; a map that is one place is in the middle."""
    scene = scene_of(codebook, latents, plane=latents * [1, 0.5])
    place = read_page(page_content(scene, title="")).place
    assert (place[:, 0].min(), place[:, 0].max()) == (0, 65535)
    ratio = np.ptp(place, axis=0) / np.ptp(scene.plane, axis=0)
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-4)
    middle = scene_of(codebook, latents, plane=latents * 0)
    assert set(read_page(page_content(middle, title="")).place.ravel()) == {32768}


def test_many_latents_take_few_bits(
    latents: np.ndarray, codebook: gq.Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As few as keep the lengths of edges to a thousandth, on average."""
    scene = scene_of(codebook, latents)
    assert page_content(scene, title="")["latents"]["bits"] == 16
    monkeypatch.setattr(content, "_MOST_IN_16_BITS", 0)
    coarse = page_content(scene, title="")
    assert 8 <= coarse["latents"]["bits"] < 16
    low, high, length = undirected_edges(scene.graph)
    numbers = read_page(coarse).latents
    between = np.linalg.norm(numbers[low] - numbers[high], axis=1)
    assert np.abs(between - length).sum() <= 0.001 * length.sum()


def test_cells_with_edges_between_them_differ_in_colour(
    latents: np.ndarray, codebook: gq.Codebook
) -> None:
    """Along a spiral each cell has two neighbours, so all of them can differ."""
    scene = scene_of(codebook, latents)
    low, high, _ = undirected_edges(scene.graph)
    colour = content.cell_colours(scene, low, high)
    a, b = scene.code[low], scene.code[high]
    assert (colour[a] != colour[b])[a != b].all()
    assert np.bincount(colour, minlength=content.N_COLOURS).max() <= 2


HOSTILE = "</script><script>alert(1)</script>{{data}}<!--&amp;\u2028'\""


def test_texts_of_users_stay_texts(
    tmp_path: Path, latents: np.ndarray, codebook: gq.Codebook
) -> None:
    """A title and labels that look like markup end no element and are read back as they were."""
    labels = np.array([HOSTILE, "b"] * 150)
    html = written(tmp_path / "page.html", codebook, latents, title=HOSTILE, labels=labels)
    assert html.count("</script>") == 2
    assert "alert(1)<" not in html
    assert content_of(html)["title"] == HOSTILE
    assert HOSTILE in content_of(html)["label"]["names"]
    assert html.count("&lt;/script&gt;&lt;script&gt;alert(1)") == 2


def test_the_policy_allows_the_page_alone(
    tmp_path: Path, latents: np.ndarray, codebook: gq.Codebook
) -> None:
    """Style and script by their hashes, pictures in the page, and nothing else."""
    html = written(tmp_path / "page.html", codebook, latents)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    rules = dict(rule.split(maxsplit=1) for rule in policy[1].split("; "))
    for kind, tag in (("style-src", "style"), ("script-src", "script")):
        source = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert source
        digest = base64.b64encode(hashlib.sha256(source[1].encode()).digest()).decode()
        assert rules.pop(kind) == f"'sha256-{digest}'"
    assert rules.pop("img-src") == "data:"
    assert set(rules.values()) == {"'none'"}
    assert not re.search(r"https?:|\bfetch\(|XMLHttpRequest|@import", html)


def test_a_decoder_is_in_the_page(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Codewords and points of every code are decoded; of another code than there is room, some."""

    def decode(z: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.clip(z[:, :1, None, None] / 20, 0, 1), (len(z), 1, 6, 5))

    pytest.importorskip("PIL")
    scene = scene_of(codebook, latents)
    atlas = page_content(scene, title="", decode=decode)["decoder"]
    assert (atlas["kind"], atlas["shape"]) == ("atlas", [1, 6, 5])
    assert sorted(atlas["node"]) == list(range(312))
    assert atlas["picture"].startswith("data:image/png;base64,")


def test_images_are_those_of_their_rows(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Whatever the order of points; bytes and floats give the same."""
    image = pytest.importorskip("PIL.Image")
    import io

    rows = np.arange(300)
    pixels = np.broadcast_to(rows[:, None, None, None] % 256, (300, 1, 4, 3)).astype(np.uint8)
    scene = scene_of(codebook, latents)
    samples = page_content(scene, title="", images=pixels)["samples"]
    picture = base64.b64decode(samples["picture"].partition(",")[2])
    grid = np.asarray(image.open(io.BytesIO(picture)))
    for at, node in enumerate(samples["node"]):
        row, column = divmod(at, samples["columns"])
        assert grid[4 * row, 3 * column] == scene.row[node] % 256
    again = page_content(scene, title="", images=pixels.astype(np.float32) / 255)["samples"]
    assert again == samples


def test_what_cannot_be_put_into_a_page(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Each error names the argument, what was expected, and what was found."""
    scene = scene_of(codebook, latents)
    nothing = np.full((300, 1, 4, 4), np.nan, np.float32)
    for options, message in (
        ({"images": np.zeros((9, 1, 4, 4))}, "one image per latent"),
        ({"images": np.zeros((300, 4, 4))}, "one image per latent"),
        ({"images": np.zeros((300, 2, 4, 4))}, "1 or 3 channels"),
        ({"images": nothing}, "images must be finite"),
        ({"decode": lambda z: nothing[: len(z)]}, "what decode gives must be finite"),
        ({"decode": lambda z: np.zeros((7, 1, 4, 4))}, "one image of each latent, found 7 of 1"),
        ({"decode": lambda z: np.zeros((len(z), 16))}, "what decode gives must be floats"),
        ({"decode": 5}, "decode must be a callable"),
        ({"decode": LayeredDecoder((), (1, 4, 4))}, "decode must give 16 numbers"),
    ):
        with pytest.raises(gq.InputError, match=message):
            page_content(scene, title="", **options)
    with pytest.raises(gq.InputError, match="at most 65,536 kinds"):
        many = scene_of(codebook, np.resize(latents, (70_000, 2)), labels=np.arange(70_000))
        page_content(many, title="")


def test_a_page_of_digits_is_small(tmp_path: Path) -> None:
    """Scikit-learn's digits, that are their own images, take less than a megabyte."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    book = gq.fit_codebook(digits.data, 32, random_state=0).codebook
    decode = LayeredDecoder((), (1, 8, 8), white=16.0)
    facts = write_explorer(
        tmp_path / "page.html", book, digits.data, labels=digits.target, decode=decode
    )
    assert facts == {
        "n": 1797,
        "n_shown": 1797,
        "n_codes": 32,
        "decoder": "layers",
        "n_samples": 0,
        "bytes": (tmp_path / "page.html").stat().st_size,
    }
    assert facts["bytes"] < 1_000_000


def test_the_page_is_a_part_of_the_package() -> None:
    """Whatever is neither code nor declared would be missing from a wheel."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    files = {
        str(file.relative_to(ROOT / "geoquant"))
        for file in (ROOT / "geoquant").rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyi", ".pyc", ".so", ".typed", ".pyd"}
    }
    listed = {
        f"{package.partition('.')[2]}/{name}"
        for package, names in declared["package-data"].items()
        for name in names
        if package != "*"
    }
    assert files == listed
