"""Decoders that are nothing but linear maps and functions of single numbers, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from geoquant.torch.autoencoders import ImageDecoder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    PlainLayer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], str]

_ACTIVATIONS = {
    nn.ReLU: "relu",
    nn.ELU: "elu",
    nn.LeakyReLU: "leaky_relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.SiLU: "silu",
}
#: Leave the numbers and their order as they are, in evaluation mode.
_UNCHANGING = (nn.Identity, nn.Dropout, nn.Flatten, nn.Unflatten)


def plain_layers(model: Any) -> list[PlainLayer] | None:
    """The layers of a model's decoder, if it has none but linear ones.

    Parameters
    ----------
    model : Module or None
        Its attribute ``decoder`` is looked at.

    Returns
    -------
    list of (weight, bias, activation), or None
        (n_out, n_in) and (n_out,) float32, and 'none', 'relu', 'leaky_relu', 'elu', 'tanh',
        'sigmoid' or 'silu'. None if the decoder is of other parts. What the model does before and
        after its decoder is not in them, so compare what they give with what the model decodes.

    Examples
    --------
    >>> from geoquant.torch import VAE
    >>> from geoquant.torch.layers import plain_layers
    >>> [(weight.shape, activation) for weight, _, activation in plain_layers(VAE())]
    [((400, 20), 'relu'), ((784, 400), 'none')]
    """
    decoder = getattr(model, "decoder", None)
    layers: list[PlainLayer] = []
    for part in _parts(decoder):
        kind = type(part)
        if kind is nn.Linear:
            layers.append((_array(part.weight), _bias(part), "none"))
        elif kind in _ACTIVATIONS and layers and layers[-1][2] == "none" and _is_usual(part):
            layers[-1] = (*layers[-1][:2], _ACTIVATIONS[kind])
        elif not isinstance(part, _UNCHANGING):
            return None
    return layers or None


def _parts(decoder: Any) -> list[Any]:
    """The parts of a decoder in the order in which they are applied; itself if it is one."""
    if type(decoder) is nn.Sequential:
        return [inner for part in decoder for inner in _parts(part)]
    if type(decoder) is ImageDecoder:
        return [decoder.hidden, nn.ReLU(), decoder.output]
    return [decoder]


def _is_usual(activation: nn.Module) -> bool:
    """Whether its parameters are those that go without saying."""
    if isinstance(activation, nn.LeakyReLU):
        return activation.negative_slope == 0.01
    return not isinstance(activation, nn.ELU) or activation.alpha == 1.0


def _bias(part: nn.Linear) -> npt.NDArray[np.float32]:
    if part.bias is None:
        return _array(part.weight)[:, 0] * 0
    return _array(part.bias)


def _array(parameter: Any) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = parameter.detach().float().cpu().numpy()
    return array
