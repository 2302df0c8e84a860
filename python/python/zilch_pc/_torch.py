"""Weights as state dicts of torch. torch itself is imported only to make tensors.

A weight matrix that reads a grid has its columns in the order (position, channel) here, and in the order (channel, position) in torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._arrays import array, numbers
from .errors import UsageError

#: A layer of a state dict: its name, its weights, and its biases.
Layer = tuple[str, np.ndarray, np.ndarray | None]
#: What a weight matrix reads: positions and channels of a grid, and whether it is a convolution. None for a plain layer.
Kernel = tuple[int, int, bool] | None


def state_dict(
    weights: Mapping[str, np.ndarray], kernels: Sequence[Kernel], names: Sequence[str] | None
) -> dict[str, Any]:
    """The weights of a chain as tensors, the input first."""
    try:
        import torch
    except ImportError as error:
        raise ImportError("to_torch needs torch: pip install torch. network.weights has the same arrays for numpy") from error
    matrices = len(kernels)
    names = [str(2 * k) for k in range(matrices)] if names is None else list(names)
    if len(names) != matrices or len(set(names)) != matrices:
        raise UsageError(f"names takes a name for each of the {matrices} layers of weights, all different; {names!r} given")
    state = {}
    for name, l in zip(names, range(matrices, 0, -1)):
        state[f"{name}.weight"] = torch.from_numpy(_to_torch(weights[f"theta.{l}"], kernels[l - 1]))
        if f"bias.{l}" in weights:
            state[f"{name}.bias"] = torch.from_numpy(weights[f"bias.{l}"])
    return state


def _to_torch(theta: np.ndarray, kernel: Kernel) -> np.ndarray:
    if kernel is None:
        return theta
    positions, channels, convolves = kernel
    side = round(positions**0.5)
    shape = (channels, side, side) if convolves else (channels * positions,)
    return np.ascontiguousarray(theta.reshape(-1, positions, channels).swapaxes(1, 2)).reshape(len(theta), *shape)


def _from_torch(theta: np.ndarray, kernel: Kernel) -> np.ndarray:
    if kernel is None or theta.size != len(theta) * kernel[0] * kernel[1]:
        return theta.reshape(len(theta), -1)
    positions, channels, _ = kernel
    return np.ascontiguousarray(theta.reshape(-1, channels, positions).swapaxes(1, 2)).reshape(len(theta), -1)


def layers_of(state: Any) -> list[Layer]:
    """The layers of a state dict or of a module, the input first."""
    if hasattr(state, "state_dict"):
        state = state.state_dict()
    if not isinstance(state, Mapping):
        raise UsageError(f"from_torch takes a state dict or a module, not {type(state).__name__}")
    found: dict[str, list[Any]] = {}
    for key, tensor in state.items():
        name, _, kind = str(key).rpartition(".")
        if kind not in ("weight", "bias"):
            raise UsageError(f"{key} is neither a weight nor a bias: from_torch takes linear layers and convolutions")
        tensor = tensor.cpu() if hasattr(tensor, "cpu") else tensor
        found.setdefault(name, [None, None])[kind == "bias"] = numbers(array(tensor, str(key)), str(key))
    layers: list[Layer] = []
    for name, (theta, bias) in found.items():
        if theta is None or theta.ndim not in (2, 4) or (bias is not None and bias.shape != theta.shape[:1]):
            raise UsageError(f"{name or 'the state dict'} is neither a linear layer nor a convolution, with weights of 2 or 4 axes")
        layers.append((name, theta, bias))
    if not layers:
        raise UsageError("the state dict has no weights")
    if len({bias is None for _, _, bias in layers}) > 1:
        raise UsageError("all layers have biases, or none has; fill the missing ones with zeros")
    return layers


def sizes(layers: Sequence[Layer]) -> list[int]:
    """The layers of a chain, from the shapes of its weights."""
    for name, theta, _ in layers:
        if theta.ndim != 2:
            raise UsageError(f'{name} is a convolution, whose grid the weights do not tell: give layers="…"')
    for (name, theta, _), (after, following, _) in zip(layers, layers[1:]):
        if following.shape[1] != len(theta):
            raise UsageError(
                f"{name} has {len(theta)} outputs, but {after} has {following.shape[1]} inputs: the layers are not a chain of linear "
                "layers in the order of the dict"
            )
    return [layers[0][1].shape[1], *(len(theta) for _, theta, _ in layers)]


def named(layers: Sequence[Layer], wanted: Mapping[str, np.ndarray], kernels: Sequence[Kernel]) -> dict[str, np.ndarray]:
    """The layers by the names of zilch, as a network with the weights ``wanted`` takes them."""
    matrices = sum(name.startswith("theta.") for name in wanted)
    if len(layers) != matrices:
        raise UsageError(f"the state dict has {len(layers)} layers of weights, but the network has {matrices}")
    weights = {}
    for l, (name, given, bias) in zip(range(matrices, 0, -1), layers):
        theta = _from_torch(given, kernels[l - 1])
        if theta.shape != wanted[f"theta.{l}"].shape:
            raise UsageError(f"{name}.weight has shape {given.shape}; the network has a matrix {wanted[f'theta.{l}'].shape} there")
        weights[f"theta.{l}"] = theta
        if bias is not None:
            weights[f"bias.{l}"] = bias
    return weights
