"""Models kept as a folder of ``config.json``, ``model.safetensors`` and a card, read strictly."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, snapshot_download
from torch import nn

from geoquant.card import Card, card_files
from geoquant.errors import FileFormatError
from geoquant.files import PathLike, read_json_object, write_folder
from geoquant.tensor_files import read_safetensors, safetensors_blocks

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_TYPE_KEY = "model_type"
#: What the Hub knows models with `PyTorchModelHubMixin` by.
_HUB_TAGS = ("model_hub_mixin", "pytorch_model_hub_mixin")


class Pretrained(PyTorchModelHubMixin):
    """What makes a module saved and loaded by the conventions of Hugging Face, strictly.

    A class that has it, before ``nn.Module`` among its bases, names its type:
    ``class GRUPrior(Pretrained, nn.Module, model_type="geoquant-gru-prior")``. The arguments of
    its ``__init__`` are the configuration. ``card_usage`` is Python that goes on from ``model``,
    and ``card_limits`` what it cannot do, both for its card.

    Notes
    -----
    Nothing is ever unpickled: a folder without ``model.safetensors`` is refused, and so is one
    whose tensors or configuration are not exactly those of the class.
    """

    model_type: ClassVar[str] = ""
    card_usage: ClassVar[str] = ""
    card_limits: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, model_type: str = "", **options: Any) -> None:
        super().__init_subclass__(library_name="geoquant", **options)
        cls.model_type = model_type or cls.model_type

    def save_pretrained(self, save_directory: PathLike, **options: Any) -> None:
        """Write configuration, weights and a model card into a folder, all or none.

        Parameters
        ----------
        save_directory : path
            The folder; made if it is not there. A README.md in it that somebody made their own
            stays as it is.
        **options
            ``push_to_hub=True`` and what goes with it, as for models of Hugging Face.

        Raises
        ------
        ResourceError, OSError
            If the files cannot be written.
        """
        folder = Path(save_directory)
        files: dict[str, Any] = {
            CONFIG_FILE: self._config_bytes(),
            WEIGHTS_FILE: safetensors_blocks(_arrays_of(self), {"format": "pt"}),
            **card_files(folder, self.card()),
        }
        write_folder(folder, files)
        if options.pop("push_to_hub", False):
            self.push_to_hub(repo_id=options.pop("repo_id", folder.name), **options)

    def card(self) -> Card:
        """What the model card says.

        Returns
        -------
        Card
            Of the class, its configuration and its weights.

        Examples
        --------
        >>> from geoquant.torch import VAE
        >>> VAE(latent_dim=2).card().title
        'VAE of geoquant'
        """
        name = type(self).__name__
        weights = self.state_dict().values()  # type: ignore[attr-defined]
        return Card(
            title=f"{name} of geoquant",
            summary=(inspect.getdoc(type(self)) or "").partition("\n\n")[0].replace("\n", " "),
            usage=f"from {_public_module(type(self))} import {name}\n\n"
            f'model = {name}.from_pretrained("path/to/this/folder")' + self._more_usage(),
            facts={"numbers in it": f"{sum(tensor.numel() for tensor in weights):,}"},
            made=self._config(),
            limits=self.card_limits,
            tags=_HUB_TAGS,
        )

    def generate_model_card(self, *args: Any, **options: Any) -> ModelCard:
        """The card as Hugging Face's library has it; its own template is not used.

        Parameters
        ----------
        *args, **options
            For that template, and so for nothing.

        Returns
        -------
        ModelCard
            With the text of `card`.

        Examples
        --------
        >>> from geoquant.torch import VAE
        >>> VAE(latent_dim=2).generate_model_card().data.to_dict()["library_name"]
        'geoquant'
        """
        return ModelCard(self.card().text())

    def _more_usage(self) -> str:
        return f"\n{self.card_usage}" if self.card_usage else ""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: PathLike, **options: Any) -> Self:
        """Load a model from a folder, or from the Hugging Face Hub.

        Parameters
        ----------
        pretrained_model_name_or_path : path or str
            A folder that `save_pretrained` wrote, or else the name of a repository.
        **options
            ``revision``, ``cache_dir``, ``token``, ``local_files_only``, ``force_download``: for
            the Hub.

        Returns
        -------
        Module
            In evaluation mode, on the CPU.

        Raises
        ------
        FileFormatError
            If a file is missing, damaged, of another model, or would need unpickling.
        """
        name = os.fspath(pretrained_model_name_or_path)
        if not os.path.isdir(name):
            files = [CONFIG_FILE, WEIGHTS_FILE]
            name = snapshot_download(name, allow_patterns=files, **options)
        folder = Path(name)
        model = cls._of_config(model_config(folder), folder)
        _load_weights(model, folder)  # type: ignore[arg-type]
        return model.eval()  # type: ignore[attr-defined, no-any-return]

    def _save_pretrained(self, save_directory: Path) -> None:
        """As `save_pretrained`; what uploads call."""
        Pretrained.save_pretrained(self, save_directory)

    def _config(self) -> dict[str, Any]:
        return {**(self._hub_mixin_config or {}), _TYPE_KEY: self.model_type}  # type: ignore[dict-item]

    def _config_bytes(self) -> bytes:
        return (json.dumps(self._config(), indent=2, sort_keys=True) + "\n").encode()

    @classmethod
    def _of_config(cls, config: dict[str, Any], folder: Path) -> Self:
        where = os.fspath(folder / CONFIG_FILE)
        if config.get(_TYPE_KEY) != cls.model_type:
            raise FileFormatError(
                f"{where}: {_TYPE_KEY} must be {cls.model_type!r}, found "
                f"{config.get(_TYPE_KEY)!r}; load it with the class of that type"
            )
        arguments = {name: value for name, value in config.items() if name != _TYPE_KEY}
        unknown = set(arguments) - set(inspect.signature(cls.__init__).parameters)
        if unknown:
            raise FileFormatError(f"{where}: unknown keys {sorted(unknown)}")
        try:
            return cls(**arguments)
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{where}: does not make a {cls.__name__}: {error}") from error


def model_config(folder: PathLike) -> dict[str, Any]:
    """Configuration of the model in a folder.

    Parameters
    ----------
    folder : path
        What ``save_pretrained`` wrote.

    Returns
    -------
    dict
        With "model_type" and the arguments of the model.

    Raises
    ------
    FileFormatError
        If there is no such folder, or no configuration in it.

    Examples
    --------
    >>> from geoquant.torch.pretrained import model_config
    >>> model_config("nowhere")
    Traceback (most recent call last):
        ...
    geoquant.errors.FileFormatError: nowhere: no such folder; name one that holds config.json
    """
    if not os.path.isdir(folder):
        raise FileFormatError(
            f"{os.fspath(folder)}: no such folder; name one that holds {CONFIG_FILE}"
        )
    return read_json_object(Path(folder) / CONFIG_FILE)


def _public_module(kind: type) -> str:
    """Where users import a class from: ours are gathered in one place."""
    return "geoquant.torch" if kind.__module__.startswith("geoquant.torch.") else kind.__module__


def _arrays_of(module: Any) -> dict[str, Any]:
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def _load_weights(module: nn.Module, folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt*") for file in folder.glob(pattern))
    if not path.exists() and pickled:
        raise FileFormatError(
            f"{os.fspath(folder)}: holds {pickled[0]}, which would have to be unpickled and so "
            f"could run code; convert it to {WEIGHTS_FILE} where you trust it"
        )
    arrays, _ = read_safetensors(path)
    check_same_tensors(path, module.state_dict(), arrays)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def check_same_tensors(path: Path, expected: dict[str, Any], found: dict[str, Any]) -> None:
    """Require that a file holds the tensors of a model, of the same shapes and types.

    Parameters
    ----------
    path : Path
        The file, for the error.
    expected : dict of str to Tensor
        State of the model.
    found : dict of str to ndarray
        What the file holds.

    Raises
    ------
    FileFormatError
        If one is missing, unknown or another.

    Examples
    --------
    >>> import pathlib
    >>> import numpy as np, torch
    >>> from geoquant.torch.pretrained import check_same_tensors
    >>> found = {"weight": np.zeros(2, np.float32)}
    >>> check_same_tensors(pathlib.Path("model.safetensors"), {"weight": torch.zeros(2)}, found)
    """
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        raise FileFormatError(
            f"{os.fspath(path)}: must hold the tensors of the model in {CONFIG_FILE}; missing "
            f"{missing}, unknown {unknown}"
        )
    for name, tensor in expected.items():
        given = torch.from_numpy(found[name])
        if given.shape != tensor.shape or given.dtype != tensor.dtype:
            raise FileFormatError(
                f"{os.fspath(path)}: {name} must be {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}, found {given.dtype} of {tuple(given.shape)}"
            )
