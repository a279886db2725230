"""``geoquant demo``: the whole way on data that scikit-learn brings along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from geoquant.cli.fit import fit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_N_CODES = 32


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("geoquant-demo"),
    show_default=True,
    help="Folder for the files.",
)
@click.pass_context
def demo(context: click.Context, output: Path) -> None:
    """Quantize scikit-learn's 1,797 handwritten digits, and compare with KMeans."""
    from sklearn.datasets import load_digits

    from geoquant.files import write_npy

    output.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    path = output / "digits.npy"
    write_npy(path, digits.data.astype("float32"))
    click.echo(f"latents   {path}  (the 8 x 8 images themselves)")
    context.invoke(fit, latents_path=path, n_clusters=_N_CODES)
    _compare_with_kmeans(output / "digits.codes.npy", digits.data, digits.target)


def _compare_with_kmeans(
    codes_path: Path, images: npt.NDArray[np.float64], digit: npt.NDArray[np.int64]
) -> None:
    import numpy as np
    from sklearn.cluster import KMeans

    from geoquant.quality import majority_vote_accuracy

    kmeans = KMeans(_N_CODES, n_init=10, random_state=0).fit_predict(images)
    for name, codes in (("geodesic", np.load(codes_path)), ("KMeans, n_init=10", kmeans)):
        accuracy = majority_vote_accuracy(codes, digit, codes, digit)
        click.echo(f"digit told by the code's majority: {accuracy:.1%}  ({name})")
