"""Batch-constrained deep Q-learning: Fujimoto, Meger, Precup, "Off-Policy Deep Reinforcement Learning without
Exploration", ICML 2019 (arXiv 1812.02900).

A generative model G (a conditional VAE) proposes actions that the data holds, a perturbation net moves each
by at most phi, and two critics choose among them:

    pi(s) = argmax_{a_i + xi(s, a_i)} Q1(s, a_i + xi(s, a_i)),   a_i ~ G(s)

The losses are pure functions (weights, batch, noise) -> (loss, figures); `BCQ.update` composes them. The
update is the paper's; what makes it fast is how it is evaluated (dara_ros/bench/bcq.py measures it beside the
plain one): both critics are one batched product, the state's part of each first layer is computed once and
not once per candidate, and where the processor has bfloat16 tiles, what no gradient passes is done in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import UserError
from ..learning import Figures, Learner, Run, TensorBatch
from ..networks import Layer, Mlp, frozen_dtype_of_this_machine, mlp, on_states, q_values

LOG_STD_RANGE = (-4.0, 15.0)  # of the VAE's posterior


@dataclass(frozen=True)
class BCQConfig:
    """Hyper-parameters; the defaults are the paper's."""

    discount: float = 0.99  # gamma
    tau: float = 0.005  # step of the target networks towards the online ones
    batch_size: int = 100
    learning_rate: float = 1e-3  # of Adam, for all networks
    candidates: int = 10  # actions from G for each next state in the target
    soft_minimum: float = 0.75  # lambda: weight of the smaller critic in the target
    max_perturbation: float = 0.05  # phi, as a fraction of the largest action
    kl_weight: float = 0.5  # of the VAE's KL term (mean over batch and latent) beside its squared error
    latent_clip: float = 0.5  # z is drawn from N(0, I) and clipped to +- this
    latent_samples: int = 100  # candidates of the exported policy, baked in as constants
    critic_hidden: tuple[int, ...] = (400, 300)
    perturbation_hidden: tuple[int, ...] = (400, 300)
    vae_hidden: tuple[int, ...] = (750, 750)
    precision: str = "auto"  # "auto": the target in bfloat16 where the processor has it; "float32": never

    def __post_init__(self) -> None:
        for name in ("batch_size", "candidates", "latent_samples"):
            if getattr(self, name) < 1:
                raise UserError(f"bcq.{name} is {getattr(self, name)}: give a whole number of at least 1")
        for name in ("critic_hidden", "perturbation_hidden", "vae_hidden"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise UserError(f"bcq.{name} is {list(sizes)}: give at least one layer of at least 1 unit")
        for name, low, high in (("discount", 0, 1), ("tau", 0, 1), ("soft_minimum", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"bcq.{name} is {getattr(self, name)}: give a number from {low} to {high}")
        if not self.learning_rate > 0:
            raise UserError(f"bcq.learning_rate is {self.learning_rate}: give a positive number")
        if self.precision not in ("auto", "float32"):
            raise UserError(f"bcq.precision is {self.precision!r}: give auto or float32")


class Noise(NamedTuple):
    """All randomness of one update, standard normal and clipped where the paper clips."""

    posterior: Tensor  # (B, L)
    next_latents: Tensor  # (B * candidates, L), clipped
    latents: Tensor  # (B, L), clipped


# ---------------------------------------------------------------- the model: G, xi, Q


def decode(decoder: Sequence[Layer], states: Tensor, latents: Tensor) -> Tensor:
    """G(s, z): actions (B * K, A) in [-1, 1] for states (B, S) and K consecutive latents each."""
    return torch.tanh(on_states(decoder, states, latents))


def perturb(perturbation: Sequence[Layer], states: Tensor, actions: Tensor, phi: float) -> Tensor:
    """a + xi(s, a), xi in [-phi, phi], inside the action box. Shapes as in `decode`."""
    moved = torch.tanh(on_states(perturbation, states, actions))
    return (actions + phi * moved).clamp(-1.0, 1.0)


def first_critic(critic: Sequence[Layer]) -> list[Layer]:
    """The weights of Q_1 alone."""
    return [(weight[0], bias[0]) for weight, bias in critic]


# ---------------------------------------------------------------- losses


def vae_loss(
    encoder: Sequence[Layer], decoder: Sequence[Layer], batch: TensorBatch, noise: Noise, kl_weight: float
) -> tuple[Tensor, Figures]:
    """The loss of G: squared reconstruction error and the KL divergence of the posterior from N(0, I)."""
    mean, log_std = mlp(encoder, torch.cat((batch.states, batch.actions), 1)).chunk(2, dim=1)
    log_std = log_std.clamp(*LOG_STD_RANGE)
    std = log_std.exp()
    # z = mu + sigma * epsilon
    reconstruction = decode(decoder, batch.states, mean + std * noise.posterior)
    error = functional.mse_loss(reconstruction, batch.actions)
    # KL = -1/2 mean(1 + log sigma^2 - mu^2 - sigma^2)
    kl = -0.5 * (1.0 + 2.0 * log_std - mean.square() - std.square()).mean()
    return error + kl_weight * kl, {"vae_error": error.detach(), "vae_kl": kl.detach()}


@torch.no_grad()
def critic_target(
    decoder: Sequence[Layer],
    perturbation: Sequence[Layer],
    critic: Sequence[Layer],
    batch: TensorBatch,
    noise: Noise,
    config: BCQConfig,
) -> Tensor:
    """The regression target y (B,) of both critics; `perturbation` and `critic` are the target networks."""
    actions = decode(decoder, batch.next_states, noise.next_latents)
    actions = perturb(perturbation, batch.next_states, actions, config.max_perturbation)
    q = q_values(critic, batch.next_states, actions)
    # lambda min_j Q'_j + (1 - lambda) max_j Q'_j, then the best of the candidates
    q = torch.lerp(q.amax(0), q.amin(0), config.soft_minimum)
    best = q.view(-1, config.candidates).amax(1)
    # y = r + gamma (1 - terminal) max_i [...]
    return batch.rewards + config.discount * (1.0 - batch.terminals) * best


def critic_loss(critic: Sequence[Layer], batch: TensorBatch, target: Tensor) -> tuple[Tensor, Figures]:
    """sum_j mean (Q_j(s, a) - y)^2."""
    q = q_values(critic, batch.states, batch.actions)
    loss = (q - target).square().mean(1).sum()
    return loss, {"critic_loss": loss.detach(), "q_data": q.detach().mean(), "q_target": target.mean()}


def perturbation_loss(
    perturbation: Sequence[Layer],
    critic: Sequence[Layer],
    decoder: Sequence[Layer],
    batch: TensorBatch,
    noise: Noise,
    config: BCQConfig,
) -> tuple[Tensor, Figures]:
    """-mean Q_1(s, a + xi(s, a)), a ~ G(s): the deterministic policy gradient of xi."""
    with torch.no_grad():
        actions = decode(decoder, batch.states, noise.latents)
    moved = perturb(perturbation, batch.states, actions, config.max_perturbation)
    q = q_values(first_critic(critic), batch.states, moved)
    return -q.mean(), {"q_policy": q.detach().mean()}


# ---------------------------------------------------------------- the learner


class BCQ(Learner):
    """Batch-constrained deep Q-learning."""

    NAME = "bcq"
    Config = BCQConfig
    config: BCQConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        config, states, draw = self.config, self.state_size, self.generators
        self.latent_size = 2 * action_size
        self.encoder = Mlp((states + action_size, *config.vae_hidden, 2 * self.latent_size), draw)
        self.decoder = Mlp((states + self.latent_size, *config.vae_hidden, action_size), draw)
        self.critic = Mlp((states + action_size, *config.critic_hidden, 1), draw, copies=2)
        self.perturbation = Mlp((states + action_size, *config.perturbation_hidden, action_size), draw)
        self.critic_target = self.critic.target_copy()
        self.perturbation_target = self.perturbation.target_copy()
        self._vae_optimiser = self.adam([self.encoder, self.decoder])
        self._critic_optimiser = self.adam([self.critic])
        self._perturbation_optimiser = self.adam([self.perturbation])
        self.networks = {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "critic": self.critic,
            "perturbation": self.perturbation,
            "critic_target": self.critic_target,
            "perturbation_target": self.perturbation_target,
        }
        self.optimisers = self._vae_optimiser, self._critic_optimiser, self._perturbation_optimiser
        low_precision = config.precision == "auto" and len(runs) == 1 and self.device.type == "cpu"
        self._target_dtype = frozen_dtype_of_this_machine() if low_precision else torch.float32

    def draw_noise(self, rows: int) -> Noise:
        """Fresh noise for one update on `rows` transitions."""
        count, clip = self.config.candidates, self.config.latent_clip
        normal = self.normal(rows * (count + 2), self.latent_size)
        posterior, rest = normal[..., :rows, :], normal[..., rows:, :].clamp_(-clip, clip)
        return Noise(posterior, rest[..., rows:, :], rest[..., :rows, :])

    def update(self, batch: TensorBatch, noise: Noise | None = None) -> Figures:
        """One step of every network on a batch of B rows (Algorithm 1 of the paper).

        Returns:
            vae_error, vae_kl, critic_loss, q_data, q_target, q_policy.
        """
        config = self.config
        noise = noise or self.draw_noise(batch.rewards.shape[-1])

        loss = partial(vae_loss, kl_weight=config.kl_weight)
        figures = self.descend(
            self._vae_optimiser, loss, self.encoder.layers, self.decoder.layers, batch, noise
        )

        dtype = self._target_dtype
        decoder = self.decoder.frozen(dtype)
        target = self.over_runs(
            partial(critic_target, config=config),
            decoder,
            self.perturbation_target.frozen(dtype),
            self.critic_target.frozen(dtype, exact_output=True),
            batch,
            noise,
        )
        figures |= self.descend(self._critic_optimiser, critic_loss, self.critic.layers, batch, target)

        loss = partial(perturbation_loss, config=config)
        figures |= self.descend(
            self._perturbation_optimiser,
            loss,
            self.perturbation.layers,
            self.critic.frozen(),
            decoder,
            batch,
            noise,
        )

        self.critic_target.follow(self.critic, config.tau)
        self.perturbation_target.follow(self.perturbation, config.tau)
        self.steps += 1
        return figures

    def policy(self, run: int = 0) -> BCQPolicy:
        """The deterministic policy of the weights as they are now."""
        clip = self.config.latent_clip
        generator = torch.Generator().manual_seed(self.runs[run].seed)  # the same latents whenever asked
        latents = torch.randn(self.config.latent_samples, self.latent_size, generator=generator)
        return BCQPolicy(
            self.runs[run],
            self.decoder.of_run(run),
            self.perturbation.of_run(run),
            first_critic(self.critic.of_run(run)),
            latents.clamp_(-clip, clip),
            self.config.max_perturbation,
        )


# ---------------------------------------------------------------- the policy as it is exported


class BCQPolicy(nn.Module):
    """observation (B, S) float32 -> action (B, A) float32, deterministic.

    The paper draws fresh latents for each decision; here they are drawn once and are constants, so that the
    decoder's first layer is one product with the state and a constant table.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        run: Run,
        decoder: Sequence[Layer],
        perturbation: Sequence[Layer],
        critic: Sequence[Layer],
        latents: Tensor,
        phi: float,
    ) -> None:
        super().__init__()
        self.phi = phi
        self.samples = len(latents)
        self.register_buffer("mean", torch.as_tensor(run.observation_mean, dtype=torch.float32).clone())
        self.register_buffer("std", torch.as_tensor(run.observation_std, dtype=torch.float32).clone())
        states = len(run.observation_mean)
        (weight, bias), *rest = decoder
        self.decoder_state = _linear((weight[:states], bias))
        self.register_buffer("decoder_latent", (latents @ weight[states:]).clone())
        self.decoder_rest = _sequential(rest)
        self.perturbation_state, self.perturbation_action, self.perturbation_rest = _split(
            perturbation, states
        )
        self.critic_state, self.critic_action, self.critic_rest = _split(critic, states)

    def forward(self, observation: Tensor) -> Tensor:
        """argmax over the constant candidates of Q_1(s, a + xi(s, a))."""
        actions, q = self.candidates(observation)
        best = q.argmax(1).view(-1, 1, 1).expand(-1, 1, actions.shape[-1])
        return actions.gather(1, best).flatten(1)

    def candidates(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """a + xi(s, a) of all candidates, (B, K, A), and Q_1 of them, (B, K)."""
        state = (observation - self.mean) / self.std
        first = self.decoder_state(state).unsqueeze(1) + self.decoder_latent
        actions = torch.tanh(self.decoder_rest(first.flatten(0, 1)))
        moved = self.perturbation_rest(
            self._first(self.perturbation_state, self.perturbation_action, state, actions)
        )
        actions = (actions + self.phi * torch.tanh(moved)).clamp(-1.0, 1.0)
        q = self.critic_rest(self._first(self.critic_state, self.critic_action, state, actions))
        return actions.view(-1, self.samples, actions.shape[-1]), q.view(-1, self.samples)

    def _first(self, of_state: nn.Module, of_action: nn.Module, state: Tensor, actions: Tensor) -> Tensor:
        by_state = of_state(state).unsqueeze(1)
        first = of_action(actions).view(-1, self.samples, by_state.shape[-1]) + by_state
        return first.flatten(0, 1)


def _linear(layer: Layer) -> nn.Linear:
    weight, bias = layer
    linear = nn.Linear(*weight.shape)
    with torch.no_grad():
        linear.weight.copy_(weight.T)
        linear.bias.copy_(bias.view(-1))
    return linear.requires_grad_(False)


def _sequential(layers: Sequence[Layer]) -> nn.Sequential:
    """ReLU before each layer: what follows the output of the first layer."""
    return nn.Sequential(*(module for layer in layers for module in (nn.ReLU(), _linear(layer))))


def _split(layers: Sequence[Layer], states: int) -> tuple[nn.Linear, nn.Linear, nn.Sequential]:
    (weight, bias), *rest = layers
    of_action = _linear((weight[states:], torch.zeros_like(bias)))
    return _linear((weight[:states], bias)), of_action, _sequential(rest)
