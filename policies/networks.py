"""Multi-layer perceptrons as plain weights and one pure function.

The weights of a network are views of one flat float32 vector, so that a target network follows its online
network in one operation and a low-precision copy is one cast. Several networks of one shape (BCQ's two
critics) share one set of weights with a leading dimension, and one batched product evaluates them all.

Runs that train together have their weights stacked: one more dimension, before all others. Only `Mlp` and
`Scalar` know of it; a loss is written for one run, and `Learner.over_runs` maps it over all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: One affine layer: weight (..., inputs, outputs) and bias (..., 1, outputs).
Layer = tuple[Tensor, Tensor]

_ALIGNMENT = 16  # floats: every weight starts on a cache line, as a tensor of its own would


class Parameters:
    """What an optimiser steps and a checkpoint holds, of one run or stacked of several.

    Attributes:
        runs: how many.
    """

    runs: int

    @property
    def leaves(self) -> list[Tensor]:
        """The tensors that an optimiser steps, in a fixed order: contiguous, the runs' dimension first."""
        raise NotImplementedError

    def state(self, run: int) -> Tensor:
        """All numbers of one run, (P,)."""
        return torch.cat([of_run(leaf.detach(), run, self.runs).reshape(-1) for leaf in self.leaves])

    @torch.no_grad()
    def load(self, state: Tensor, run: int) -> None:
        """Take what `state` gave.

        Raises:
            ValueError: it is of another size.
        """
        parts = [of_run(leaf, run, self.runs) for leaf in self.leaves]
        if len(state) != sum(part.numel() for part in parts):
            raise ValueError(f"{len(state)} numbers")
        for part, saved in zip(parts, state.split([part.numel() for part in parts]), strict=True):
            part.copy_(saved.view(part.shape))


def of_run(tensor: Tensor, run: int, runs: int) -> Tensor:
    """One run's part of a tensor, which has a leading dimension only where there are several runs."""
    return tensor[run] if runs > 1 else tensor


class Scalar(Parameters):
    """One number of each run, such as the logarithm of a Lagrange multiplier.

    Attributes:
        value: (), or (R,) of R runs; requires a gradient.
    """

    def __init__(self, value: float, generators: Sequence[torch.Generator]) -> None:
        self.runs = len(generators)
        lead = (self.runs,) if self.runs > 1 else ()
        self.value = torch.full(lead, value, device=generators[0].device).requires_grad_()

    @property
    def leaves(self) -> list[Tensor]:
        """The number itself."""
        return [self.value]


class Mlp(Parameters):
    """The weights of one perceptron, or of `copies` perceptrons of the same shape, of each run.

    Attributes:
        flat: float32, all weights, one dimension.
        layers: the affine layers from input to output, views of `flat` which require gradients.
    """

    def __init__(self, sizes: Sequence[int], generators: Sequence[torch.Generator], copies: int = 0) -> None:
        """Draw weights and biases uniformly from +-1/sqrt(inputs), the custom of the field.

        Args:
            sizes: widths from the input to the output, at least two.
            generators: the only source of randomness, one for each run, all on the device of the weights.
            copies: 0 for one network with (inputs, outputs) weights, else the leading dimension of a run's.
        """
        self.sizes = tuple(sizes)
        self.runs = len(generators)
        self.lead = (*([self.runs] if self.runs > 1 else []), *([copies] if copies else []))
        self.flat = torch.zeros(self._place()[1], device=generators[0].device)
        self.layers = self._views(self.flat)
        for run, generator in enumerate(generators):
            for weight, bias in self.layers:
                bound = 1.0 / math.sqrt(weight.shape[-2])
                for tensor in (weight, bias):
                    of_run(tensor, run, self.runs).uniform_(-bound, bound, generator=generator)
        for leaf in self.leaves:
            leaf.requires_grad_()

    @property
    def leaves(self) -> list[Tensor]:
        """Weights and biases of all layers."""
        return [tensor for layer in self.layers for tensor in layer]

    def target_copy(self) -> Mlp:
        """A network with the same weights which no gradient reaches."""
        other = object.__new__(Mlp)
        other.sizes, other.runs, other.lead = self.sizes, self.runs, self.lead
        other.flat = self.flat.clone()
        other.layers = other._views(other.flat)
        return other

    def follow(self, online: Mlp, tau: float) -> None:
        """theta' <- tau * theta + (1 - tau) * theta'."""
        self.flat.lerp_(online.flat, tau)

    def frozen(self, dtype: torch.dtype = torch.float32, exact_output: bool = False) -> list[Layer]:
        """The layers without gradients, cast to `dtype`.

        Args:
            dtype: float32 or bfloat16.
            exact_output: leave the last layer float32, for answers that are compared and subtracted, where
                bfloat16's three digits would show.
        """
        layers = self._views(self.flat.to(dtype))
        return [*layers[:-1], self._views(self.flat)[-1]] if exact_output else layers

    def of_run(self, run: int) -> list[Layer]:
        """The layers of one run, without gradients, on the CPU."""
        return [
            (of_run(weight, run, self.runs).cpu(), of_run(bias, run, self.runs).cpu())
            for weight, bias in self.frozen()
        ]

    def _place(self) -> tuple[list[tuple[int, tuple[int, ...]]], int]:
        """Offset and shape of every weight and bias in `flat`, and its length."""
        places: list[tuple[int, tuple[int, ...]]] = []
        offset = 0
        for inputs, outputs in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            for shape in ((*self.lead, inputs, outputs), (*self.lead, 1, outputs)):
                places.append((offset, shape))
                offset += -(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        return places, offset

    def _views(self, flat: Tensor) -> list[Layer]:
        views = [flat[at : at + math.prod(shape)].view(shape) for at, shape in self._place()[0]]
        return list(zip(views[::2], views[1::2], strict=True))


def affine(layer: Layer, inputs: Tensor) -> Tensor:
    """inputs @ weight + bias.

    Args:
        layer: weight (I, O) or (C, I, O).
        inputs: (N, I), or (C, N, I) where the weights have a leading dimension C.

    Returns:
        (N, O) or (C, N, O).
    """
    weight, bias = layer
    if weight.dim() == 2:
        return torch.addmm(bias, inputs, weight)
    return torch.baddbmm(bias, inputs.expand(weight.shape[0], -1, -1), weight)


def on_states(layers: Sequence[Layer], states: Tensor, others: Tensor) -> Tensor:
    """The network on inputs [state, other], with K consecutive rows of `others` for each state.

    Args:
        layers: weights float32, or as `Mlp.frozen` casts them (then nothing here has a gradient).
        states: (B, S) float32.
        others: (B * K, X) float32.

    Returns:
        (..., B * K, outputs) float32, before any output non-linearity.
    """
    if layers[0][0].dtype == torch.bfloat16:
        return _bfloat16_mlp(layers, states, others)
    if len(others) == len(states):
        return mlp(layers, torch.cat((states, others), 1))
    return _remaining_layers(layers, _first_layer(layers[0], states, others))


def mlp(
    layers: Sequence[Layer], inputs: Tensor, activation: Callable[[Tensor], Tensor] = torch.relu_
) -> Tensor:
    """The whole network in float32, nothing after the last layer.

    Args:
        layers: weights of one network, or with a leading dimension C of several.
        inputs: (N, I) or (C, N, I).
        activation: between layers; it may work in place: no backward pass needs what was there before.

    Returns:
        (N, O) or (C, N, O).
    """
    return _remaining_layers(layers, affine(layers[0], inputs), activation)


def _first_layer(layer: Layer, states: Tensor, others: Tensor) -> Tensor:
    """The first layer for `on_states`, with the state's part computed once per state: (..., B * K, O)."""
    weight, bias = layer
    state_size, outputs = states.shape[-1], weight.shape[-1]
    of_state = affine((weight[..., :state_size, :], bias), states)
    of_other = torch.matmul(others, weight[..., state_size:, :])
    grouped = of_other.view(*of_other.shape[:-2], states.shape[-2], -1, outputs)
    return grouped.add_(of_state.unsqueeze(-2)).view(of_other.shape)


def _remaining_layers(
    layers: Sequence[Layer], first: Tensor, activation: Callable[[Tensor], Tensor] = torch.relu_
) -> Tensor:
    """The network from its first layer's output on: (..., N, H) -> (..., N, outputs)."""
    hidden = activation(first)
    for layer in layers[1:-1]:
        hidden = activation(affine(layer, hidden))
    return affine(layers[-1], hidden)


def _bfloat16_mlp(layers: Sequence[Layer], states: Tensor, others: Tensor) -> Tensor:
    """`on_states` with oneDNN's product, bias and ReLU in one pass over memory.

    Here the products are so cheap that another pass, such as adding the state's part, would cost more than
    the arithmetic that it saves.
    """
    repeated = states.bfloat16().repeat_interleave(len(others) // len(states), 0)
    inputs = torch.cat((repeated, others.bfloat16()), 1)
    if layers[0][0].dim() == 2:
        return _bfloat16_layers(layers, inputs)
    copies = range(len(layers[0][0]))
    return torch.stack([_bfloat16_layers([(w[i], b[i]) for w, b in layers], inputs) for i in copies])


def _bfloat16_layers(layers: Sequence[Layer], hidden: Tensor) -> Tensor:
    for weight, bias in layers[:-1]:
        hidden = torch.ops.mkldnn._linear_pointwise(hidden, weight.T, bias.view(-1), "relu", [], "")
    weight, bias = layers[-1]
    if weight.dtype == torch.float32:
        return affine((weight, bias), hidden.float())
    return torch.ops.mkldnn._linear_pointwise(hidden, weight.T, bias.view(-1), "none", [], "").float()


def frozen_dtype_of_this_machine() -> torch.dtype:
    """bfloat16 where the processor multiplies it in hardware (AMX tiles), else float32."""
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    fused = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return torch.bfloat16 if fused and has_tiles() else torch.float32
