"""A recurrent prior over tokens: how likely sequences of codes are, and new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_count
from geoquant.codebook import check_codes
from geoquant.errors import InputError
from geoquant.multistage import check_stage_codes
from geoquant.torch.pretrained import Pretrained
from geoquant.torch.training import History, train

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.files import PathLike
    from geoquant.progress import Progress


class GRUPrior(Pretrained, nn.Module, model_type="geoquant-gru-prior"):
    """Probability of a sequence of codes, each given those before it, by a gated recurrent unit.

    Parameters
    ----------
    n_codes : int or sequence of int
        Codes there are, at every position or at each.
    length : int
        Codes of a sequence, L.
    embedding_dim, hidden_dim : int
        Width of the embedding of codes and of the recurrent state.
    n_classes : int, optional
        Classes that a sequence can be asked for; default: none.
    positional : bool, default=True
        Whether a code means something else at each position, as the codes of stages do. False
        for windows of one sequence.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import GRUPrior, train_prior
    >>> prior = GRUPrior(n_codes=4, length=2)
    >>> codes = torch.tensor([[0, 1], [2, 3]]).repeat(50, 1)
    >>> history = train_prior(prior, codes, epochs=10, batch_size=10)
    >>> sampled = prior.sample(6, generator=torch.Generator().manual_seed(0))
    >>> {tuple(pair) for pair in sampled.tolist()} <= {(0, 1), (2, 3)}
    True
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prior.save_pretrained(folder)
    ...     GRUPrior.from_pretrained(folder).n_codes
    (4, 4)
    """

    card_usage = (
        "codes = model.sample(16)  # of a prior with classes: model.sample(2, labels=[0, 1])"
    )
    card_limits = (
        "It knows the codes of one codebook in one order; those of another codebook mean "
        "something else.",
    )

    def __init__(
        self,
        n_codes: int | Sequence[int],
        length: int,
        *,
        embedding_dim: int = 64,
        hidden_dim: int = 128,
        n_classes: int | None = None,
        positional: bool = True,
    ) -> None:
        super().__init__()
        self.length = check_count(length, "length", 1)
        self.n_codes = _codes_of_positions(n_codes, self.length)
        self.n_classes = None if n_classes is None else check_count(n_classes, "n_classes", 1)
        embedding_dim = check_count(embedding_dim, "embedding_dim", 1)
        hidden_dim = check_count(hidden_dim, "hidden_dim", 1)
        self.start = max(self.n_codes)
        self.tokens = nn.Embedding(self.start + 1, embedding_dim)
        self.positions = nn.Embedding(self.length, embedding_dim) if positional else None
        self.classes = None if n_classes is None else nn.Embedding(n_classes, embedding_dim)
        self.gru = nn.GRU(embedding_dim, hidden_dim, batch_first=True)
        self.head = nn.Linear(hidden_dim, self.start)
        allowed = torch.arange(self.start) < torch.tensor(self.n_codes)[:, None]
        self._allowed: torch.Tensor
        self.register_buffer("_allowed", allowed, persistent=False)

    def forward(self, codes: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of the code at each position given the codes before it.

        Parameters
        ----------
        codes : Tensor of int64, shape (n, L)
            In ``[0, n_codes)``.
        labels : Tensor of int64, shape (n,), optional
            Classes in ``[0, n_classes)``; needed if there are classes.

        Returns
        -------
        Tensor of shape (n, L, max(n_codes)), float
            Minus infinity for codes that a position has not.

        Raises
        ------
        InputError
            If codes or labels are out of range or of another shape.
        """
        codes = self.check_codes(codes)
        labels = self.check_labels(labels, len(codes))
        shifted = functional.pad(codes[:, :-1], (1, 0), value=self.start)
        states, _ = self.gru(self._inputs(shifted, 0, labels))
        return self._logits(states, 0)

    def nats(self, codes: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Nats of each code, minus the logarithm of its probability.

        Parameters
        ----------
        codes : Tensor of shape (n, L), int64
            As for `forward`.
        labels : Tensor of shape (n,), int64, optional
            As for `forward`.

        Returns
        -------
        Tensor of shape (n, L), float
            Its sum over a row is what the sequence costs to transmit.

        Raises
        ------
        InputError
            As `forward`.

        Examples
        --------
        >>> import torch
        >>> from geoquant.torch import GRUPrior
        >>> GRUPrior(4, 2).nats(torch.tensor([[0, 3]])).shape
        torch.Size([1, 2])
        """
        logits = self(codes, labels)
        return functional.cross_entropy(
            logits.transpose(1, 2), codes.to(logits.device, torch.int64), reduction="none"
        )

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        labels: npt.ArrayLike | torch.Tensor | None = None,
        generator: torch.Generator | int | None = None,
    ) -> torch.Tensor:
        """New sequences, code by code.

        Parameters
        ----------
        n : int
            How many.
        temperature : float, default=1.0
            Logits are divided by it: below 1 likely codes become likelier; 0 takes the likeliest.
        top_k : int, optional
            Only the `top_k` likeliest codes at each position.
        top_p : float, optional
            Only the likeliest codes whose probabilities reach `top_p` together.
        labels : array_like of int, shape (n,), optional
            Classes to sample from; needed if there are classes.
        generator : Generator or int, optional
            A generator on the CPU, or the seed of a new one; the same gives the same codes on the
            same machine.

        Returns
        -------
        Tensor of int64, shape (n, L)

        Raises
        ------
        InputError
            If an argument is out of range.

        Examples
        --------
        >>> import torch
        >>> from geoquant.torch import GRUPrior
        >>> GRUPrior([4, 2], 2).sample(3, temperature=0.8, top_k=2).shape
        torch.Size([3, 2])
        """
        n = check_count(n, "n", 0)
        _check_sampling(temperature, top_k, top_p)
        classes = self.check_labels(None if labels is None else torch.as_tensor(labels), n)
        if isinstance(generator, int):
            generator = torch.Generator().manual_seed(generator)
        codes = torch.full((n, 1), self.start, device=self.head.weight.device)
        state = None
        for position in range(self.length):
            inputs = self._inputs(codes[:, -1:], position, classes)
            states, state = self.gru(inputs, state)
            logits = self._logits(states, position)[:, 0]
            drawn = _drawn(logits, temperature, top_k, top_p, generator)
            codes = torch.cat([codes, drawn[:, None]], 1)
        return codes[:, 1:]

    def _inputs(
        self, codes: torch.Tensor, position: int, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """What the recurrent unit sees at the positions from `position` on."""
        inputs: torch.Tensor = self.tokens(codes)
        if self.positions is not None:
            inputs = inputs + self.positions.weight[position : position + codes.shape[1]]
        if self.classes is not None:
            inputs = inputs + self.classes(labels)[:, None]
        return inputs

    def _logits(self, states: torch.Tensor, position: int) -> torch.Tensor:
        allowed = self._allowed[position : position + states.shape[1]]
        logits: torch.Tensor = self.head(states)
        return logits.masked_fill(~allowed, -torch.inf)

    def check_codes(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes as the prior takes them.

        Parameters
        ----------
        codes : Tensor of shape (n, L), int
            In ``[0, n_codes)``.

        Returns
        -------
        Tensor of shape (n, L), int64
            On the prior's device.

        Raises
        ------
        InputError
            If they are out of range or of another shape.

        Examples
        --------
        >>> import torch
        >>> from geoquant.torch import GRUPrior
        >>> GRUPrior(4, 2).check_codes(torch.tensor([[0, 3]], dtype=torch.int32)).dtype
        torch.int64
        """
        if not isinstance(codes, torch.Tensor) or codes.ndim != 2 or codes.shape[1] != self.length:
            found = tuple(getattr(codes, "shape", ())) or type(codes).__name__
            raise InputError(
                f"codes must be a tensor of shape (n, {self.length}), found {found}; codes of "
                "shape (n,) are codes[:, None]"
            )
        check_stage_codes(codes.cpu().numpy(), self.n_codes)
        return codes.to(self.head.weight.device, torch.int64)

    def check_labels(self, labels: torch.Tensor | None, n: int) -> torch.Tensor | None:
        """Classes of sequences as the prior takes them.

        Parameters
        ----------
        labels : Tensor of shape (n,), int, optional
            In ``[0, n_classes)``.
        n : int
            How many sequences there are.

        Returns
        -------
        Tensor of shape (n,), int64, or None
            On the prior's device; None of a prior without classes.

        Raises
        ------
        InputError
            If they are out of range, missing, or not wanted.

        Examples
        --------
        >>> import torch
        >>> from geoquant.torch import GRUPrior
        >>> GRUPrior(4, 2, n_classes=3).check_labels(torch.tensor([2, 0]), 2)
        tensor([2, 0])
        """
        if self.n_classes is None:
            if labels is not None:
                raise InputError("labels are for a prior with n_classes, and this one has none")
            return None
        if labels is None:
            raise InputError(
                f"this prior is of {self.n_classes} classes: labels of shape ({n},) are needed"
            )
        if labels.shape != (n,):
            raise InputError(f"labels must have shape ({n},), found {tuple(labels.shape)}")
        check_codes(labels.cpu().numpy(), self.n_classes, name="labels")
        return labels.to(self.head.weight.device, torch.int64)


def train_prior(
    prior: GRUPrior,
    codes: npt.ArrayLike | torch.Tensor,
    *,
    labels: npt.ArrayLike | torch.Tensor | None = None,
    epochs: int = 15,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    random_state: int = 0,
    checkpoint: PathLike | None = None,
    progress: Progress | None = None,
) -> History:
    """Make codes likely under a prior, in place.

    Parameters
    ----------
    prior : GRUPrior
        What is trained.
    codes : array_like of int, shape (n, L)
        Sequences; codes of shape (n,) for a prior of length 1.
    labels : array_like of int, shape (n,), optional
        Their classes, for a prior that has classes.
    epochs, batch_size : int
        Of training.
    learning_rate : float
        Of Adam; falls to 0.
    random_state : int
        Seeds the order of the sequences.
    checkpoint : path, optional
        As for `train`; a checkpoint of other codes is refused.
    progress : callable, optional
        ``progress("prior", done, total)``; may raise to stop.

    Returns
    -------
    list of dict
        Of each epoch: "epoch" and "loss", the mean nats of a sequence.

    Raises
    ------
    InputError
        If an argument is out of range, or codes or labels do not fit the prior.

    Examples
    --------
    >>> from geoquant.torch import GRUPrior, train_prior
    >>> train_prior(GRUPrior(2, 1), [0, 1, 1, 1], epochs=2)[-1]["epoch"]
    2
    """
    sequences = torch.as_tensor(codes)
    sequences = prior.check_codes(sequences[:, None] if sequences.ndim == 1 else sequences)
    classes = None if labels is None else torch.as_tensor(labels)
    classes = prior.check_labels(classes, len(sequences))

    def loss(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        own = None if classes is None else classes[rows]
        return {"loss": prior.nats(sequences[rows], own).sum(1).mean()}

    return train(
        prior,
        loss,
        len(sequences),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule="linear",
        random_state=random_state,
        checkpoint=checkpoint,
        identity=_hash_of(sequences, classes),
        progress=progress,
        stage="prior",
    )


def mean_nats(
    prior: GRUPrior,
    codes: npt.ArrayLike | torch.Tensor,
    *,
    labels: npt.ArrayLike | torch.Tensor | None = None,
    batch_size: int = 4096,
) -> npt.NDArray[np.float64]:
    """Nats of the code at each position, on average over sequences.

    Parameters
    ----------
    prior : GRUPrior
        What the codes are measured by.
    codes : array_like of int, shape (n, L)
        Sequences, such as those of images that it was not trained on.
    labels : array_like of int, shape (n,), optional
        Their classes, for a prior that has classes.
    batch_size : int
        Sequences at a time.

    Returns
    -------
    ndarray of float64, shape (L,)
        Its sum is what a sequence costs, its mean what a code costs.

    Raises
    ------
    InputError
        If codes or labels do not fit the prior.

    Examples
    --------
    >>> from geoquant.torch import GRUPrior, mean_nats
    >>> mean_nats(GRUPrior(1, 2), [[0, 0]]).tolist()  # no choice, no cost
    [0.0, 0.0]
    """
    sequences = torch.as_tensor(codes)
    classes = None if labels is None else torch.as_tensor(labels)
    rows = [slice(start, start + batch_size) for start in range(0, len(sequences), batch_size)]
    with torch.no_grad():
        parts = [
            prior.nats(sequences[part], None if classes is None else classes[part]) for part in rows
        ]
    means: npt.NDArray[np.float64] = torch.cat(parts).double().mean(0).cpu().numpy()
    return means


def windows(codes: npt.ArrayLike, length: int = 32) -> npt.NDArray[np.int64]:
    """Consecutive codes cut into sequences, as the paper on geodesic quantization trains on.

    Parameters
    ----------
    codes : array_like of int, shape (n,)
        One code of each image, in the order of the data set.
    length : int, default=32
        Codes of a sequence; what does not fill the last one is left out.

    Returns
    -------
    ndarray of int64, shape (n // length, length)

    Raises
    ------
    InputError
        If the codes are not one axis of integers, or fewer than `length`.

    Examples
    --------
    >>> from geoquant.torch import windows
    >>> windows([3, 1, 2, 0, 5], 2).tolist()
    [[3, 1], [2, 0]]
    """
    given = np.asarray(codes)
    length = check_count(length, "length", 1)
    if given.ndim != 1 or given.dtype.kind not in "iu" or len(given) < length:
        raise InputError(
            f"codes must be at least {length} integers on one axis, found shape {given.shape} of "
            f"{given.dtype}"
        )
    n = len(given) // length
    return given[: n * length].reshape(n, length).astype(np.int64)


def _codes_of_positions(n_codes: int | Sequence[int], length: int) -> tuple[int, ...]:
    if not isinstance(n_codes, Sequence):
        return (check_count(n_codes, "n_codes", 1),) * length
    if len(n_codes) != length:
        raise InputError(f"n_codes must be one number or {length}, found {len(n_codes)} numbers")
    return tuple(check_count(count, "n_codes", 1) for count in n_codes)


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 <= temperature < float("inf"):
        raise InputError(f"temperature must be at least 0, found {temperature!r}")
    if top_k is not None:
        check_count(top_k, "top_k", 1)
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p must be in (0, 1], found {top_p!r}")


def _drawn(
    logits: torch.Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """One code of each row, shape (n,)."""
    if temperature == 0:
        return logits.argmax(1)
    # likeliest first, so that both limits keep a prefix
    ordered, codes = torch.sort(logits / temperature, descending=True, stable=True)
    probability = ordered.softmax(1)
    keep = torch.ones_like(probability, dtype=torch.bool)
    if top_k is not None:
        keep[:, top_k:] = False
    if top_p is not None:
        before = probability.cumsum(1) - probability
        keep &= before < top_p
    # drawn on the CPU, where the caller's generator is
    chosen = torch.multinomial((probability * keep).cpu(), 1, generator=generator)
    return torch.gather(codes, 1, chosen.to(codes.device))[:, 0]


def _hash_of(sequences: torch.Tensor, classes: torch.Tensor | None) -> str:
    digest = hashlib.sha256()
    for tensor in (sequences, classes):
        if tensor is not None:
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    return digest.hexdigest()
