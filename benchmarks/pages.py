"""The page of `geoquant explore` in a real browser: size, first paint, and answers to clicks.

    python -m benchmarks.pages            # MNIST's 60 000 latents, with their VAE's decoder
    python -m benchmarks.pages --quick    # 3000 latents

A headless Chromium opens the file anew for each repeat. The browser itself takes the times, since
the page was asked for (``performance.timeOrigin``): its own entry ``first-contentful-paint``, and
the marks and measures of page.js: ``geoquant-drawn`` one frame after all points are on the canvas,
``geoquant-search`` from the click on the first point to the end of its handler (the search of the
whole graph), ``geoquant-path`` from the click on the second to the end of its handler, decoded
frames included. Of each pair of points the length on the page is compared with that of Dijkstra's
algorithm in the kernels before anything is printed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import geoquant as gq
from benchmarks import datasets
from benchmarks.verify import WrongResult
from geoquant.explorer import write_explorer
from geoquant.fit import connected_graph
from geoquant.tensor_files import read_safetensors

N_CODES = 128
TARGETS = {
    "bytes": 5_000_000,
    "first paint, ms": 1000,
    "all points drawn, ms": 1000,
    "path, both clicks, ms": 200,
}
_ENTRIES = """() => Object.fromEntries(
  performance.getEntries().filter((entry) => entry.entryType !== "navigation")
    .map((entry) => [entry.name, entry.duration || entry.startTime]))"""


@dataclass
class Figures:
    """What was measured, by name."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def table(self) -> str:
        lines = [f"{'':<24}{'median':>12}{'most':>12}{'target':>12}"]
        for name, values in self.values.items():
            target = TARGETS.get(name)
            shown = "" if target is None else f"{target:,}"
            middle, most = statistics.median(values), max(values)
            lines.append(f"{name:<24}{middle:>12,.0f}{most:>12,.0f}{shown:>12}")
        return "\n".join(lines)


def decoder() -> Any:
    """The VAE of MNIST's latents, if its weights are there."""
    import torch

    from geoquant.torch import VAE, VAEAdapter

    arrays, _ = read_safetensors(datasets.data_file("latents/mnist_vae20.safetensors"))
    model = VAE()
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return VAEAdapter.wrap(model)


def measure(file: Path, latents: np.ndarray, n_neighbors: int, n_repeats: int) -> Figures:
    """Open the page several times, and ask for a path each time."""
    from playwright.sync_api import sync_playwright

    graph, _ = connected_graph(latents, n_neighbors)
    figures = Figures()
    figures.add("bytes", file.stat().st_size)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for seed in range(n_repeats):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(file.as_uri())
            page.wait_for_function("performance.getEntriesByName('geoquant-drawn').length > 0")
            page.wait_for_timeout(1000)  # as long as a reader looks before pointing at anything
            check_path(page, graph, np.random.default_rng(seed))
            take(figures, page.evaluate(_ENTRIES))
            page.close()
        browser.close()
    return figures


def check_path(page: Any, graph: gq.Graph, rng: np.random.Generator) -> None:
    """Click two points, and compare the length of the path between them."""
    box = page.locator("#marks").bounding_box()
    rows: list[int] = []
    while len(set(rows)) < 2:
        x, y = rng.uniform(0.25, 0.75, 2)
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        if page.locator("#card").is_visible():
            row = page.locator("#card-facts dd").last.text_content()
            rows.append(int(row.replace(",", "")))
            page.mouse.down()
            page.mouse.up()
    expected = gq.nearest_source(graph, [rows[0]]).distance[rows[-1]]
    found = float(page.locator("#route").get_attribute("data-along"))
    if abs(found - expected) > 0.002 * expected:
        raise WrongResult(f"path of {rows}: {found} on the page, {expected} in the graph")


def take(figures: Figures, entries: dict[str, float]) -> None:
    search, path = entries["geoquant-search"], entries["geoquant-path"]
    figures.add("first paint, ms", entries["first-contentful-paint"])
    figures.add("all points drawn, ms", entries["geoquant-drawn"])
    figures.add("search, first click, ms", search)
    figures.add("frames, second click, ms", path)
    figures.add("path, both clicks, ms", search + path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3000 latents, two repeats")
    is_quick = parser.parse_args().quick
    x = datasets.latents(3000 if is_quick else 60_000).latents
    book = gq.fit_codebook(x, N_CODES, random_state=0).codebook
    decode = decoder() if datasets.has_mnist() else None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "latent.html")
        write_explorer(file, book, x, decode=decode)
        print(measure(file, x, book.n_neighbors, 2 if is_quick else 10).table())


if __name__ == "__main__":
    main()
