"""What was measured, put into the README and benchmarks/README.md: ``python -m benchmarks.report``.

Nothing is measured here and no number is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import bounds, figures, plots, table
from benchmarks.measure import ROOT
from benchmarks.peers import NotAvailable
from benchmarks.stage import RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.table import Results

README = ROOT / "README.md"
OWN_README = ROOT / "benchmarks" / "README.md"
IMAGES = ROOT / "docs" / "images"


def machine_text(results: Results) -> str:
    """When, on what and with what, for each run that is shown."""
    seen: dict[tuple[str, ...], list[str]] = {}
    for about in results.runs.values():
        named = [(n, v) for n, v in about["versions"].items() if n != "geoquant"]
        key = (
            f"{about['cpu']} ({', '.join(about['simd'])}), {about['cores']} cores, "
            f"{about['memory_gib']} GiB, {about['system']}, Python {about['python']}, "
            + ", ".join(f"{name} {release}" for name, release in named)
            + f"; OPENBLAS_CORETYPE {about['openblas_coretype']}; "
            + "; ".join(about["blas"]),
        )
        when = f"{about['date'][:10]} at {about['commit'][:10]} ({about['size']})"
        if when not in seen.setdefault(key, []):
            seen[key].append(when)
    return "\n\n".join(f"Measured {', '.join(runs)} on {key[0]}." for key, runs in seen.items())


def short_machine_text(results: Results) -> str:
    """One line: machines, days and commits."""
    machines = sorted({f"{r['cpu']}, {r['cores']} cores" for r in results.runs.values()})
    days = sorted({r["date"][:10] for r in results.runs.values()})
    commits = sorted({r["commit"][:10] for r in results.runs.values()})
    return f"Measured {', '.join(days)} on {'; '.join(machines)}; geoquant {', '.join(commits)}."


def readme_block(results: Results) -> str:
    """What a stranger asks for, and one plot."""
    return "\n\n".join(
        [
            short_machine_text(results),
            figures.for_strangers(results),
            f"![Time of a whole fit against the number of latents, for geoquant and its peers]"
            f"(docs/images/{plots.TIME_PLOT})",
        ]
    )


def figures_block(results: Results) -> str:
    """Every figure with what was aimed at, and both plots."""
    return "\n\n".join(
        [
            short_machine_text(results),
            figures.as_markdown(figures.figures(results, table.Results())),
            f"![Time of a whole fit against the number of latents, for geoquant and its peers]"
            f"(../docs/images/{plots.TIME_PLOT})",
            f"![Energy over the best known against time, for geoquant and its peers]"
            f"(../docs/images/{plots.QUALITY_PLOT})",
        ]
    )


def stage_block(results: Results) -> str:
    """Every row of every stage."""
    return f"{machine_text(results)}\n\n{table.as_markdown(results.rows)}"


def write(folder: Path) -> None:
    """Blocks and plots from a folder of results."""
    results = figures.read_all(folder)
    if not results.rows:
        raise NotAvailable(f"{folder} holds no results; run make bench-full first")
    plots.draw_all(results.rows, IMAGES)
    table.replace_block(README, "bench", readme_block(results))
    table.replace_block(OWN_README, "figures", figures_block(results))
    table.replace_block(OWN_README, "stages", stage_block(results))
    file = folder / "bounds.json"
    if file.is_file():
        table.replace_block(OWN_README, "bounds", bounds.as_markdown(file.read_text("utf-8")))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    try:
        write(parser.parse_args(argv).results)
    except NotAvailable as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
