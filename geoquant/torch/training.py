"""The one training loop: Adam over shuffled rows, with a history and checkpoints that resume."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from geoquant.arguments import check_choice, check_count
from geoquant.errors import InputError
from geoquant.tensor_files import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoquant.files import PathLike
    from geoquant.progress import Progress

#: One dict per epoch: "epoch" from 1, and the mean of every loss.
History: TypeAlias = list[dict[str, float]]
#: Gives the mean losses of some rows; "loss" is the one that is minimised.
Loss: TypeAlias = Callable[[torch.Tensor], dict[str, torch.Tensor]]

_FORMAT = "geoquant-training"


def train(
    module: nn.Module,
    loss: Loss,
    n_rows: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    schedule: Literal["constant", "linear"] = "constant",
    random_state: int = 0,
    after_epoch: Callable[[int, dict[str, float]], None] | None = None,
    checkpoint: PathLike | None = None,
    identity: str = "",
    progress: Progress | None = None,
    stage: str = "training",
) -> History:
    """Minimise a loss over the rows of a data set with Adam.

    Parameters
    ----------
    module : Module
        Its parameters that need a gradient are changed in place. It is in training mode
        meanwhile, and in the mode it had afterwards.
    loss : callable
        Takes int64 row numbers, shape (b,), on the CPU, and gives a dict of scalar means over
        these rows, of which "loss" is minimised.
    n_rows : int
        Each epoch visits the rows ``range(n_rows)`` once, in a new order.
    epochs, batch_size : int
        The last batch of an epoch may be smaller.
    learning_rate : float
        Of Adam; its other settings are PyTorch's.
    schedule : {'constant', 'linear'}
        'linear': the rate falls to 0 at the end of the last epoch.
    random_state : int
        Seeds the order of the rows and PyTorch's own generators within the call, epoch by epoch;
        they are put back afterwards.
    after_epoch : callable, optional
        ``after_epoch(epoch, means)`` after each epoch, from 1.
    checkpoint : path, optional
        A ``.safetensors`` file, written whole after each epoch. If it is there already, training
        goes on from it, and the result equals, bit for bit, that of a run never interrupted.
    identity : str
        What else must be the same to go on from a checkpoint, such as a hash of the data.
    progress : callable, optional
        ``progress(stage, done, total)``, counted in batches; may raise to stop the run.
    stage : str
        The name that `progress` is told.

    Returns
    -------
    list of dict
        One for each epoch, with "epoch" and the means of all losses, weighted by rows.

    Raises
    ------
    InputError
        If an argument is out of range, the loss is no longer finite, or the checkpoint is of a
        run with other options.
    FileFormatError
        If the checkpoint is no such file or damaged.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import train
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> line = torch.nn.Linear(1, 1)
    >>> def loss(rows):
    ...     return {"loss": (line(x[rows]) - 3 * x[rows]).square().mean()}
    >>> history = train(line, loss, 64, epochs=100, batch_size=16, learning_rate=0.05)
    >>> len(history), round(line.weight.item(), 2)
    (100, 3.0)
    """
    n_rows = check_count(n_rows, "n_rows", 1)
    epochs = check_count(epochs, "epochs", 0)
    batch_size = check_count(batch_size, "batch_size", 1)
    random_state = check_count(random_state, "random_state", 0)
    _check_rate(learning_rate, schedule)
    options = {
        "n_rows": n_rows,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "random_state": random_state,
        "identity": identity,
    }
    optimizer = torch.optim.Adam(
        [p for p in module.parameters() if p.requires_grad], lr=learning_rate
    )
    history: History = []
    if checkpoint is not None and os.path.exists(checkpoint):
        history = _load_checkpoint(checkpoint, module, optimizer, options)
    n_batches = math.ceil(n_rows / batch_size)
    n_steps = epochs * n_batches
    with _training_mode(module), seeded(random_state, module):
        for epoch in range(len(history) + 1, epochs + 1):
            torch.manual_seed(_seed_of_epoch(random_state, epoch))
            totals: dict[str, torch.Tensor] = {}
            for batch, rows in enumerate(torch.split(torch.randperm(n_rows), batch_size)):
                step = (epoch - 1) * n_batches + batch
                if schedule == "linear":
                    _set_rate(optimizer, learning_rate * (1 - step / n_steps))
                _step(optimizer, loss(rows), totals, len(rows))
                if progress is not None:
                    progress(stage, step + 1, n_steps)
            means = _means(totals, n_rows, epoch)
            history.append({"epoch": epoch, **means})
            if checkpoint is not None:
                _save_checkpoint(checkpoint, module, optimizer, options, history)
            if after_epoch is not None:
                after_epoch(epoch, means)
    return history


def _check_rate(learning_rate: float, schedule: str) -> None:
    if not 0 < learning_rate < math.inf:
        raise InputError(f"learning_rate must be positive, found {learning_rate!r}")
    check_choice(schedule, "schedule", ("constant", "linear"))


@contextmanager
def _training_mode(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.train()
    try:
        yield
    finally:
        for part, was_training in modes:
            part.training = was_training


@contextmanager
def seeded(random_state: int, module: nn.Module | None = None) -> Iterator[None]:
    """Seed PyTorch's generators within a block, and put them back afterwards.

    Parameters
    ----------
    random_state : int
        The seed.
    module : Module, optional
        The generators of its devices are put back too.

    Yields
    ------
    None
        The block is to draw what is to be the same each time.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import seeded
    >>> with seeded(0):
    ...     first = torch.nn.Linear(2, 2)
    >>> with seeded(0):
    ...     second = torch.nn.Linear(2, 2)
    >>> torch.equal(first.weight, second.weight)
    True
    """
    parameters = [] if module is None else module.parameters()
    devices = {p.device for p in parameters if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(random_state)
        yield


def _seed_of_epoch(random_state: int, epoch: int) -> int:
    # Every epoch has a seed of its own, so that a checkpoint needs to keep no state of generators.
    seed = np.random.SeedSequence([random_state, epoch]).generate_state(1, np.uint64)[0]
    return int(seed >> np.uint64(1))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _step(
    optimizer: torch.optim.Optimizer,
    losses: dict[str, torch.Tensor],
    totals: dict[str, torch.Tensor],
    n_rows: int,
) -> None:
    """Go one step down "loss", and add all losses of `n_rows` rows to the totals."""
    optimizer.zero_grad()
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for name, value in losses.items():
        totals[name] = totals.get(name, 0) + value.detach() * n_rows


def _means(totals: dict[str, torch.Tensor], n_rows: int, epoch: int) -> dict[str, float]:
    means = {name: float(total) / n_rows for name, total in totals.items()}
    if not math.isfinite(means["loss"]):
        raise InputError(
            f"the loss of epoch {epoch} is {means['loss']}; check the data for extreme values, or "
            "lower learning_rate"
        )
    return means


def _save_checkpoint(
    path: PathLike,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    options: dict[str, Any],
    history: History,
) -> None:
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    texts = {
        "format": _FORMAT,
        "options": json.dumps(options, sort_keys=True),
        "history": json.dumps(history),
    }
    arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
    write_safetensors(path, arrays, texts)


def _load_checkpoint(
    path: PathLike, module: nn.Module, optimizer: torch.optim.Optimizer, options: dict[str, Any]
) -> History:
    """Put the state of a checkpoint into module and optimizer, and give its history."""
    arrays, texts = read_safetensors(path)
    if texts.get("format") != _FORMAT:
        raise InputError(
            f"{os.fspath(path)!r} is no checkpoint of geoquant; remove it or name another"
        )
    _check_options(path, json.loads(texts["options"]), options)
    parts: dict[str, dict[str, torch.Tensor]] = {"module": {}, "optimizer": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = torch.from_numpy(array)
    _check_shapes(path, module, parts["module"])
    module.load_state_dict(parts["module"])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in parts["optimizer"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    history: History = json.loads(texts["history"])
    return history


def _check_options(path: PathLike, found: dict[str, Any], options: dict[str, Any]) -> None:
    other = [name for name in options if found.get(name) != options[name]]
    if other:
        name = other[0]
        raise InputError(
            f"the checkpoint {os.fspath(path)!r} is of a run with {name} = {found.get(name)!r}, "
            f"expected {options[name]!r}; give that, or remove the checkpoint to begin anew"
        )


def _check_shapes(path: PathLike, module: nn.Module, found: dict[str, torch.Tensor]) -> None:
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if expected != {name: tuple(value.shape) for name, value in found.items()}:
        raise InputError(
            f"the checkpoint {os.fspath(path)!r} is of another module: its parameters differ in "
            "name or shape; remove the checkpoint to begin anew"
        )
