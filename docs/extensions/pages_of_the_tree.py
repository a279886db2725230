"""Pages whose text is kept elsewhere in the tree, where it is also read without the documentation.

Links between these files and pages lead to pages; those to other files become plain text.
"""

import os
import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx

TREE = Path(__file__).parents[2]
#: The file of each page.
FILES = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "findings/benchmarks": "benchmarks/README.md",
    "findings/geodesic_vq": "benchmarks/papers/geodesic_vq/README.md",
    "findings/rethinking_vae": "benchmarks/papers/rethinking_vae/README.md",
}
PAGES = {file: page for page, file in FILES.items()}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def linked_from(page: str, text: str) -> str:
    """The text of the file of a page, with its links as they lead from the page."""
    folder = PurePosixPath(FILES[page]).parent

    def link(match: re.Match[str]) -> str:
        mark, shown, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        file, _, anchor = target.partition("#")
        path = os.path.normpath(folder / file)
        if path in PAGES:
            path = f"docs/{PAGES[path]}.md"
        if not mark and not (path.startswith("docs/") and path.endswith(".md")):
            return shown
        to = os.path.relpath(path, PurePosixPath("docs", page).parent)
        return f"{mark}[{shown}]({to}{'#' + anchor if anchor else ''})"

    return LINK.sub(link, text)


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the file in the place of what the page holds."""
    if page in FILES:
        path = TREE / FILES[page]
        app.env.note_dependency(path)
        source[0] = linked_from(page, path.read_text(encoding="utf-8"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the reading of pages."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
