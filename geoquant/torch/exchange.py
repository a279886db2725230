"""Codebooks as modules of other libraries, which assign by straight distance to codewords.

Their modules know codewords and nothing of the data between them: where a codebook assigns along
the data, some latents get another code from them. `share_of_other_codes` says how many.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geoquant.assignment import nearest_codeword
from geoquant.codebook import Codebook
from geoquant.errors import InputError
from geoquant.latents import check_latents
from geoquant.multistage import MultistageCodebook, encoding_codewords, residual_codes

if TYPE_CHECKING:
    import numpy.typing as npt
    from diffusers import VQModel
    from diffusers.models.autoencoders.vae import VectorQuantizer
    from vector_quantize_pytorch import ResidualVQ, VectorQuantize

#: Options of theirs with which a module would not assign by our codewords.
_NOT_OURS = {
    "affine_param",
    "codebook_dim",
    "codebook_size",
    "dim",
    "heads",
    "implicit_neural_codebook",
    "kmeans_init",
    "num_quantizers",
    "separate_codebook_per_head",
    "shared_codebook",
    "use_cosine_sim",
    "vq_bridge",
}


def to_vector_quantize_pytorch(
    codebook: Codebook | MultistageCodebook, *, freeze: bool = True, **options: Any
) -> VectorQuantize | ResidualVQ:
    """The module of vector-quantize-pytorch with the codewords of a codebook.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        Of stages only residual ones that encode by the codewords their codes stand for.
    freeze : bool, default=True
        Whether training leaves the codewords as they are.
    **options
        Of theirs, such as ``accept_image_fmap=True`` or ``commitment_weight=0.25``.

    Returns
    -------
    VectorQuantize, or ResidualVQ of stages
        Its indices are those of `geoquant.nearest_codeword`, of stages one after the other: its
        own beam search, which it can be asked for, ranks prefixes by another sum than ours.

    Raises
    ------
    InputError
        If the codebook has no equal there, or an option changes what codewords mean.
    ImportError
        If the library is missing.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import geoquant as gq
    >>> from geoquant.torch import to_vector_quantize_pytorch
    >>> v = np.array([[0.0, 0.0], [8.0, 4.0]], np.float32)
    >>> book = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> vq = to_vector_quantize_pytorch(book)  # doctest: +SKIP
    >>> quantized, indices, loss = vq(torch.tensor([[7.0, 5.0]]))  # doctest: +SKIP
    """
    taken = sorted(set(options) & _NOT_OURS)
    if taken:
        raise InputError(
            f"options must leave the codewords what they are, found {', '.join(taken)}; leave out "
            "what would change them"
        )
    vectors = _vectors_of_stages(codebook)
    theirs = load_library("vector_quantize_pytorch", "vector-quantize-pytorch")
    shape = arguments_of(codebook)
    if isinstance(codebook, Codebook):
        module = theirs.VectorQuantize(**shape, freeze_codebook=freeze, **options)
        layers = [module]
    else:
        module = theirs.ResidualVQ(**shape, freeze_codebook=freeze, **options)
        layers = list(module.layers)
    for layer, codewords in zip(layers, vectors, strict=True):
        _fill(layer, codewords)
    return module


def arguments_of(codebook: Codebook | MultistageCodebook) -> dict[str, Any]:
    """Arguments of the module of vector-quantize-pytorch that follow from a codebook.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.torch.exchange import arguments_of
    >>> v = np.array([[0.0], [9.0]], np.float32)
    >>> arguments_of(gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {}))
    {'dim': 1, 'codebook_size': 2}
    """
    sizes: dict[str, Any] = {"dim": codebook.dim, "codebook_size": codebook.n_codes}
    if isinstance(codebook, MultistageCodebook):
        sizes["num_quantizers"] = codebook.n_stages
    return sizes


def _fill(layer: Any, codewords: npt.NDArray[np.float32]) -> None:
    """Give a module codewords, also as the averages from which it would go on learning."""
    state = layer.state_dict()
    for name in ("_codebook.embed", "_codebook.embed_avg"):
        state[name] = torch.tensor(codewords)[None]
    layer.load_state_dict(state)


def _vectors_of_stages(
    codebook: Codebook | MultistageCodebook,
) -> list[npt.NDArray[np.float32]]:
    """Codewords by which their module encodes and decodes, of each stage."""
    if isinstance(codebook, Codebook):
        return [codebook.vectors]
    if not isinstance(codebook, MultistageCodebook):
        raise InputError(
            "codebook must be a Codebook or a MultistageCodebook, found "
            f"{type(codebook).__name__}; load one with geoquant.load_codebook"
        )
    if codebook.kind != "residual":
        raise InputError(
            "codebook must have residual stages for their ResidualVQ, which adds codewords, found "
            "product stages; use geoquant.torch.MultistageQuantizer, or export stage by stage"
        )
    for m, stage in enumerate(codebook.stages, 1):
        if not np.array_equal(encoding_codewords(stage), stage.vectors):
            raise InputError(
                f"codebook must encode by the codewords that its codes stand for, stage {m} has "
                "others; use geoquant.torch.MultistageQuantizer, which knows both"
            )
    return [stage.vectors for stage in codebook.stages]


def load_library(module: str, name: str) -> Any:
    """A library that may be missing, or the error that says how to get it.

    Parameters
    ----------
    module : str
        What is imported of it.
    name : str
        What it is installed by.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed.

    Examples
    --------
    >>> from geoquant.torch.exchange import load_library
    >>> load_library("no_such_thing", "no-such-thing")
    Traceback (most recent call last):
        ...
    ImportError: geoquant.torch.exchange needs no-such-thing, which is not installed; install ...
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise ImportError(
            f"geoquant.torch.exchange needs {name}, which is not installed; install it with: "
            f"pip install {name}"
        ) from error


def to_diffusers_vq(
    codebook: Codebook,
    *,
    freeze: bool = True,
    beta: float = 0.25,
    legacy: bool = False,
    sane_index_shape: bool = True,
) -> VectorQuantizer:
    """The ``VectorQuantizer`` of diffusers with the codewords of a codebook.

    Parameters
    ----------
    codebook : Codebook
        Of one stage.
    freeze : bool, default=True
        Whether training leaves the codewords as they are.
    beta : float, default=0.25
        Weight of the commitment.
    legacy : bool, default=False
        Whether it is put on the wrong term, as their module does unless it is told.
    sane_index_shape : bool, default=True
        Whether indices have the shape of the sites; theirs are flat unless it is told.

    Returns
    -------
    VectorQuantizer
        Takes latents (n, d, H, W). Its indices are those of `geoquant.nearest_codeword`.

    Raises
    ------
    InputError
        If the codebook is not of one stage.
    ImportError
        If diffusers is missing.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import geoquant as gq
    >>> from geoquant.torch import to_diffusers_vq
    >>> v = np.array([[0.0, 0.0], [8.0, 4.0]], np.float32)
    >>> book = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> vq = to_diffusers_vq(book)  # doctest: +SKIP
    >>> vq(torch.zeros(1, 2, 8, 8))[2][2].shape  # doctest: +SKIP
    torch.Size([1, 8, 8])
    """
    _require_one_stage(codebook)
    theirs = load_library("diffusers.models.autoencoders.vae", "diffusers")
    module: VectorQuantizer = theirs.VectorQuantizer(
        codebook.n_codes,
        codebook.dim,
        beta=beta,
        legacy=legacy,
        sane_index_shape=sane_index_shape,
    )
    _copy_into(module, codebook, freeze=freeze)
    return module


def put_in_vq_model(
    codebook: Codebook, model: VQModel, *, resize: bool = False, freeze: bool = True
) -> VQModel:
    """Put the codewords of a codebook into a ``VQModel`` of diffusers, in place.

    Parameters
    ----------
    codebook : Codebook
        Of one stage, fitted to the sites of the model's latents: ``VAEAdapter.wrap(model)`` gives
        them as rows.
    model : VQModel
        Any model with ``quantize.embedding``.
    resize : bool, default=False
        Whether a model of another number of codes gets a quantizer of ours.
    freeze : bool, default=True
        Whether training leaves the codewords as they are.

    Returns
    -------
    VQModel
        The same.

    Raises
    ------
    InputError
        If the model has no such quantizer, or codes or sites of another size.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.torch import put_in_vq_model
    >>> put_in_vq_model(gq.load_codebook("sites.safetensors"), model)  # doctest: +SKIP
    """
    _require_one_stage(codebook)
    quantizer = getattr(model, "quantize", None)
    weight = getattr(getattr(quantizer, "embedding", None), "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise InputError(
            "model must have a codebook in quantize.embedding, as VQModel of diffusers has, found "
            f"{type(model).__name__}"
        )
    n_codes, dim = weight.shape
    if dim != codebook.dim:
        raise InputError(
            f"codebook must be of the {dim} numbers that the model has at each site, found "
            f"{codebook.dim}; fit one to VAEAdapter.wrap(model).encode_array(images)"
        )
    if n_codes != codebook.n_codes and not resize:
        raise InputError(
            f"codebook must have the model's {n_codes} codes, found {codebook.n_codes}; give "
            "resize=True, or fit that many"
        )
    if n_codes != codebook.n_codes:
        quantizer = _resized(model, codebook.n_codes)
    _copy_into(quantizer, codebook, freeze=freeze)
    return model


def _resized(model: Any, n_codes: int) -> Any:
    """Give a model a quantizer of so many codes, otherwise like its own."""
    old = model.quantize
    new = type(old)(
        n_codes,
        old.vq_embed_dim,
        beta=old.beta,
        legacy=old.legacy,
        sane_index_shape=old.sane_index_shape,
    )
    model.quantize = new.to(old.embedding.weight)
    model.register_to_config(num_vq_embeddings=n_codes)
    return model.quantize


def _require_one_stage(codebook: Codebook) -> None:
    if not isinstance(codebook, Codebook):
        raise InputError(
            "codebook must be a Codebook of one stage, as diffusers knows no others, found "
            f"{type(codebook).__name__}"
        )


def _copy_into(quantizer: Any, codebook: Codebook, *, freeze: bool) -> None:
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.tensor(codebook.vectors))
    quantizer.embedding.weight.requires_grad_(not freeze)


def share_of_other_codes(
    codebook: Codebook | MultistageCodebook,
    latents: npt.ArrayLike | None = None,
    *,
    n_jobs: int | None = None,
) -> float:
    """Share of latents that get another code by straight distance than from the codebook.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        As for `to_vector_quantize_pytorch`.
    latents : array-like of shape (n, d), optional
        Default: the anchors of a codebook of one stage.
    n_jobs : int, optional
        Threads.

    Returns
    -------
    float
        In [0, 1]; of stages, where any code is another.

    Raises
    ------
    InputError
        If the codebook has no equal there, or latents are missing or not its own.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.torch import share_of_other_codes
    >>> z, codes = np.array([[0.0], [4.0], [9.0]], np.float32), np.array([0, 1, 1], np.int32)
    >>> book = gq.Codebook(z[[0, 2]], z, np.array([0.0, 5.0, 0.0]), codes, 1, {})
    >>> round(share_of_other_codes(book), 3)
    0.333
    """
    vectors = _vectors_of_stages(codebook)
    if latents is None and not isinstance(codebook, Codebook):
        raise InputError("latents must be given for a codebook of stages, which keeps none")
    if isinstance(codebook, Codebook):
        z = codebook.anchors if latents is None else check_latents(latents)
        straight = nearest_codeword(z, codebook.vectors, n_jobs=n_jobs)
        return float((codebook.assign(z, n_jobs=n_jobs) != straight).mean())
    z = check_latents(latents)
    own = codebook.assign(z, n_jobs=n_jobs)
    greedy = residual_codes(z, vectors, beam=1, n_jobs=n_jobs)
    return float((own != greedy).any(axis=1).mean())
