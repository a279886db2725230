"""Folders from which other libraries load a codebook as their own module."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geoquant.card import Card, card_files
from geoquant.codebook import FILE_IN_FOLDER
from geoquant.errors import FileFormatError, InputError
from geoquant.files import PathLike, write_folder
from geoquant.tensor_files import read_safetensors, safetensors_blocks
from geoquant.torch.exchange import (
    arguments_of,
    load_library,
    put_in_vq_model,
    to_diffusers_vq,
    to_vector_quantize_pytorch,
)
from geoquant.torch.pretrained import check_same_tensors, model_config

if TYPE_CHECKING:
    from diffusers import VQModel

    from geoquant.codebook import Codebook
    from geoquant.multistage import MultistageCodebook

_CONFIG_FILE = "config.json"
_DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
_TAGS = ("codebook",)
_LIMITS = (
    "It assigns by the straight distance to codewords, not along the data as the codebook does; "
    "for those codes use geoquant.",
    "The codes mean something for latents of the encoder that the codebook was fitted to, and for "
    "no others.",
)


def write_vector_quantize_pytorch(
    folder: PathLike,
    codebook: Codebook | MultistageCodebook,
    *,
    share_of_others: float | None = None,
) -> None:
    """Write the module of `to_vector_quantize_pytorch` into a folder, with how to load it.

    Parameters
    ----------
    folder : str or PathLike
        Made if it is not there; ``config.json``, ``model.safetensors`` and a README.md go into it.
    codebook : Codebook or MultistageCodebook
        As for `to_vector_quantize_pytorch`.
    share_of_others : float, optional
        What `share_of_other_codes` found, for the README.md.

    Raises
    ------
    InputError, ImportError
        As `to_vector_quantize_pytorch`.
    ResourceError, OSError
        If the files cannot be written.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.torch.exchange_folders import write_vector_quantize_pytorch
    >>> book = gq.load_codebook("latents.codebook.safetensors")  # doctest: +SKIP
    >>> write_vector_quantize_pytorch("module", book)  # doctest: +SKIP
    """
    module = to_vector_quantize_pytorch(codebook)
    arguments = {**arguments_of(codebook), "freeze_codebook": True}
    source = ("vector-quantize-pytorch", "vector_quantize_pytorch", type(module).__name__)
    _write_module(folder, module, arguments, source, codebook, share_of_others)


def write_diffusers(
    folder: PathLike,
    codebook: Codebook,
    model: VQModel | None = None,
    *,
    share_of_others: float | None = None,
) -> None:
    """Write what diffusers takes into a folder: a ``VQModel``, or the quantizer alone.

    Parameters
    ----------
    folder : str or PathLike
        Made if it is not there; configuration, weights and a README.md go into it.
    codebook : Codebook
        Of one stage.
    model : VQModel, optional
        Gets the codewords (`put_in_vq_model`, of any number of codes) and is written for
        ``VQModel.from_pretrained``. Default: the module of `to_diffusers_vq` is written.
    share_of_others : float, optional
        What `share_of_other_codes` found, for the README.md.

    Raises
    ------
    InputError, ImportError
        As `to_diffusers_vq` and `put_in_vq_model`, and for weights that NumPy does not know.
    ResourceError, OSError
        If the files cannot be written.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.torch.exchange_folders import write_diffusers
    >>> book = gq.load_codebook("latents.codebook.safetensors")  # doctest: +SKIP
    >>> write_diffusers("module", book)  # doctest: +SKIP
    """
    if model is not None:
        put_in_vq_model(codebook, model, resize=True)
        _write_vq_model(folder, model, codebook, share_of_others)
        return
    module = to_diffusers_vq(codebook)
    names = ("beta", "legacy", "sane_index_shape")
    arguments = {"n_e": codebook.n_codes, "vq_embed_dim": codebook.dim}
    arguments |= {name: getattr(module, name) for name in names}
    source = ("diffusers", "diffusers.models.autoencoders.vae", "VectorQuantizer")
    _write_module(folder, module, arguments, source, codebook, share_of_others)


def load_vq_model(folder: PathLike) -> VQModel:
    """A ``VQModel`` that diffusers saved; nothing is unpickled and nothing fetched.

    Parameters
    ----------
    folder : str or PathLike
        With ``config.json`` and ``diffusion_pytorch_model.safetensors``.

    Returns
    -------
    VQModel

    Raises
    ------
    FileFormatError
        If there is no such folder, or no such model in it.
    ImportError
        If diffusers is missing.

    Examples
    --------
    >>> from geoquant.torch.exchange_folders import load_vq_model
    >>> load_vq_model("nowhere")
    Traceback (most recent call last):
        ...
    geoquant.errors.FileFormatError: nowhere: no such folder; name one that holds config.json
    """
    config = model_config(folder)
    if config.get("_class_name") != "VQModel":
        raise FileFormatError(
            f"{os.fspath(folder)}: must hold a VQModel of diffusers, found _class_name "
            f"{config.get('_class_name')!r}; name the folder that its save_pretrained wrote"
        )
    theirs = load_library("diffusers", "diffusers")
    path = Path(folder) / _DIFFUSERS_WEIGHTS
    arrays, _ = read_safetensors(path)
    try:
        model: Any = theirs.VQModel.from_config(config)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise FileFormatError(
            f"{os.fspath(folder)}: its config.json makes no VQModel: {error}"
        ) from error
    if all(array.dtype == np.float16 for array in arrays.values()):
        model = model.half()
    check_same_tensors(path, model.state_dict(), arrays)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    loaded: VQModel = model.eval()
    return loaded


def _write_module(
    folder: PathLike,
    module: torch.nn.Module,
    arguments: dict[str, Any],
    source: tuple[str, str, str],
    codebook: Codebook | MultistageCodebook,
    share_of_others: float | None,
) -> None:
    """A module with the arguments that make it, its weights and a card."""
    library, imported_from, name = source
    config = {
        "schema_version": 1,
        "geoquant_version": version("geoquant"),
        "library": library,
        "class": name,
        "arguments": arguments,
    }
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    usage = (
        "from safetensors.torch import load_file\n"
        f"from {imported_from} import {name}\n\n"
        f"module = {name}({given})\n"
        f'module.load_state_dict(load_file("path/to/this/folder/{FILE_IN_FOLDER}"))'
    )
    card = _card(library, name, usage, codebook, share_of_others)
    write_folder(
        folder,
        {
            _CONFIG_FILE: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
            FILE_IN_FOLDER: safetensors_blocks(_arrays_of(module), {"format": "pt"}),
            **card_files(folder, card),
        },
    )


def _write_vq_model(
    folder: PathLike, model: Any, codebook: Codebook, share_of_others: float | None
) -> None:
    usage = (
        "from diffusers import VQModel\n\n"
        'model = VQModel.from_pretrained("path/to/this/folder")\n'
        "# What geoquant has quantized already must not be quantized once more:\n"
        "# images = model.decode(latents, force_not_quantize=True).sample"
    )
    card = _card("diffusers", type(model).__name__, usage, codebook, share_of_others)
    write_folder(
        folder,
        {
            _CONFIG_FILE: model.to_json_string().encode(),
            _DIFFUSERS_WEIGHTS: safetensors_blocks(_arrays_of(model), {"format": "pt"}),
            **card_files(folder, card),
        },
    )


def _card(
    package: str,
    name: str,
    usage: str,
    codebook: Codebook | MultistageCodebook,
    share_of_others: float | None,
) -> Card:
    n_codes = " × ".join(map(str, np.atleast_1d(codebook.n_codes)))
    facts = {"numbers of a latent": f"{codebook.dim}", "codes": n_codes}
    if share_of_others is not None:
        facts["latents to which the codebook itself gives another code"] = f"{share_of_others:.1%}"
    return Card(
        title=f"{name} of {package} with the codewords of geoquant",
        summary=f"Codewords that geoquant fitted along the data, as {name} of {package}.",
        usage=usage,
        facts=facts,
        made=codebook.metadata,
        limits=_LIMITS,
        tags=_TAGS,
        package=package,
    )


def _arrays_of(module: torch.nn.Module) -> dict[str, Any]:
    """Weights as arrays; a format that NumPy lacks is refused, not converted unasked."""
    state = module.state_dict()
    for name, value in state.items():
        if value.dtype == torch.bfloat16:
            raise InputError(
                f"model must have weights that NumPy knows, found {name} of {value.dtype}; convert "
                "it with model.float()"
            )
    return {name: value.detach().cpu().numpy() for name, value in state.items()}
