"""Table 1 beside the paper's numbers, and the other results, as text and Markdown.

``python -m benchmarks.papers.geodesic_vq.table`` writes them into the README of the results.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.papers.claims import claims_markdown
from benchmarks.papers.geodesic_vq.claims import CLAIMS, targets_markdown
from benchmarks.papers.geodesic_vq.rows import COLUMNS, lines, paper_text
from benchmarks.papers.spread import Measured, by_row, spread, text_of
from benchmarks.peers import NotAvailable
from benchmarks.stage import RESULTS
from benchmarks.table import replace_block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.papers.geodesic_vq.rows import Line
    from benchmarks.papers.spread import Column, Spread

    Results = Mapping[str, Any]

FOLDER = RESULTS / "geodesic_vq"
README = Path(__file__).with_name("README.md")


def measured(results: Results) -> dict[str, dict[str, Spread]]:
    """Every number of every row, over the seeds."""
    seeds = results["seeds"].values()
    return by_row([[Measured(**row) for row in seed["rows"]] for seed in seeds])


def lines_of(results: Results) -> tuple[Line, ...]:
    """Rows of the table for the numbers of tokens that were run."""
    s = results["settings"]
    return lines(s["tokens"], s["euclidean_tokens"], s["rectified_tokens"])


def cells(line: Line, column: Column, found: Mapping[str, Spread]) -> tuple[str, str]:
    """What the paper has in a cell, and what we have."""
    return paper_text(line, column), text_of(found.get(column.key), column.digits)


def as_text(results: Results) -> str:
    """Means alone, aligned, for a terminal."""
    found = measured(results)
    body = [
        [line.title, *(_mean(found.get(line.key, {}), column) for column in COLUMNS)]
        for line in lines_of(results)
    ]
    rows = [["", *(column.title for column in COLUMNS)], *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first, *others = widths
    aligned = [
        "  ".join(
            [name.ljust(first), *(c.rjust(w) for c, w in zip(rest, others, strict=True))]
        ).rstrip()
        for name, *rest in rows
    ]
    return "\n".join([*aligned, "", samples_markdown(results)])


def _mean(found: Mapping[str, Spread], column: Column) -> str:
    value = found.get(column.key)
    return "" if value is None else f"{value.mean:.{column.digits}f}"


def table_markdown(results: Results) -> str:
    """The whole table; what the paper printed stands in parentheses behind ours."""
    found = measured(results)
    titles = ["per image, nats", *(column.title for column in COLUMNS)]
    out = [_row(titles), _row(["---"] * len(titles))]
    for line in lines_of(results):
        pairs = [cells(line, column, found.get(line.key, {})) for column in COLUMNS]
        out.append(_row([line.title, *(f"{o} ({p})".strip() if p else o for p, o in pairs)]))
    return "\n".join(out)


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def samples_markdown(results: Results) -> str:
    """What the judge says of test images, of our samples and of the VAE's."""
    judge, samples = results["judge"], [seed["samples"] for seed in results["seeds"].values()]
    title = ["judged by a CNN", "sure of", "rarest digit", "commonest digit"]
    out = [_row(title), _row(["---"] * len(title)), _judged("test images", [judge["test"]])]
    out.append(_judged("VAE prior", [s["vae"] for s in samples]))
    out.append(_judged("Geo-VQ, rectified, best M", [s["geo_vq"] for s in samples]))
    for verdicts in zip(*(s["by_temperature"] for s in samples), strict=True):
        m, temperature = verdicts[0]["name"].split("-")[1], verdicts[0]["temperature"]
        out.append(_judged(f"{m} tokens, temperature {temperature:g}", verdicts))
    best = ", ".join(s["name"] for s in samples)
    accuracy = f"The judge is right in {100 * judge['accuracy']:.2f} % of the test images."
    return "\n".join([*out, "", f"{accuracy} Best M by NLL + BCE, seed by seed: {best}."])


def _judged(name: str, verdicts: Sequence[Mapping[str, Any]]) -> str:
    sure = spread([100 * v["confident"] for v in verdicts])
    least = min(min(v["digits"]) for v in verdicts)
    most = max(max(v["digits"]) for v in verdicts)
    return _row([name, f"{text_of(sure, 1)} %", f"{100 * least:.1f} %", f"{100 * most:.1f} %"])


def curves_markdown(results: Results) -> str:
    """Rate and distortion of quantizers as they come."""
    title = ["as fitted to latents", "tokens", "NLL per image", "BCE", "NLL + BCE"]
    out = [_row(title), _row(["---"] * len(title))]
    for method, points in results["curves"].items():
        for p in points:
            numbers = [f"{p[key]:.2f}" for key in ("nll_image", "bce", "total")]
            out.append(_row([method, str(p["tokens"]), *numbers]))
    return "\n".join(out)


def machine_markdown(results: Results) -> str:
    """When, on what and of which commit."""
    about, n = results["about"], len(results["seeds"])
    versions = about["versions"]
    return (
        f"Measured {about['date'][:10]} at {about['commit'][:10]} ({about['size']}, {n} seeds) on "
        f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, PyTorch "
        f"{versions['torch']}, numpy {versions['numpy']}, faiss-cpu {versions['faiss-cpu']}."
    )


def write(folder: Path, readme: Path = README) -> None:
    """Blocks of the README from the results in a folder."""
    file = folder / "results.json"
    if not file.is_file():
        raise NotAvailable(f"{file} does not exist; run make paper-geodesic-vq first")
    results = json.loads(file.read_text(encoding="utf-8"))
    replace_block(readme, "table", f"{machine_markdown(results)}\n\n{table_markdown(results)}")
    found, seeds = measured(results), results["seeds"].values()
    replace_block(readme, "claims", claims_markdown(CLAIMS, COLUMNS, found))
    replace_block(readme, "targets", targets_markdown(found, [s["samples"] for s in seeds]))
    replace_block(readme, "samples", samples_markdown(results))
    replace_block(readme, "curves", curves_markdown(results))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of results.json")
    try:
        write(parser.parse_args(argv).results)
    except NotAvailable as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
