"""The multi-layer perceptron of the textbook updates."""

from __future__ import annotations

from torch import nn


def plain_mlp(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    """ReLU between layers, nothing after the last."""
    sizes = (inputs, *hidden)
    layers = [m for pair in zip(sizes[:-1], sizes[1:], strict=True) for m in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
