"""Report and explorer of scikit-learn's digits, as pages to try within the documentation."""

from pathlib import Path

from sklearn.datasets import load_digits
from sphinx.application import Sphinx

import geoquant as gq
from geoquant.explorer import LayeredDecoder, write_explorer
from geoquant.report import write_report

N_CODES = 24


def write(app: Sphinx, error: Exception | None) -> None:
    """Write both beside the pages, if these were made."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir, "live")
    folder.mkdir(exist_ok=True)
    digits = load_digits()
    book = gq.fit_codebook(digits.data, N_CODES, random_state=0).codebook
    shown = {
        "labels": digits.target,
        "decode": LayeredDecoder((), image_shape=(1, 8, 8), white=16.0),
    }
    write_report(folder / "report.html", book, digits.data, title="digits", **shown)
    write_explorer(folder / "explorer.html", book, digits.data, title="Digits", **shown)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the writing."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
