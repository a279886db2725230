"""Options that several commands share, and how they read their latents."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.errors import FileFormatError, InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from geoquant.codebook import Codebook
    from geoquant.multistage import MultistageCodebook

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

latents_argument: Decorator = click.argument(
    "latents_path", metavar="LATENTS", type=click.Path(path_type=Path)
)
key_option: Decorator = click.option(
    "--key", help="Which array, column or dataset to read, of several; short: file.h5::/train/z."
)


class ByteCount(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4
    """A number of bytes: 2000000000, 2GB, 1.5GiB."""

    name = "bytes"
    _pattern = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kMGT])(i?))?B?")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Give the number, or fail saying how to write it."""
        if isinstance(value, int):
            return value
        match = self._pattern.fullmatch(value.strip())
        if match is None:
            self.fail(
                f"{value!r} is not a number of bytes such as 8GB, 500MB or 1.5GiB", param, ctx
            )
        power = " kMGT".index(match[2] or " ")
        return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


class ImageShape(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4
    """Rows and columns, or channels before them: 28x28, 3x64x64."""

    name = "shape"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        """Give channels, rows and columns, or fail saying how to write them."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(?:([13])x)?([1-9]\d{0,3})x([1-9]\d{0,3})", value.strip())
        if match is None:
            self.fail(f"{value!r} is no shape of images such as 28x28 or 3x64x64", param, ctx)
        return int(match[1] or 1), int(match[2]), int(match[3])


pixels_option: Decorator = click.option(
    "--pixels",
    type=ImageShape(),
    default=None,
    help="The latents are images themselves, of so many rows and columns: 28x28 or 3x64x64.",
)
max_memory_option: Decorator = click.option(
    "--max-memory",
    type=ByteCount(),
    default=None,
    help="Memory that a fit may take, such as 8GB [default: what is available].",
)
codebook_argument: Decorator = click.argument(
    "codebook_path", metavar="CODEBOOK", type=click.Path(path_type=Path)
)
map_option: Decorator = click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    default=None,
    help="An .npy of two coordinates for each latent, such as of UMAP [default: a map that keeps "
    "distances along the data].",
)
n_jobs_option: Decorator = click.option(
    "--n-jobs",
    type=int,
    default=None,
    help="Threads [default: every core]. Never shows in results.",
)

#: What a command prints on stdout.
FORMATS = ("auto", "human", "json", "quiet")
FORMAT_VARIABLE = "GEOQUANT_FORMAT"


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose what is printed; the command learns `as_json` and `quiet`."""

    @click.option(
        "--format",
        "output_format",
        type=click.Choice(FORMATS),
        default="auto",
        show_default=True,
        help="human: a table; json: one JSON object and nothing else on stdout; quiet: nothing "
        f"but errors; auto: what the variable {FORMAT_VARIABLE} says, or else human.",
    )
    @click.option("--json", "wants_json", is_flag=True, help="The same as --format json.")
    @click.option("-q", "--quiet", "wants_quiet", is_flag=True, help="--format quiet.")
    @wraps(command)
    def with_format(
        *args: Any, output_format: str, wants_json: bool, wants_quiet: bool, **options: Any
    ) -> Any:
        chosen = _chosen_format(output_format, wants_json, wants_quiet)
        return command(*args, as_json=chosen == "json", quiet=chosen == "quiet", **options)

    return with_format


def _chosen_format(output_format: str, wants_json: bool, wants_quiet: bool) -> str:
    """One format of what the options and the environment say."""
    asked = {"json": wants_json, "quiet": wants_quiet, output_format: output_format != "auto"}
    chosen = [name for name, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(sorted(chosen))} were both asked for; choose one")
    found = chosen[0] if chosen else os.environ.get(FORMAT_VARIABLE) or "human"
    if found not in FORMATS:
        raise click.UsageError(
            f"the variable {FORMAT_VARIABLE} must be one of {', '.join(FORMATS)}, found {found!r}"
        )
    return "human" if found == "auto" else found


data_option: Decorator = click.option(
    "--data",
    required=True,
    help="Images: mnist, fashion-mnist, celeba, a folder or an .npy.",
)


def latents_option(what: str) -> Decorator:
    """The latents that a codebook is shown with."""
    return click.option(
        "--latents", "latents_path", type=click.Path(path_type=Path), required=True, help=what
    )


def labels_option(purpose: str) -> Decorator:
    """Classes of the latents, and what for."""
    return click.option(
        "--labels",
        "labels_path",
        type=click.Path(path_type=Path),
        default=None,
        help=f"An .npy of a class for each latent{purpose}",
    )


def page_option(default: str) -> Decorator:
    """The page that is written."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path(default),
        show_default=True,
        help="The page.",
    )


def split_option(default: str) -> Decorator:
    """The option that chooses a part of the data."""
    return click.option(
        "--split",
        type=click.Choice(["train", "test"]),
        default=default,
        show_default=True,
        help="Part of the data.",
    )


limit_option: Decorator = click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    help="Read this many images at most [default: all].",
)
download_option: Decorator = click.option(
    "--download",
    is_flag=True,
    help="Fetch mnist or fashion-mnist into the user's cache if it is missing.",
)
model_option: Decorator = click.option(
    "--model",
    "model_path",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that `geoquant train` wrote.",
)


def load_latents(path: Path, key: str | None) -> npt.NDArray[np.float32]:
    """Read and check a file of latents; whatever is wrong with it is the file's fault."""
    from geoquant.formats.dispatch import located
    from geoquant.latents import check_latents, read_latents
    from geoquant.memory import require_memory

    with suppress(OSError):  # the reader explains what cannot be read
        file = Path(located(path)[0])
        require_memory(file.stat().st_size, None, "give a part of the latents")
    try:
        # Not mapped: a file cut short meanwhile is an error, where a map of it ends the process.
        return check_latents(read_latents(path, key, mapped=False))
    except InputError as error:
        raise FileFormatError(f"{path}: {error}") from error


def beside(path: Path, suffix: str) -> Path:
    """The path of the latents with another suffix, and the array's name where it has one."""
    from geoquant.formats.dispatch import known_suffix, located
    from geoquant.urls import is_url

    file, inner = located(path)
    name = Path(file).name
    if name in ("", ".."):
        raise FileFormatError(f"{path}: has no name of its own; give the file or folder by name")
    known = known_suffix(name)
    if known is not None and len(known) < len(name):
        name = name[: -len(known)]
    elif not Path(file).is_dir():
        name = Path(file).stem
    array = "".join("-" + part for part in re.findall(r"[\w.]+", inner or ""))
    beside_it = Path() if is_url(file) else Path(file).parent
    return beside_it / (name + array + suffix)


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Fail before the work, not after it: no folder to write to, or an input in the way."""
    for output in outputs:
        if not output.name:
            raise click.BadParameter("a file name is missing", param_hint="--output")
        if not output.parent.is_dir():
            raise click.BadParameter(
                f"folder {output.parent} does not exist", param_hint="--output"
            )
        if any(_is_part_of(output, path) for path in inputs):
            raise click.BadParameter(
                f"{output} is an input and would be overwritten; name another file",
                param_hint="--output",
            )


def _is_part_of(output: Path, path: Path) -> bool:
    """Whether a file is an input, or a shard in a folder that is one."""
    from geoquant.formats.dispatch import known_suffix, located

    # Unlike Path.resolve, this passes on loops of links, which reader and writer explain.
    written, read = os.path.realpath(output), os.path.realpath(located(path)[0])
    if written == read or not written.startswith(read + os.sep) or not os.path.isfile(written):
        return written == read
    if known_suffix(read) is not None:  # a store, all of whose files are its own
        return True
    others = set(os.listdir(read)) - {os.path.basename(written)}
    alike = [name for name in others if known_suffix(name) == known_suffix(written)]
    return not others or bool(alike)


def load_codes(path: Path, n_codes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Read codes and give them as (n, M); whatever is wrong with them is the file's fault."""
    from geoquant.latents import read_latents
    from geoquant.multistage import check_stage_codes

    codes = read_latents(path, mapped=False)
    columns = codes[:, None] if codes.ndim == 1 else codes
    if columns.ndim != 2 or columns.shape[1] != len(n_codes) or len(columns) == 0:
        raise FileFormatError(
            f"{path}: codes must have shape (n, {len(n_codes)}) for this codebook, found "
            f"{codes.shape}; use codes and codebook of one fit"
        )
    try:
        check_stage_codes(columns, tuple(n_codes))
    except InputError as error:
        raise FileFormatError(f"{path}: {error}") from error
    return columns.astype("int64")


def load_labels(path: Path, n: int) -> npt.NDArray[np.int64]:
    """Read classes, one integer from 0 on for each of `n` images."""
    from geoquant.latents import read_latents

    labels = read_latents(path, mapped=False)
    if labels.shape != (n,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise FileFormatError(
            f"{path}: labels must be {n} integers from 0 on, found shape {labels.shape} of "
            f"{labels.dtype}"
        )
    return labels.astype("int64")


def load_map(path: Path, n: int) -> npt.NDArray[np.float32]:
    """Read where each of `n` latents is drawn."""
    found = load_latents(path, None)
    if found.shape != (n, 2):
        raise FileFormatError(
            f"{path}: a map must be of shape ({n}, 2), two numbers for each latent, found "
            f"{found.shape}"
        )
    return found


@contextmanager
def going_on_later(
    checkpoint: Path | None, how: str = "the same command goes on after the last whole epoch"
) -> Iterator[None]:
    """Make an interruption say how the run can go on, if it has a checkpoint."""
    try:
        yield
    except KeyboardInterrupt as error:
        if checkpoint is None or not checkpoint.exists():
            raise
        raise type(error)(how) from error


def going_on_after_stages(
    options: dict[str, Any],
) -> tuple[AbstractContextManager[None], dict[str, Any]]:
    """What makes an interrupted fit say how it goes on, and options that leave its checkpoint.

    The checkpoint is left until :func:`write_fitted` has written what came out.
    """
    how = "--resume goes on after the last whole stage"
    return going_on_later(options["checkpoint"], how), options | {"keep_checkpoint": True}


def write_fitted(
    paths: tuple[Path, Path],
    codebook: Codebook | MultistageCodebook,
    codes: npt.NDArray[np.int32],
    checkpoint: Path | None,
) -> None:
    """Write codebook and codes together; only then is the checkpoint not needed any more."""
    from geoquant.checkpoint import remove_checkpoint
    from geoquant.files import npy_blocks, write_together

    codebook_path, codes_path = paths
    write_together({codebook_path: codebook.file_blocks(), codes_path: npy_blocks(codes)})
    if checkpoint is not None:
        remove_checkpoint(checkpoint)


def new_model_folder(folder: Path, *, overwrite: bool) -> Path:
    """Make the folder of a model that is to be trained, and give the path of its checkpoint."""
    if (folder / "config.json").exists() and not overwrite:
        raise click.BadParameter(
            f"{folder} holds a model already; name another folder, or give --overwrite",
            param_hint="--output",
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "checkpoint.safetensors"
