"""Batch-constrained deep Q-learning: Fujimoto, Meger, Precup, "Off-Policy Deep Reinforcement Learning without
Exploration", ICML 2019 (arXiv 1812.02900).

A generative model G (a conditional VAE) proposes actions that the data holds, a perturbation net moves each
by at most phi, and two critics choose among them:

    pi(s) = argmax_{a_i + xi(s, a_i)} Q1(s, a_i + xi(s, a_i)),   a_i ~ G(s)

The losses are pure functions (weights, batch, noise) -> (loss, figures); `BCQ.update` composes them. The
update is the paper's; what makes it fast is how it is evaluated (`dara bench train` measures it beside the
plain one): both critics are one batched product, the state's part of each first layer is computed once and
not once per candidate, and where the processor has bfloat16 tiles, what no gradient passes is done in it.
One thing is ours: the critics begin at the mean reward for ever; from near 0 they would climb long.

G tells two actions of a state apart only where their variance is above kl_weight / 4, that of the Gaussian
decoder whose evidence bound the loss is. Where it tells none `vae_kl` stays near 0: Q has nothing to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..best_of_samples import BestOfSamples, OnSamples, linear, rest_of_layers
from ..critics import best_value, critic_loss, first_critic, q_values
from ..learning import Figures, Learner, Run, TensorBatch
from ..networks import Layer, Mlp, frozen_dtype_of_this_machine, on_states
from ..sampling import UnionSampler
from ..settings import Settings
from ..vae import decode, vae_loss

OFFER_BLOCK = 2048  # states whose candidates are decoded at once


@dataclass(frozen=True)
class BCQConfig(Settings):
    """Hyper-parameters; the defaults are the paper's."""

    discount: float = 0.99  # gamma
    tau: float = 0.005  # step of the target networks towards the online ones
    batch_size: int = 100
    learning_rate: float = 1e-3  # of Adam, for all networks
    candidates: int = 10  # actions from G for each next state in the target
    soft_minimum: float = 0.75  # lambda: weight of the smaller critic in the target
    max_perturbation: float = 0.05  # phi, as a fraction of the largest action
    vae_steps: int = 0  # of G alone, before all others; then it is as it is. 0: it learns beside the critics
    kl_weight: float = 0.5  # of the VAE's KL term (mean over batch and latent) beside its squared error
    latent_clip: float = 0.5  # z is drawn from N(0, I) and clipped to +- this
    latent_samples: int = 100  # candidates of the exported policy, baked in as constants
    critic_hidden: tuple[int, ...] = (400, 300)
    perturbation_hidden: tuple[int, ...] = (400, 300)
    vae_hidden: tuple[int, ...] = (750, 750)
    precision: str = "auto"  # "auto": the target in bfloat16 where the processor has it; "float32": never

    name = "bcq"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "candidates", "latent_samples")
        self.check_at_least(0, "vae_steps")
        self.check_choice("precision", ("auto", "float32"))


class Noise(NamedTuple):
    """All randomness of one update, standard normal and clipped where the paper clips."""

    posterior: Tensor  # (B, L)
    next_latents: Tensor  # (B * candidates, L), clipped
    latents: Tensor  # (B, L), clipped


# ---------------------------------------------------------------- the model: xi


def perturb(perturbation: Sequence[Layer], states: Tensor, actions: Tensor, phi: float) -> Tensor:
    """a + xi(s, a), xi in [-phi, phi], inside the action box. Shapes as in `decode`."""
    moved = torch.tanh(on_states(perturbation, states, actions))
    return (actions + phi * moved).clamp(-1.0, 1.0)


# ---------------------------------------------------------------- losses


@torch.no_grad()
def critic_target(
    next_actions: Tensor,
    perturbation: Sequence[Layer],
    critic: Sequence[Layer],
    batch: TensorBatch,
    config: BCQConfig,
) -> Tensor:
    """The regression target y (B,) of both critics.

    `next_actions` (B * K, A) are what G offers in the next states; `perturbation` and `critic` are the target
    networks.
    """
    if config.max_perturbation:
        next_actions = perturb(perturbation, batch.next_states, next_actions, config.max_perturbation)
    best = best_value(critic, batch.next_states, next_actions, config.soft_minimum)
    # y = r + gamma (1 - terminal) max_i [lambda min_j Q'_j + (1 - lambda) max_j Q'_j]
    return batch.rewards + config.discount * (1.0 - batch.terminals) * best


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
        self.start_at_the_mean(self.critic, config.discount)
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
        self.warm_up = config.vae_steps
        self._offers: list[Tensor] = []  # of each run, what a finished G offers in each next state, (N, K, A)

    def begin_phase(self) -> None:
        """G learns again where it learns first."""
        super().begin_phase()
        self._offers = []

    def look(self, unions: Sequence[UnionSampler]) -> None:
        """Once G is finished, what it offers in a state is fixed: tables of it save decoding in each step."""
        if self.warm_up and not self.warming_up and not self._offers:
            self._offers = [self._offer(run, union) for run, union in enumerate(unions)]

    def _offer(self, run: int, union: UnionSampler) -> Tensor:
        """The actions (N, K, A) that the policy's own candidates are before xi, in all next states.

        In states that no batch holds they are 0.
        """
        decoder, latents = self.decoder.of_run(run), self._latents(run, self.config.candidates)
        mean, std = self.statistics(run)
        offers = torch.zeros(len(union), len(latents), self.action_size)
        for block in union.in_order():
            rows = torch.from_numpy(block.rows).split(OFFER_BLOCK)
            states = ((torch.from_numpy(block.next_observations) - mean) / std).split(OFFER_BLOCK)
            for some, of_them in zip(rows, states, strict=True):
                actions = decode(decoder, of_them, latents.repeat(len(some), 1))
                offers[some] = actions.view(len(some), len(latents), -1)
        return offers.to(self.device)

    def draw_noise(self, rows: int) -> Noise:
        """Fresh noise for one update on `rows` transitions."""
        count, clip = self.config.candidates, self.config.latent_clip
        normal = self.normal(rows * (count + 2), self.latent_size)
        posterior, rest = normal[..., :rows, :], normal[..., rows:, :].clamp_(-clip, clip)
        return Noise(posterior, rest[..., rows:, :], rest[..., :rows, :])

    def update(self, batch: TensorBatch, noise: Noise | None = None) -> Figures:
        """One step of every network on a batch of B rows (Algorithm 1 of the paper).

        Returns:
            vae_error and vae_kl while G learns; critic_loss, q_data, q_target, q_policy while the others do.
        """
        config = self.config
        noise = noise or self.draw_noise(batch.rewards.shape[-1])
        figures: Figures = {}

        if self.warming_up or not self.warm_up:
            loss = partial(vae_loss, kl_weight=config.kl_weight)
            figures |= self.descend(
                self._vae_optimiser, loss, self.encoder.layers, self.decoder.layers, batch, noise.posterior
            )
        if not self.warming_up:
            figures |= self._improve(batch, noise)
        self.steps += 1
        return figures

    def _improve(self, batch: TensorBatch, noise: Noise) -> Figures:
        """A step of the critics and of xi, and of what follows them."""
        config, dtype = self.config, self._target_dtype
        decoder = self.decoder.frozen(dtype)
        target = self.over_runs(
            partial(critic_target, config=config),
            self._next_actions(decoder, batch, noise),
            self.perturbation_target.frozen(dtype),
            self.critic_target.frozen(dtype, exact_output=True),
            batch,
        )
        figures = self.descend(self._critic_optimiser, critic_loss, self.critic.layers, batch, target)
        if config.max_perturbation:
            figures |= self.descend(
                self._perturbation_optimiser,
                partial(perturbation_loss, config=config),
                self.perturbation.layers,
                self.critic.frozen(),
                decoder,
                batch,
                noise,
            )
        self.critic_target.follow(self.critic, config.tau)
        self.perturbation_target.follow(self.perturbation, config.tau)
        return figures

    @torch.no_grad()
    def _next_actions(self, decoder: Sequence[Layer], batch: TensorBatch, noise: Noise) -> Tensor:
        """What G offers in the next states, (B * K, A): of fresh latents, or from the tables."""
        if not self._offers:
            return self.over_runs(decode, decoder, batch.next_states, noise.next_latents)
        rows = batch.rows if len(self.runs) > 1 else batch.rows.unsqueeze(0)
        return self.stack([offer[at].flatten(0, 1) for offer, at in zip(self._offers, rows, strict=True)])

    def _latents(self, run: int, count: int) -> Tensor:
        """A run's constant latents, (count, L): 0, which stands for the likeliest action, and random ones."""
        generator = torch.Generator().manual_seed(self.runs[run].seed)  # the same whenever asked
        latents = torch.randn(count, self.latent_size, generator=generator)
        latents[0] = 0.0
        return latents.clamp_(-self.config.latent_clip, self.config.latent_clip)

    def policy(self, run: int = 0) -> BCQPolicy:
        """The policy of the weights as they are now; of the target critic, which is an average in time."""
        return BCQPolicy(
            self.runs[run],
            self.decoder.of_run(run),
            self.perturbation.of_run(run),
            first_critic(self.critic_target.of_run(run)),
            self._latents(run, self.config.latent_samples),
            self.config.max_perturbation,
        )


# ---------------------------------------------------------------- the policy as it is exported


class BCQPolicy(BestOfSamples):
    """The best of the candidates a_i + xi(s, a_i), a_i = G(s, z_i), of constant latents z_i."""

    decoder_latent: Tensor

    def __init__(
        self,
        run: Run,
        decoder: Sequence[Layer],
        perturbation: Sequence[Layer],
        critic: Sequence[Layer],
        latents: Tensor,
        phi: float,
    ) -> None:
        super().__init__(run, critic, len(latents))
        self.phi = phi
        states = len(run.observation_mean)
        # The decoder's first layer is one product with the state and a constant table.
        (weight, bias), *rest = decoder
        self.decoder_state = linear((weight[:states], bias))
        self.register_buffer("decoder_latent", (latents @ weight[states:]).clone())
        self.decoder_rest = rest_of_layers(rest)
        self.perturbation = OnSamples(perturbation, states, self.samples) if phi else None

    def actions(self, state: Tensor) -> Tensor:
        """a_i + xi(s, a_i), (B * K, A)."""
        first = self.decoder_state(state).unsqueeze(1) + self.decoder_latent
        actions = torch.tanh(self.decoder_rest(first.flatten(0, 1)))
        if self.perturbation is None:
            return actions
        return (actions + self.phi * torch.tanh(self.perturbation(state, actions))).clamp(-1.0, 1.0)
