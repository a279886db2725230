"""Take docs/images/explorer.png: the explorer of the demo in a browser, with a path chosen.

Run by ``make screenshot``; needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parent / "images" / "explorer.png"
SIZE = {"width": 1200, "height": 760}
#: Where a path begins and ends, as shares of the map; far apart, so that there is something to see.
BEGIN, END, LOOK = (0.66, 0.06), (0.84, 0.68), (0.15, 0.47)


def screenshot(page_file: Path) -> bytes:
    """The page after two clicks, as a PNG."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(page_file.as_uri())
        box = page.locator("canvas").first.bounding_box()
        assert box is not None
        for across, down in (BEGIN, END):
            page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
        page.mouse.move(box["x"] + LOOK[0] * box["width"], box["y"] + LOOK[1] * box["height"])
        page.wait_for_timeout(500)
        return page.screenshot()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PICTURE)
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "geoquant", "demo", "-q", "-o", folder]
        subprocess.run(command, check=True)
        picture = Image.open(io.BytesIO(screenshot(Path(folder, "explorer.html"))))
    # Few colours take a quarter of the bytes, and nobody sees the difference.
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(output, optimize=True)
    print(output)


if __name__ == "__main__":
    main()
