"""The page in a real browser: what a reader points at, clicks, types and sees."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.explorer import Layer, LayeredDecoder, content, write_explorer
from geoquant.explorer.scene import scene_of
from tests.explorer.reading import content_of, read_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geoquant.explorer.scene import Scene

REQUIRE = "GEOQUANT_REQUIRE_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<b>left</b>"


def missing(what: str) -> Any:
    """Skip, or fail where a browser has to be there."""
    if os.environ.get(REQUIRE):
        pytest.fail(f"{what}, and {REQUIRE} is set")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for all tests of this file."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        missing(f"none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def decoder() -> LayeredDecoder:
    """Two layers of chance, from two numbers to images of 5 x 4."""
    rng = np.random.default_rng(0)
    first = Layer(rng.normal(size=(8, 2)).astype(np.float32), np.zeros(8, np.float32), "tanh")
    second = Layer(rng.normal(size=(20, 8)).astype(np.float32), np.ones(20, np.float32), "sigmoid")
    return LayeredDecoder((first, second), (1, 5, 4))


@pytest.fixture(scope="module")
def scene(latents: np.ndarray, codebook: gq.Codebook) -> Scene:
    """What the page shows."""
    return scene_of(codebook, latents, plane=latents)


@pytest.fixture(scope="module")
def page_file(
    tmp_path_factory: pytest.TempPathFactory,
    latents: np.ndarray,
    codebook: gq.Codebook,
    decoder: LayeredDecoder,
) -> Path:
    """A page of latents in few bits, that decodes by itself."""
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    labels = np.where(latents[:, 0] > 0, "right", HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "_MOST_IN_16_BITS", 0)
        write_explorer(path, codebook, latents, labels=labels, decode=decoder, plane=latents)
    return path


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page; at the end, nothing may have been complained of or asked of the network."""
    contexts, complaints = [], []

    def opened(path: Path, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 700}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.set_default_timeout(5000)
        page.goto(path.as_uri())
        page.wait_for_function("performance.getEntriesByName('geoquant-drawn').length > 0")
        return page

    yield opened
    for context in contexts:
        context.close()
    asked = [c for c in complaints if not c.startswith("data:")]
    assert [c for c in asked if not c.endswith("/page.html")] == []


def place_of(page: Any, scene: Scene, point: int) -> tuple[float, float]:
    """Where a point is on the screen while everything is in sight."""
    box = page.locator("#marks").bounding_box()
    low, high = scene.plane.min(axis=0), scene.plane.max(axis=0)
    scale = 0.92 * min(box["width"] / (high - low)[0], box["height"] / (high - low)[1])
    dx, dy = (scene.plane[point] - (low + high) / 2) * scale
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return middle[0] + float(dx), middle[1] - float(dy)


def card_of(page: Any) -> dict[str, str]:
    names, values = (page.locator(f"#card-facts {tag}").all_text_contents() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def pixels_of(page: Any, selector: str) -> np.ndarray:
    """Red of a canvas, rows by columns."""
    found = page.evaluate(
        """(selector) => {
          const canvas = document.querySelector(selector);
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          return [height, width, Array.from(data)];
        }""",
        selector,
    )
    height, width, data = found
    return np.reshape(data, (height, width, 4))[:, :, 0]


def map_of(page: Any) -> str:
    """The drawn map, to be compared: as an array it would take long to come here."""
    page.wait_for_timeout(100)  # drawn with the next frame
    return page.evaluate("document.getElementById('points').toDataURL()")


def assert_path_is_shortest(page: Any, scene: Scene, start: int, end: int, error: float) -> None:
    """The length on the page is that of `path_between`, but for what the page's numbers lack."""
    path = gq.path_between(scene.graph, start, end)
    expected = gq.nearest_source(scene.graph, [start]).distance[end]
    route = page.locator("#route")
    along, straight = (float(route.get_attribute(f"data-{name}")) for name in ("along", "straight"))
    assert abs(along - expected) <= (len(path) + 2) * error + 1e-6
    chord = np.linalg.norm(scene.latents[start] - scene.latents[end])
    assert abs(straight - chord) <= 4 * error + 1e-6
    assert along > 1.4 * straight
    text = page.locator("#lengths").inner_text()
    assert f"{along:.4g}" in text
    assert f"{straight:.4g}" in text


def test_pointing_and_clicking(
    show: Callable[..., Any], page_file: Path, scene: Scene, decoder: LayeredDecoder
) -> None:
    """A point's card, what is decoded of it, and the path between two, as Python has them."""
    page = show(page_file)
    stored = content_of(page_file.read_text())
    numbers, error = read_page(stored).latents, stored["length_error"]
    assert stored["latents"]["bits"] < 16
    start, end = (int(np.flatnonzero(scene.row == row)[0]) for row in (10, 77))
    page.mouse.move(*place_of(page, scene, start))
    card = card_of(page)
    assert (card["code"], card["row"]) == (str(scene.code[start]), "10")
    assert card["label"] == ("right" if scene.latents[start, 0] > 0 else HOSTILE)
    assert float(card["to centre"]) == pytest.approx(scene.distance[start], abs=2e-3)
    shown = [pixels_of(page, f"#card-images figure:nth-of-type({i}) canvas") for i in (1, 2)]
    nodes = [start, scene.n_points + scene.code[start]]
    expected = decoder.rounded()(numbers[nodes])[:, 0] * 255
    assert np.abs(np.array(shown) - expected).max() <= 1

    page.mouse.click(*place_of(page, scene, start))
    assert "choose where it ends" in page.locator("#said").inner_text()
    page.mouse.click(*place_of(page, scene, end))
    assert_path_is_shortest(page, scene, start, end, error)
    assert "along the data" in page.locator("#said").inner_text()
    path = gq.path_between(scene.graph, start, end)
    passed = page.locator("#codes-passed").inner_text().removeprefix("Codes passed: ")
    codes = scene.code[path]
    assert passed.split(" → ") == [str(c) for c in codes[np.r_[True, codes[1:] != codes[:-1]]]]
    frames = pixels_of(page, "#along")
    ends = decoder.rounded()(numbers[[start, end]])[:, 0] * 255
    assert np.abs(frames[:, :4] - ends[0]).max() <= 1
    assert np.abs(frames[:, -4:] - ends[1]).max() <= 1
    distance = gq.nearest_source(scene.graph, [start]).distance[path]
    middle = path[np.abs(distance - distance[-1] / 2).argmin()]
    assert np.abs(frames[:, 20:24] - decoder.rounded()(numbers[[middle]])[0, 0] * 255).max() <= 1
    chord = pixels_of(page, "#straight")
    np.testing.assert_array_equal(chord[:, :4], frames[:, :4])
    assert np.abs(chord - frames).max() > 20

    page.keyboard.press("Escape")
    assert page.locator("#route").is_hidden()
    assert page.locator("#card").is_hidden()


def test_keys_alone(show: Callable[..., Any], page_file: Path, scene: Scene) -> None:
    """Points, a path, a code and the view, without a mouse; all is said."""
    page = show(page_file)
    said = page.locator("#said")
    page.locator("#marks").focus()
    page.keyboard.press("ArrowRight")
    first = card_of(page)
    assert f"code {first['code']}" in said.inner_text()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    second = card_of(page)
    assert second["row"] != first["row"]
    page.keyboard.press("Enter")
    assert f"From code {first['code']} to code {second['code']}" in said.inner_text()
    before = map_of(page)
    page.keyboard.press("+")
    zoomed = map_of(page)
    page.keyboard.press("Shift+ArrowLeft")
    assert len({before, zoomed, map_of(page)}) == 3
    page.keyboard.press("0")
    assert map_of(page) == before
    page.keyboard.press("/")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    assert f"Code 7: {(scene.code == 7).sum()} points" in said.inner_text()
    assert card_of(page)["code"] == "7"
    for text in ("12", "-1", "x", "1e0", ""):
        page.fill("#code", text)
        page.keyboard.press("Enter")
        assert "There is no code" in said.inner_text()
        assert "codes are 0 to 11" in said.inner_text()
    page.keyboard.press("Escape")
    assert said.inner_text().startswith("Point at a latent")


def background(page: Any) -> tuple[int, int]:
    """How light the panel and the corner of the map are, 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    # Of a copy, as a canvas that is read often complains.
    corner = page.evaluate(
        """() => {
          const copy = new OffscreenCanvas(1, 1).getContext("2d");
          copy.drawImage(document.getElementById("points"), 0, 0);
          return copy.getImageData(0, 0, 1, 1).data[0];
        }"""
    )
    return int(colour.split("(")[1].split(",")[0]), corner


def test_light_and_dark(show: Callable[..., Any], page_file: Path) -> None:
    """The system's choice first, then the reader's."""
    page = show(page_file, color_scheme="dark")
    assert max(background(page)) < 40
    page.click("#theme")
    page.wait_for_timeout(100)
    assert min(background(page)) > 200
    for choice in ("label", "distance", "code"):
        before = map_of(page)
        page.check(f"input[value={choice}]")
        assert map_of(page) != before
        if choice == "label":
            assert page.locator("#key li").all_text_contents() == [HOSTILE, "right"]
    assert min(background(show(page_file, color_scheme="light"))) > 200


def test_a_phone(show: Callable[..., Any], page_file: Path, scene: Scene) -> None:
    """Nothing is wider than the screen; two taps show a path, two fingers zoom."""
    size = {"width": 390, "height": 844}
    page = show(page_file, viewport=size, is_mobile=True, has_touch=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    start, end = (int(np.flatnonzero(scene.row == row)[0]) for row in (10, 77))
    page.touchscreen.tap(*place_of(page, scene, start))
    assert card_of(page)["code"] == str(scene.code[start])
    page.touchscreen.tap(*place_of(page, scene, end))
    error = content_of(page_file.read_text())["length_error"]
    assert_path_is_shortest(page, scene, start, end, error)
    assert page.locator("#card").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_pictures_instead_of_layers(
    show: Callable[..., Any], tmp_path: Path, latents: np.ndarray, codebook: gq.Codebook
) -> None:
    """Decoded pictures, and images of samples, are those of the nearest latents there are."""
    pytest.importorskip("PIL")

    def images_of(z: np.ndarray) -> np.ndarray:
        """Columns that are as light as the first and second number say."""
        return np.repeat((z + 16).clip(0, 32)[:, None, None, :] / 32, 3, axis=2)

    path = tmp_path / "page.html"
    images = images_of(latents).astype(np.float32)
    write_explorer(path, codebook, latents, decode=images_of, images=images, plane=latents)
    page, scene = show(path), scene_of(codebook, latents, plane=latents)
    point = int(np.flatnonzero(scene.row == 10)[0])
    page.mouse.move(*place_of(page, scene, point))
    captions = page.locator("#card-images figcaption").all_text_contents()
    assert captions == ["its image", "decoded", "its codeword"]
    for i, latent in enumerate([latents[10], latents[10], codebook.vectors[scene.code[point]]]):
        shown = pixels_of(page, f"#card-images figure:nth-of-type({i + 1}) canvas")
        expected = images_of(latent[None])[0, 0] * 255
        assert np.abs(shown - expected).max() <= 1
    assert "312 decoded images are in this page" in page.locator("#notes").text_content()
    codewords = page.locator("#codewords button")
    assert codewords.count() == 12
    shown = pixels_of(page, "#codewords button:nth-of-type(8) canvas")
    assert np.abs(shown - images_of(codebook.vectors[7:8])[0, 0] * 255).max() <= 1
    codewords.nth(7).click()
    assert card_of(page)["code"] == "7"
    assert codewords.nth(7).get_attribute("aria-current") == "true"
    assert page.locator("#codewords [aria-current]").count() == 1


def test_no_images_at_all(
    show: Callable[..., Any], tmp_path: Path, latents: np.ndarray, codebook: gq.Codebook
) -> None:
    """Without a decoder the path is measured all the same, without frames; a sample is said."""
    path = tmp_path / "page.html"
    write_explorer(path, codebook, latents, plane=latents, max_points=250)
    page, scene = show(path), scene_of(codebook, latents, plane=latents, max_points=250)
    assert page.locator("#facts").inner_text() == "250 of 300 latents of 2 numbers · 12 codes"
    page.mouse.click(*place_of(page, scene, 0))
    page.mouse.click(*place_of(page, scene, 200))
    assert page.locator("#route").is_visible()
    assert page.locator("#along").is_hidden()
    assert page.locator("#card-images canvas").count() == 0
    assert page.locator("#by-label").is_hidden()
