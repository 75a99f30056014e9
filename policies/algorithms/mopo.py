"""Model-based offline policy optimisation: soft actor-critic in a learnt model that is paid less for doubt.

Yu, Thomas, Yu, Ermon, Zou, Levine, Finn and Ma, "MOPO: Model-based Offline Policy Optimization", NeurIPS
2020, arXiv:2005.13239. With an ensemble of models T_k = N(mu_k, sigma_k^2), the policy learns in the model
with the reward

    r~(s, a) = r^(s, a) - lambda max_k ||sigma_k(s, a)||

What is ours: there is no buffer of rollouts (model_based.py); ends of episodes are learnt, there is no
hold-out, all members are used, each on its own bootstrap, and weight decay alone regularises them, without
the paper's spectral norm (dynamics.py, which also says what DARA's rewards mean to a model, and where the
paper's measure of uncertainty fails). Observations are normalised, and lambda counts in their units. The
policy's log std is bounded smoothly (actors.py), and the target entropy is -A, where the authors' settings
say -3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..learning import Figures, Run, TensorBatch
from ..model_based import ModelBased, ModelBasedConfig, PolicyNoise
from ..networks import Scalar
from ..sac import actor_loss, critic_loss, critic_target, temperature_loss


@dataclass(frozen=True)
class MOPOConfig(ModelBasedConfig):
    """Hyper-parameters; of the authors' lengths and penalties, the commonest pair (5, 1)."""

    name = "mopo"


class MOPO(ModelBased):
    """Model-based offline policy optimisation."""

    NAME = "mopo"
    Config = MOPOConfig
    config: MOPOConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        self.log_temperature = Scalar(0.0, self.generators)
        self.networks["log_temperature"] = self.log_temperature
        self.temperature_optimiser = self.adam([self.log_temperature])
        self.optimisers = (*self.optimisers, self.temperature_optimiser)

    def update(self, batch: TensorBatch, noise: PolicyNoise | None = None) -> Figures:
        """One step of the model, or, after the warm-up, of critics, policy and temperature.

        Returns:
            model_loss, model_error, reward_error, ending_loss; or rollout_reward, uncertainty, rollout_ended,
            critic_loss, q_data, q_policy, entropy, temperature.
        """
        config = self.config
        if self.warming_up:
            figures = self.fit_model(batch)
            self.steps += 1
            return figures

        noise = noise or self.draw_noise(batch.rewards.shape[-1])
        rows, figures = self.imagine(batch, noise)
        temperature = self.log_temperature.value.detach().exp()

        target = self.over_runs(
            partial(critic_target, discount=config.discount),
            self.actor.frozen(),
            self.critic_target.frozen(),
            rows,
            noise.next_actions,
            temperature,
        )
        figures |= self.descend(self.critic_optimiser, critic_loss, self.critic.layers, rows, target)

        figures |= self.descend(
            self.actor_optimiser,
            actor_loss,
            self.actor.layers,
            self.critic.frozen(),
            rows,
            noise.actions,
            temperature,
        )

        figures |= self.descend(
            self.temperature_optimiser,
            partial(temperature_loss, least=-float(self.action_size)),
            self.log_temperature.value,
            figures["entropy"],
        )

        self.critic_target.follow(self.critic, config.tau)
        self.steps += 1
        return figures
