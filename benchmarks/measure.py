"""How things are timed: in turn, verified first, with the spread of all repeats."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.verify import WrongResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]

#: A contender that takes longer than this is timed from its first, verified run on; for a quicker
#: one that run only warms up.
SLOW_S = 2.0

# The peak that a process reports of its child never falls below what the process itself weighed
# when it started the child. This one weighs little.
_PEAK_OF_CHILD = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


@dataclass(frozen=True)
class Contender:
    """Something to time.

    Attributes
    ----------
    name : str
        What it is called in tables.
    run : callable
        Takes nothing, returns the result.
    check : callable
        Takes the result; raises `WrongResult`, or returns what is worth knowing of it.
    """

    name: str
    run: Callable[[], Any]
    check: Callable[[Any], str]


@dataclass
class Timing:
    """Wall and CPU seconds of the repeats of one contender, and what the check found."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    found: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def numbers(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "found": self.found}

    def spread(self) -> str:
        """Least and most, in words."""
        if len(self.seconds) == 1:
            return "one run"
        low, high = min(self.seconds), max(self.seconds)
        return f"{in_seconds(low)} to {in_seconds(high)} in {len(self.seconds)} runs"


def in_seconds(seconds: float) -> str:
    """A time in a unit that suits it."""
    if seconds >= 100:
        return f"{seconds:.0f} s"
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.1 else f"{seconds:.3g} s"


@contextmanager
def timed(seconds: list[float], cpu_seconds: list[float] | None = None) -> Iterator[None]:
    """Append the wall time that the block takes, and the CPU time of all threads."""
    cpu_begin, begin = time.process_time(), time.perf_counter()
    yield
    seconds.append(time.perf_counter() - begin)
    if cpu_seconds is not None:
        cpu_seconds.append(time.process_time() - cpu_begin)


def times_in_turn(
    contenders: Sequence[Contender], repeats: int, budget_s: float = 30.0
) -> dict[str, Timing]:
    """Verify every contender, then time all of them one after the other, again and again.

    Nobody is timed `repeats` times if that would take them longer than the budget.
    """
    timings = {c.name: Timing() for c in contenders}
    wanted = {}
    for c in contenders:
        first = Timing()
        with timed(first.seconds, first.cpu_seconds):
            result = c.run()
        try:
            first.found = c.check(result)
        except WrongResult as error:
            raise WrongResult(f"{c.name}: {error}") from None
        del result
        wanted[c.name] = max(1, min(repeats, int(budget_s / max(first.median, 1e-9))))
        timings[c.name] = first if first.median >= SLOW_S else Timing(found=first.found)
    for _ in range(repeats):
        for c in contenders:
            t = timings[c.name]
            if len(t.seconds) < wanted[c.name]:
                with timed(t.seconds, t.cpu_seconds):
                    c.run()
    return timings


def seconds_in_turn(
    functions: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
    """Time functions whose results were verified elsewhere."""
    contenders = [Contender(name, run, lambda _: "") for name, run in functions.items()]
    return {name: t.seconds for name, t in times_in_turn(contenders, repeats).items()}


def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Output of a command run in the root of the project."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=env and dict(env)
    )
    if done.returncode:
        raise WrongResult(f"{' '.join(command)} exited {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def peak_of_command(*command: str) -> float:
    """Largest resident size of a command, in 10^6 bytes."""
    peak = int(run(sys.executable, "-S", "-c", _PEAK_OF_CHILD, *command))
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def said_by_module(*command: str, env: Mapping[str, str] | None = None) -> Any:
    """What ``python -m`` a module prints, in JSON."""
    return json.loads(run(sys.executable, "-m", *command, env=env))
