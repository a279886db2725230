"""The command line: parse, call public functions, print.

Only click is imported here, so that ``--help`` is instant; commands import what they need.

Exit codes: 0 done, 2 wrong argument, 3 unusable data or file, 4 not enough memory or disk,
129 hung up, 130 interrupted, 141 nobody reads the output any more, 143 terminated.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

import click

from geoquant.cli.assign import assign
from geoquant.cli.command import Commands
from geoquant.cli.compare import compare
from geoquant.cli.completion import completed, completion
from geoquant.cli.demo import demo
from geoquant.cli.doctor import doctor
from geoquant.cli.encode import encode
from geoquant.cli.explore import explore
from geoquant.cli.export import export
from geoquant.cli.fit import fit
from geoquant.cli.inspect import inspect
from geoquant.cli.prior import prior
from geoquant.cli.reconstruct import reconstruct
from geoquant.cli.report import report
from geoquant.cli.sample import sample
from geoquant.cli.train import train
from geoquant.errors import FileFormatError, InputError, NotConnectedError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_ARGUMENT, EXIT_DATA, EXIT_RESOURCE = 2, 3, 4
EXIT_INTERRUPTED = 130


class Terminated(KeyboardInterrupt):
    """The system asks the process to end, with SIGTERM; it ends as tidily as after Ctrl-C."""

    exit_code, what = 143, "terminated"


class HungUp(Terminated):
    """The terminal is gone, with SIGHUP."""

    exit_code, what = 129, "hung up"


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=[
        "geoquant demo",
        "geoquant fit latents.npy -k 64",
        "geoquant assign new.npy --codebook latents.codebook.safetensors -o new.codes.npy",
    ],
)
@click.version_option(package_name="geoquant")
# Read by main(), which is what catches errors.
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Discrete codes for latents, measured along the data manifold.

    `geoquant COMMAND --help` has the options of a command, and examples.
    """


cli.add_section("Start", [demo, doctor, completion])
cli.add_section("Codes of latents", [fit, assign, inspect, compare, report, explore, export])
cli.add_section("With PyTorch", [train, encode, reconstruct, prior, sample])


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; default: those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if (answered := completed(cli)) is not None:
        sys.exit(answered)
    try:
        # click would turn a closed pipe into exit code 1.
        with _tidy_end(), cli.make_context("geoquant", list(arguments)) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        with suppress(OSError):
            click.echo(err=True)  # off the line on which the terminal shows ^C
        what, exit_code = "interrupted", EXIT_INTERRUPTED
        if isinstance(error, Terminated):
            what, exit_code = error.what, error.exit_code
        _fail(f"{what}; {str(error) or 'nothing was written'}", exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        _fail(*_explained(error))
    sys.exit(0)


@contextmanager
def _tidy_end() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise `Terminated` within the block."""
    ends = {"SIGTERM": Terminated, "SIGHUP": HungUp}
    numbers = {getattr(signal, name): end for name, end in ends.items() if hasattr(signal, name)}

    def terminate(number: int, frame: object) -> NoReturn:
        raise numbers[number]

    # What is ignored stays so: it is what nohup asks for.
    caught = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, terminate) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explained(error: Exception) -> tuple[str, int]:
    """One line and an exit code for an error."""
    if isinstance(error, FileFormatError | NotConnectedError):
        return str(error), EXIT_DATA
    if isinstance(error, InputError):
        return str(error), EXIT_ARGUMENT
    if isinstance(error, ResourceError | MemoryError):
        return str(error) or "not enough memory", EXIT_RESOURCE
    if isinstance(error, ImportError) and str(error).startswith(
        "geoquant."
    ):  # says what to install
        return str(error), EXIT_ARGUMENT
    if isinstance(error, OSError):
        return f"{error.filename or 'input/output'}: {error.strerror or error}", EXIT_RESOURCE
    return f"unexpected {type(error).__name__}: {error}; --debug shows where", 1


def _fail(message: str, exit_code: int) -> NoReturn:
    # Names of files may hold anything, and the message is one line.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    with suppress(OSError):  # a terminal that is gone
        click.echo(f"Error: {shown}", err=True)
    sys.exit(exit_code)
