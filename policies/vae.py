"""The conditional variational autoencoder that models the behaviour in the data: G of BCQ and BEAR."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .learning import Figures, TensorBatch
from .networks import Layer, mlp, on_states

LOG_STD_RANGE = (-4.0, 15.0)  # of the posterior


def decode(decoder: Sequence[Layer], states: Tensor, latents: Tensor) -> Tensor:
    """G(s, z): actions (B * K, A) in [-1, 1] for states (B, S) and K consecutive latents each."""
    return torch.tanh(on_states(decoder, states, latents))


def vae_loss(
    encoder: Sequence[Layer], decoder: Sequence[Layer], batch: TensorBatch, noise: Tensor, kl_weight: float
) -> tuple[Tensor, Figures]:
    """The loss of G: squared reconstruction error and the KL divergence of the posterior from N(0, I).

    `noise` is standard normal, (B, L).
    """
    mean, log_std = mlp(encoder, torch.cat((batch.states, batch.actions), 1)).chunk(2, dim=1)
    log_std = log_std.clamp(*LOG_STD_RANGE)
    std = log_std.exp()
    # z = mu + sigma * epsilon
    reconstruction = decode(decoder, batch.states, mean + std * noise)
    error = functional.mse_loss(reconstruction, batch.actions)
    # KL = -1/2 mean(1 + log sigma^2 - mu^2 - sigma^2)
    kl = -0.5 * (1.0 + 2.0 * log_std - mean.square() - std.square()).mean()
    return error + kl_weight * kl, {"vae_error": error.detach(), "vae_kl": kl.detach()}
