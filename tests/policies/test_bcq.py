"""The fast update is the textbook's, the policy is the plain one, and the learner learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_checks import check_resumes_with_the_same_bits, copy_critics, copy_into, linears
from small_runs import run_of, union_batch
from training_data import small_config, write_crossing

from dara_ros.bench.textbook.bcq import TextbookBCQ
from dara_ros.bench.train import random_batch
from dara_ros.errors import UserError
from dara_ros.policies.algorithms.bcq import BCQ, BCQConfig, perturb
from dara_ros.policies.critics import first_critic, q_values
from dara_ros.policies.dataset import DataSet
from dara_ros.policies.learning import Run, TensorBatch
from dara_ros.policies.networks import frozen_dtype_of_this_machine
from dara_ros.policies.sampling import UnionSampler
from dara_ros.policies.vae import decode

SMALL = BCQConfig(
    critic_hidden=(48, 32),
    perturbation_hidden=(40, 24),
    vae_hidden=(64, 56),
    batch_size=20,
    latent_samples=16,
    precision="float32",
)
STATES, ACTIONS = 7, 3


def learner(config: BCQConfig = SMALL, states: int = STATES, actions: int = ACTIONS, seed: int = 3) -> BCQ:
    return BCQ(actions, [run_of(config, states, seed)])


def textbook_twin(ours: BCQ) -> TextbookBCQ:
    """The plain implementation with the same weights."""
    plain = TextbookBCQ(STATES, ACTIONS, ours.config)
    copy_into(plain.vae.encoder, ours.encoder)
    copy_into(plain.vae.decoder, ours.decoder)
    copy_critics(plain, ours)
    copy_into(plain.perturbation.net, ours.perturbation)
    copy_into(plain.perturbation_target.net, ours.perturbation_target)
    return plain


def test_learning_curve_equals_the_textbook() -> None:
    ours = learner()
    plain = textbook_twin(ours)
    for step in range(40):
        batch = random_batch(20, STATES, ACTIONS, seed=step)
        noise = ours.draw_noise(20)
        mine, theirs = ours.update(batch, noise), plain.update(batch, noise)
        for name, value in theirs.items():
            assert float(mine[name]) == pytest.approx(float(value), rel=2e-3, abs=1e-5), (step, name)
    weight = ours.critic_target.layers[1][0][1].T
    torch.testing.assert_close(weight, linears(plain.critic_target.q2_net)[1].weight.data, rtol=0, atol=2e-4)
    weight = ours.perturbation.layers[0][0].detach().T
    torch.testing.assert_close(weight, linears(plain.perturbation.net)[0].weight.data, rtol=0, atol=2e-3)


def test_low_precision_target_is_the_same_to_its_precision() -> None:
    if frozen_dtype_of_this_machine() == torch.float32:
        pytest.skip("this processor has no bfloat16 tiles")
    ours = learner()
    batch, noise = random_batch(20, STATES, ACTIONS), ours.draw_noise(20)
    states = batch.next_states
    values = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.no_grad():
            actions = decode(ours.decoder.frozen(dtype), states, noise.next_latents)
            moved = perturb(ours.perturbation.frozen(dtype), states, actions, 0.05)
            values.append(q_values(ours.critic.frozen(dtype, exact_output=True), states, moved))
    assert values[0].shape == (2, 200) and values[1].dtype == torch.float32
    assert 0 < (values[0] - values[1]).abs().max() < 0.02


def test_policy_is_the_plain_evaluation() -> None:
    ours = BCQ(ACTIONS, [Run(np.full(STATES, 0.5), np.full(STATES, 2.0), SMALL, seed=1)])
    policy = ours.policy()
    observations = torch.randn(5, STATES, generator=torch.Generator().manual_seed(0))
    latents = torch.randn(16, 2 * ACTIONS, generator=torch.Generator().manual_seed(1)).clamp(-0.5, 0.5)
    latents[0] = 0.0
    with torch.no_grad():
        for observation, action in zip(observations, policy(observations), strict=True):
            state = ((observation - 0.5) / 2.0).expand(16, -1)
            plain = decode(ours.decoder.frozen(), state, latents)
            plain = perturb(ours.perturbation.frozen(), state, plain, SMALL.max_perturbation)
            q = q_values(first_critic(ours.critic.frozen()), state, plain)
            torch.testing.assert_close(action, plain[q.argmax()], rtol=0, atol=1e-5)
    assert torch.equal(ours.policy()(observations), policy(observations))


def test_state_dict_goes_on_with_the_same_bits(tmp_path) -> None:
    straight, stopped = learner(), learner()
    batches = [random_batch(20, STATES, ACTIONS, seed) for seed in range(8)]
    for batch in batches[:4]:
        straight.update(batch)
        stopped.update(batch)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed = learner(seed=99)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for batch in batches[4:]:
        straight.update(batch)
        resumed.update(batch)
    for mine, theirs in zip(
        straight.state_dict()["networks"].values(), resumed.state_dict()["networks"].values(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_state_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match="another size"):
        learner().load_state_dict(learner(states=STATES + 1).state_dict())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("candidates", 0), ("discount", 1.5), ("vae_hidden", ()), ("learning_rate", 0.0), ("precision", "half")],
)
def test_senseless_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(UserError, match=setting):
        BCQConfig(**{setting: value})


def test_a_timeout_bootstraps_and_a_terminal_does_not() -> None:
    """With reward 1 in one state for ever, Q -> 1 / (1 - gamma) unless the step is terminal."""
    config = BCQConfig(
        critic_hidden=(16, 16),
        perturbation_hidden=(8, 8),
        vae_hidden=(16, 16),
        discount=0.8,
        tau=0.05,
        learning_rate=3e-3,
        precision="float32",
    )
    values = {}
    for terminal in (0.0, 1.0):
        agent = learner(config, states=1, actions=1)
        rng = torch.Generator().manual_seed(0)
        for _ in range(400):
            actions = torch.rand(32, 1, generator=rng) * 2 - 1
            state = torch.zeros(32, 1)
            figures = agent.update(
                TensorBatch(
                    state,
                    actions,
                    torch.ones(32),
                    state,
                    torch.full((32,), terminal),
                    torch.zeros(32),
                    torch.arange(32),
                )  # fmt: skip
            )
        values[terminal] = float(figures["q_data"])
    assert values[1.0] == pytest.approx(1.0, abs=0.1)
    assert values[0.0] == pytest.approx(5.0, rel=0.1)


def test_bcq_beats_behaviour_cloning() -> None:
    """A walk on a line to 0: the behaviour goes the wrong way as often as the right one."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(-1, 1, (4000, 1)).astype(np.float32)
    actions = rng.uniform(-1, 1, (4000, 1)).astype(np.float32)
    following = np.clip(positions + 0.3 * actions, -1, 1).astype(np.float32)
    rewards = -np.abs(following[:, 0])
    config = BCQConfig(
        critic_hidden=(32, 32),
        perturbation_hidden=(16, 16),
        vae_hidden=(32, 32),
        discount=0.5,
        tau=0.02,
        batch_size=64,
        kl_weight=0.05,
    )
    agent = learner(config, states=1, actions=1)
    for _ in range(500):
        rows = rng.integers(4000, size=64)
        agent.update(agent.batch(union_batch(positions[rows], actions[rows], rewards[rows], following[rows])))
    starts = torch.linspace(-0.9, 0.9, 19)[:, None]
    with torch.no_grad():
        chosen = agent.policy()(starts)
    cost = (starts + 0.3 * chosen).clamp(-1, 1).abs().mean()
    cloned = starts.abs().mean()  # the mean action of the data is 0: cloning stands still
    assert cost < 0.85 * cloned


# -- G first and alone ---------------------------------------------------------------------------------------

FIRST = replace(SMALL, vae_steps=15, max_perturbation=0.0, candidates=4)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return (
        write_crossing(folder / "source.h5", "source", 600, seed=0),
        write_crossing(folder / "target.h5", "target", 200, seed=1),
    )


def test_g_learns_first_and_is_then_as_it_is() -> None:
    agent = learner(FIRST)
    before = agent.state_dict()["networks"]
    for step in range(15):
        assert set(agent.update(random_batch(20, STATES, ACTIONS, seed=step))) == {"vae_error", "vae_kl"}
    between = agent.state_dict()["networks"]
    assert torch.equal(before["critic"], between["critic"])
    assert not torch.equal(before["decoder"], between["decoder"])
    for step in range(5):
        figures = agent.update(random_batch(20, STATES, ACTIONS, seed=step))
        assert {"critic_loss", "q_data"} <= set(figures) and "vae_error" not in figures
    after = agent.state_dict()["networks"]
    assert torch.equal(between["decoder"], after["decoder"])
    assert not torch.equal(between["critic_target"], after["critic_target"])


def test_a_new_phase_keeps_the_weights_and_nothing_else() -> None:
    agent = learner(FIRST)
    for step in range(17):
        agent.update(random_batch(20, STATES, ACTIONS, seed=step))
    before = agent.state_dict()
    agent.begin_phase()
    after = agent.state_dict()
    assert all(before["optimisers"][:2]) and not any(after["optimisers"])
    assert all(torch.equal(weights, after["networks"][name]) for name, weights in before["networks"].items())
    assert agent.warming_up and agent.steps == 17


def test_the_tables_hold_what_g_offers(files: tuple[Path, Path]) -> None:
    with DataSet(files[0]) as source, DataSet(files[1]) as target:
        union = UnionSampler(source, target, None, 0.0, None, 20, 0)
        mean, std = np.array([0.2, -0.1]), np.array([1.5, 0.7])
        agent = BCQ(1, [Run(mean, std, FIRST, seed=4)])
        for _ in range(15):
            agent.look([union])
            agent.update(agent.batch(next(union.batches())))
        agent.look([union])
        batch = agent.batch(next(union.batches(3)))
        found = agent._next_actions(agent.decoder.frozen(), batch, agent.draw_noise(20))
        latents = torch.randn(4, 2, generator=torch.Generator().manual_seed(4)).clamp(-0.5, 0.5)
        latents[0] = 0.0
        with torch.no_grad():
            plain = decode(agent.decoder.frozen(), batch.next_states, latents.repeat(20, 1))
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-6)


def test_critics_begin_at_the_mean_reward_for_ever() -> None:
    agent = BCQ(ACTIONS, [replace(run_of(FIRST, STATES, seed), mean_reward=0.5 + seed) for seed in range(2)])
    batch = random_batch(20, STATES, ACTIONS)
    for run in range(2):
        q = q_values(agent.critic_target.of_run(run), batch.states, batch.actions)
        assert float(q.mean()) == pytest.approx((0.5 + run) / 0.01, abs=1.0)


def test_it_trains_with_g_first_and_resumes_with_the_same_bits(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    config = small_config(*files, tmp_path / "run", settings=FIRST, eta=0.0, decay=0.2, reward_scale=0.1)
    check_resumes_with_the_same_bits(replace(config, tune=10, steps=20), 7, 20, 33)
