"""The numbers of every model and codebook, as text and Markdown.

``python -m benchmarks.papers.rethinking_vae.table`` writes them into the README of the results.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.papers.claims import claims_markdown, target_rows
from benchmarks.papers.rethinking_vae.bridge import GEODESIC, MODELS
from benchmarks.papers.rethinking_vae.claims import CLAIMS, TARGETS
from benchmarks.papers.rethinking_vae.configs import CONFIGS
from benchmarks.papers.spread import Column, Measured, by_row, text_of
from benchmarks.peers import NotAvailable
from benchmarks.stage import RESULTS
from benchmarks.table import replace_block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.papers.spread import Spread

    Results = Mapping[str, Any]

FOLDER = RESULTS / "rethinking_vae"
README = Path(__file__).with_name("README.md")

COLUMNS = (
    Column("mse", "squared error", 2),
    Column("mse_quantized", "from codewords", 2),
    Column("active_train", "active, train", 1),
    Column("active_test", "active, test", 1),
    Column("perplexity", "perplexity", 1),
    Column("closest_pair", "closest pair", 3),
    Column("near_path", "compactness", 3),
    Column("near_drawn", "draws near images", 3),
    Column("near_grid", "±3 near images", 3),
    Column("roughness", "roughness", 3),
    Column("spread", "spread", 2),
    Column("drift_first", "drift, first epoch", 3),
    Column("drift_last", "last", 4),
)
#: Numbers that only claims and targets need.
MORE = (
    Column("drift_fall", "fall of the drift", 1),
    Column("drift_half", "fall of the drift by the tenth epoch", 1),
    Column("centre_mse", "squared error of decoded centres", 1),
    Column("change_small", "change by +0.1", 4),
    Column("change_large", "change by +15", 3),
    Column("near_quantized", "reconstructions near images", 3),
    Column("error_ratio", "error from codewords over direct", 2),
    Column("active_share", "share of centres active", 3),
    Column("rough_to_mlp", "roughness over the AE's of E1", 3),
    Column("rough_to_ae", "roughness over the same network's AE", 3),
    Column("spread_to_mlp", "spread over the AE's of E1", 3),
    Column("grid_to_centre", "±3 near images over the one centre's", 3),
    Column("accuracy", "accuracy", 3),
    Column("agreement", "agreement", 3),
)
BRIDGE_COLUMNS = (
    Column("active_train", "active, train", 1),
    Column("active_test", "active, test", 1),
    Column("perplexity", "perplexity", 1),
    Column("mse", "squared error", 2),
    Column("accuracy", "accuracy", 3),
    Column("agreement", "agreement", 3),
)
#: Epochs after which the learning rate is half of the first, of twenty.
_HALF = 10
NAMES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "celeba": "CelebA"}
#: Ratios to a number of another model, for MNIST: which number, and whose.
RATIOS = {
    "rough_to_mlp": ("roughness", "mnist-ae-mlp"),
    "rough_to_ae": ("roughness", "mnist-ae"),
    "spread_to_mlp": ("spread", "mnist-ae-mlp"),
    "grid_to_centre": ("near_grid", "mnist-centre-1"),
}


def measured(results: Results) -> dict[str, dict[str, Spread]]:
    """Every number of every model, and of every codebook of the bridge, over the seeds."""
    return by_row([rows_of(seed) for seed in results["seeds"].values()])


def rows_of(seed: Mapping[str, Any]) -> list[Measured]:
    """What one seed gave."""
    models = seed.get("measure", {})
    rows = [
        Measured(key, with_ratios(values, models if key.startswith("mnist") else {}))
        for key, values in models.items()
    ]
    rows += [
        Measured(key, drift_values(trained["drift"]))
        for key, trained in seed.get("train", {}).items()
        if trained["drift"]
    ]
    for key, found in seed.get("bridge", {}).items():
        for method, values in found["codebooks"].items():
            agreed = {"agreement": found["agreement"]} if method == GEODESIC else {}
            rows.append(Measured(f"{key}/{method}", values | agreed))
    return rows


def with_ratios(
    values: Mapping[str, float], models: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """The same with what follows from them."""
    found = dict(values)
    if "mse_quantized" in values:
        found["error_ratio"] = values["mse_quantized"] / values["mse"]
    if "n_codes" in values:
        found["active_share"] = values["active_test"] / values["n_codes"]
    for ratio, (name, key) in RATIOS.items():
        if name in values and name in models.get(key, {}):
            found[ratio] = values[name] / models[key][name]
    return found


def drift_values(drift: Sequence[float]) -> dict[str, float]:
    """First and last, and how many times smaller the last and the tenth are."""
    values = {
        "drift_first": drift[0],
        "drift_last": drift[-1],
        "drift_fall": drift[0] / max(drift[-1], 1e-12),
    }
    if len(drift) > _HALF:
        values["drift_half"] = drift[0] / max(drift[_HALF - 1], 1e-12)
    return values


# ---------------------------------------------------------------------------------- Markdown


def models_markdown(results: Results) -> str:
    """A table for each data set."""
    found = measured(results)
    parts = []
    for data, name in NAMES.items():
        keys = [key for key, config in CONFIGS.items() if config.data == data and key in found]
        columns = [c for c in COLUMNS if any(c.key in found[key] for key in keys)]
        lines = [
            _row([CONFIGS[key].title, *(_cell(found[key], column) for column in columns)])
            for key in keys
        ]
        if lines:
            parts.append("\n".join([*_head(name, columns), *lines]))
    return "\n\n".join(parts)


def bridge_markdown(results: Results) -> str:
    """Learned centres and codebooks fitted afterwards, model by model."""
    found = measured(results)
    lines = []
    for key, n_codes in MODELS.items():
        for method in ("learned", "geodesic", "euclidean"):
            row = found.get(f"{key}/{method}")
            if row is not None:
                name = f"{NAMES[CONFIGS[key].data]}, {CONFIGS[key].title}"
                cells = (_cell(row, column) for column in BRIDGE_COLUMNS)
                lines.append(_row([name, str(n_codes), method, *cells]))
    return "\n".join([*_head("latents of | K | codebook", BRIDGE_COLUMNS), *lines])


def _head(name: str, columns: Sequence[Column]) -> list[str]:
    titles = [*name.split(" | "), *(column.title for column in columns)]
    return [_row(titles), _row(["---"] * len(titles))]


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _cell(row: Mapping[str, Spread], column: Column) -> str:
    return text_of(row.get(column.key), column.digits)


def targets_markdown(results: Results) -> str:
    """Every target, what was measured, and whether it was reached."""
    rows = target_rows(TARGETS, (*COLUMNS, *MORE), measured(results))
    return "\n".join(["| target | aim | measured | |", "| --- | --- | --- | --- |", *rows])


def machine_markdown(results: Results) -> str:
    """When, on what and of which commit."""
    about = results["about"]
    judges = ", ".join(
        f"{NAMES[data]} {100 * found['accuracy']:.1f} %"
        for data, found in results["features"].items()
    )
    return (
        f"Measured {about['date'][:10]} at {about['commit'][:10]} ({about['size']}, "
        f"{len(results['seeds'])} seeds) on {about['cpu']}, {about['cores']} cores, Python "
        f"{about['python']}, PyTorch {about['versions']['torch']}. Accuracy of the classifiers "
        f"whose features frames are compared by: {judges}."
    )


def as_text(results: Results) -> str:
    """The tables as a terminal shows them."""
    return "\n\n".join([models_markdown(results), bridge_markdown(results)])


def write(folder: Path, readme: Path = README) -> None:
    """Blocks of the README from the results in a folder."""
    file = folder / "results.json"
    if not file.is_file():
        raise NotAvailable(f"{file} does not exist; run make paper-rethinking-vae first")
    results = json.loads(file.read_text(encoding="utf-8"))
    replace_block(readme, "table", f"{machine_markdown(results)}\n\n{models_markdown(results)}")
    replace_block(readme, "bridge", bridge_markdown(results))
    found = measured(results)
    replace_block(readme, "claims", claims_markdown(CLAIMS, (*COLUMNS, *MORE), found))
    replace_block(readme, "targets", targets_markdown(results))


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
