"""Bootstrapping error accumulation reduction: Kumar, Fu, Tucker, Levine, "Stabilizing Off-Policy Q-Learning
via Bootstrapping Error Reduction", NeurIPS 2019 (arXiv 1906.00949).

The policy takes what the critics value most among the actions that the data supports: samples of the policy
and of a model of the behaviour (a conditional VAE) may differ by at most epsilon in maximum mean discrepancy,
which from few samples tells more of where the actions lie than of how often each was taken:

    max_pi E_s E_{a ~ pi} [min_j Q_j(s, a)]   such that   E_s [MMD(G(.|s), pi(.|s))] <= epsilon

A Lagrange multiplier holds the constraint. As in the authors' code for D4RL, the MMD compares actions before
the tanh. Theirs cuts the policy's log std to [-5, 2]; here it is bent into that range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..actors import Gaussian, as_gaussian, gaussian
from ..best_of_samples import BestOfSamples, linear, rest_of_layers
from ..critics import best_value, critic_loss, first_critic, q_values
from ..learning import Figures, Learner, Run, TensorBatch
from ..networks import Layer, Mlp, Scalar, on_states
from ..settings import Settings
from ..vae import vae_loss

KERNELS = ("laplacian", "gaussian")
LOG_MULTIPLIER_RANGE = (-5.0, 10.0)
MMD_FLOOR = 1e-6  # under the root, whose slope at 0 is infinite


@dataclass(frozen=True)
class BEARConfig(Settings):
    """Hyper-parameters; the defaults are the authors' for D4RL's Hopper and Walker2d."""

    discount: float = 0.99  # gamma
    tau: float = 0.005  # step of the target critics towards the online ones
    batch_size: int = 256
    learning_rate: float = 3e-4  # of Adam, for critics and VAE
    policy_learning_rate: float = 1e-4
    multiplier_learning_rate: float = 1e-3
    warm_up: int = 40_000  # first so many updates, the policy follows the MMD alone
    critics: int = 2  # K
    candidates: int = 10  # actions of the policy for each next state in the target
    soft_minimum: float = 0.75  # lambda: weight of the smallest critic in the target, against the largest
    kernel: str = "laplacian"  # or "gaussian", the authors' for HalfCheetah
    kernel_width: float = 20.0  # sigma
    mmd_samples: int = 4  # n: actions of the VAE and of the policy that the MMD compares
    mmd_threshold: float = 0.05  # epsilon
    kl_weight: float = 0.5  # of the VAE's KL term (mean over batch and latent) beside its squared error
    latent_clip: float = 0.5  # z is drawn from N(0, I) and clipped to +- this
    policy_samples: int = 100  # candidates of the exported policy, baked in as constants
    critic_hidden: tuple[int, ...] = (256, 256)
    policy_hidden: tuple[int, ...] = (256, 256)
    vae_hidden: tuple[int, ...] = (750, 750)

    name = "bear"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(0, "warm_up")
        self.check_at_least(1, "critics", "candidates", "mmd_samples", "policy_samples")
        self.check_positive("kernel_width", "mmd_threshold", "latent_clip")
        self.check_not_negative("kl_weight")
        self.check_choice("kernel", KERNELS)


class Noise(NamedTuple):
    """All randomness of one update, standard normal, the latents' clipped."""

    posterior: Tensor  # (B, L)
    latents: Tensor  # (B * n, L), clipped
    actions: Tensor  # (B, n, A)
    next_actions: Tensor  # (B, candidates, A)


# ---------------------------------------------------------------- samples and their discrepancy


def before_tanh(policy: Gaussian, noise: Tensor) -> Tensor:
    """K samples of the policy in each state, before the tanh: (B, K, A) for noise (B, K, A) or (K, A)."""
    return policy.mean.unsqueeze(1) + policy.log_std.exp().unsqueeze(1) * noise


def mmd(one: Tensor, other: Tensor, kernel: str, width: float) -> Tensor:
    """The maximum mean discrepancy (B,) of samples (B, n, A) and (B, m, A) of two distributions."""

    def mean_of_kernel(x: Tensor, y: Tensor) -> Tensor:
        difference = x.unsqueeze(2) - y.unsqueeze(1)
        # k(x, y) = exp(-|x - y|_1 / (2 sigma)), or of the squared Euclidean distance
        distance = difference.abs() if kernel == "laplacian" else difference.square()
        return torch.exp(distance.sum(-1) / (-2.0 * width)).mean((1, 2))

    # MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)
    square = mean_of_kernel(one, one) + mean_of_kernel(other, other) - 2.0 * mean_of_kernel(one, other)
    return (square + MMD_FLOOR).sqrt()


# ---------------------------------------------------------------- losses


@torch.no_grad()
def critic_target(
    actor: Sequence[Layer],
    critic: Sequence[Layer],
    batch: TensorBatch,
    next_noise: Tensor,
    config: BEARConfig,
) -> Tensor:
    """The regression target y (B,) of all critics; `critic` are the target networks."""
    actions = torch.tanh(before_tanh(gaussian(actor, batch.next_states), next_noise))
    best = best_value(critic, batch.next_states, actions.flatten(0, 1), config.soft_minimum)
    # y = r + gamma (1 - terminal) max_i [lambda min_j Q'_j(s', a_i) + (1 - lambda) max_j ...],  a_i ~ pi
    return batch.rewards + config.discount * (1.0 - batch.terminals) * best


def policy_loss(
    actor: Sequence[Layer],
    critic: Sequence[Layer],
    decoder: Sequence[Layer],
    log_multiplier: Tensor,
    batch: TensorBatch,
    noise: Noise,
    config: BEARConfig,
    with_q: bool,
) -> tuple[Tensor, Figures]:
    """The Lagrangian that the policy descends; without `with_q` the constraint's term alone."""
    samples = before_tanh(gaussian(actor, batch.states), noise.actions)
    with torch.no_grad():
        behaviour = on_states(decoder, batch.states, noise.latents).view(samples.shape)
    discrepancy = mmd(behaviour, samples, config.kernel, config.kernel_width).mean()
    # mean [exp(log alpha) (MMD - epsilon) - min_j Q_j(s, a)]
    loss = log_multiplier.exp() * (discrepancy - config.mmd_threshold)
    figures = {"mmd": discrepancy.detach()}
    if with_q:
        q = q_values(critic, batch.states, torch.tanh(samples[:, 0])).amin(0).mean()
        loss = loss - q
        figures["q_policy"] = q.detach()
    return loss, figures


def multiplier_loss(log_multiplier: Tensor, mmd: Tensor, threshold: float) -> tuple[Tensor, Figures]:
    """Minus the Lagrangian: the multiplier grows while the constraint is broken."""
    multiplier = log_multiplier.exp()
    return -multiplier * (mmd - threshold), {"multiplier": multiplier.detach()}


# ---------------------------------------------------------------- the learner


class BEAR(Learner):
    """Q-learning within the support of the data."""

    NAME = "bear"
    Config = BEARConfig
    config: BEARConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        config, states, draw = self.config, self.state_size, self.generators
        self.warm_up = config.warm_up
        self.latent_size = 2 * action_size
        self.encoder = Mlp((states + action_size, *config.vae_hidden, 2 * self.latent_size), draw)
        self.decoder = Mlp((states + self.latent_size, *config.vae_hidden, action_size), draw)
        self.critic = Mlp((states + action_size, *config.critic_hidden, 1), draw, copies=config.critics)
        self.critic_target = self.critic.target_copy()
        self.actor = Mlp((states, *config.policy_hidden, 2 * action_size), draw)
        self.log_multiplier = Scalar(0.0, draw)
        self._vae_optimiser = self.adam([self.encoder, self.decoder])
        self._critic_optimiser = self.adam([self.critic])
        self._actor_optimiser = self.adam([self.actor], "policy_learning_rate")
        self._multiplier_optimiser = self.adam([self.log_multiplier], "multiplier_learning_rate")
        self.networks = {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "critic": self.critic,
            "critic_target": self.critic_target,
            "actor": self.actor,
            "log_multiplier": self.log_multiplier,
        }
        self.optimisers = (
            self._vae_optimiser,
            self._critic_optimiser,
            self._actor_optimiser,
            self._multiplier_optimiser,
        )

    def draw_noise(self, rows: int) -> Noise:
        """Fresh noise for one update on `rows` transitions."""
        config, clip = self.config, self.config.latent_clip
        return Noise(
            self.normal(rows, self.latent_size),
            self.normal(rows * config.mmd_samples, self.latent_size).clamp_(-clip, clip),
            self.normal(rows, config.mmd_samples, self.action_size),
            self.normal(rows, config.candidates, self.action_size),
        )

    def update(self, batch: TensorBatch, noise: Noise | None = None) -> Figures:
        """One step of every network on a batch of B rows (Algorithm 1 of the paper).

        Returns:
            vae_error, vae_kl, critic_loss, q_data, q_target, mmd, multiplier; after the warm-up q_policy.
        """
        config = self.config
        noise = noise or self.draw_noise(batch.rewards.shape[-1])

        loss = partial(vae_loss, kl_weight=config.kl_weight)
        encoder, decoder = self.encoder.layers, self.decoder.layers
        figures = self.descend(self._vae_optimiser, loss, encoder, decoder, batch, noise.posterior)

        target = self.over_runs(
            partial(critic_target, config=config),
            self.actor.frozen(),
            self.critic_target.frozen(),
            batch,
            noise.next_actions,
        )
        figures |= self.descend(self._critic_optimiser, critic_loss, self.critic.layers, batch, target)

        figures |= self.descend(
            self._actor_optimiser,
            partial(policy_loss, config=config, with_q=not self.warming_up),
            self.actor.layers,
            self.critic.frozen(),
            self.decoder.frozen(),
            self.log_multiplier.value.detach(),
            batch,
            noise,
        )
        loss = partial(multiplier_loss, threshold=config.mmd_threshold)
        figures |= self.descend(self._multiplier_optimiser, loss, self.log_multiplier.value, figures["mmd"])
        with torch.no_grad():
            self.log_multiplier.value.clamp_(*LOG_MULTIPLIER_RANGE)

        self.critic_target.follow(self.critic, config.tau)
        self.steps += 1
        return figures

    def policy(self, run: int = 0) -> BEARPolicy:
        """The deterministic policy of the weights as they are now."""
        generator = torch.Generator().manual_seed(self.runs[run].seed)  # the same noise whenever asked
        noise = torch.randn(self.config.policy_samples, self.action_size, generator=generator)
        critic = first_critic(self.critic.of_run(run))
        return BEARPolicy(self.runs[run], self.actor.of_run(run), critic, noise)


# ---------------------------------------------------------------- the policy as it is exported


class BEARPolicy(BestOfSamples):
    """The best of the policy's samples a_i = tanh(mean + std epsilon_i), of constant noise epsilon_i."""

    noise: Tensor

    def __init__(self, run: Run, actor: Sequence[Layer], critic: Sequence[Layer], noise: Tensor) -> None:
        super().__init__(run, critic, len(noise))
        self.actor = nn.Sequential(linear(actor[0]), rest_of_layers(actor[1:]))
        self.register_buffer("noise", noise.clone())

    def actions(self, state: Tensor) -> Tensor:
        """a_i, (B * K, A)."""
        return torch.tanh(before_tanh(as_gaussian(self.actor(state)), self.noise)).flatten(0, 1)
