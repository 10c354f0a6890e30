"""Proximal policy optimization: its pieces against numbers by hand, and teams that learn by it."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import METHODS, needs_quadratic, same_history

import peerlearn as pl
from peerlearn.engines import ENGINES
from peerlearn.environments import Environment, Step
from peerlearn.errors import ConfigurationError
from peerlearn.learner import Learner
from peerlearn.learners.experience import (
    generalized_advantages,
    play,
    rewards_to_go,
    standardized,
)
from peerlearn.learners.policies import Policy
from peerlearn.learners.ppo import clipped
from peerlearn.tasks import PPOTask, pettingzoo, pursuit

SMALL = {"steps": 6, "episodes": 4, "hidden": [8, 8], "obstacles": 2}


class Corridor(Environment):
    """Agent a stays for ``stays[a]`` steps; it is paid for each the first number of its action."""

    actions, observation_size, turns = 2, 3, 2

    def __init__(self, stays=(4, 2), discrete=False, ended="truncated"):
        self.agents, self.steps, self.discrete = len(stays), max(stays), discrete
        self.stays, self.ended = np.array(stays), ended

    def reset(self, episodes, generator):
        self.time = 0
        self.seen = generator.normal(size=(self.agents, episodes, 3))
        return self.seen.copy()

    def step(self, actions):
        here = (self.time < self.stays)[:, None] & np.ones(self.seen.shape[:2], bool)
        paid = actions if self.discrete else actions[..., 0]
        self.time += 1
        acting = (self.time < self.stays)[:, None] & here
        self.seen = np.where(here[..., None], 0.5 * self.seen + paid[..., None], 0)
        truncated = here & ~acting & (self.ended == "truncated")
        return Step(self.seen.copy(), np.where(here, paid, 0.0), acting, truncated)


def corridor(stays=(4, 2), discrete=False, ended="truncated", **options):
    world = partial(Corridor, stays, discrete, ended)
    return PPOTask(world=world, **{"episodes": 3, "hidden": (5,), **options})


def learner_of(task, seed=0, **options):
    found = task.learner(seed, torch.device("cpu"), torch.float64, **options)
    found.begin_round(found.initial(), -1)
    return found


def spread(learner, seed=0, by=0.3):
    """Rows that differ from agent to agent."""
    noise = torch.randn(
        learner.initial().shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return learner.initial() + by * noise


# --- the pieces, by hand ----------------------------------------------------------------------


def test_rewards_to_go():
    rewards = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 8.0]])
    expected = [[1 + 0.5 * (2 + 0.5 * 4), 0.25 * 8], [2 + 0.5 * 4, 4.0], [4.0, 8.0]]
    given = rewards.clone()
    assert rewards_to_go(rewards, 0.5).tolist() == expected
    assert torch.equal(rewards, given), "which are also counted as they were paid"


def test_generalized_advantages_by_hand():
    one = partial(torch.tensor, dtype=torch.float64)
    rewards, values = one([1.0, 2.0, 3.0]), one([0.5, 1.0, 1.5, 2.0])
    known, goes_on = one([1.0, 1.0, 1.0]), one([1.0, 1.0, 0.0])
    deltas = [1 + 0.9 * 1.0 - 0.5, 2 + 0.9 * 1.5 - 1.0, 3 + 0.9 * 2.0 - 1.5]
    decay = 0.9 * 0.8
    expected = [deltas[0] + decay * (deltas[1] + decay * deltas[2]), deltas[1] + decay * deltas[2]]
    found = generalized_advantages(rewards, values, known, goes_on, 0.9, 0.8)
    assert found.tolist() == pytest.approx([*expected, deltas[2]])
    terminal = generalized_advantages(rewards, values, one([1.0, 1.0, 0.0]), goes_on, 0.9, 0.8)
    assert float(terminal[2]) == pytest.approx(3 - 1.5)  # nothing is left after the end


def test_advantages_of_a_truncated_episode_are_those_of_its_steps_alone():
    draw = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(7, generator=draw), torch.randn(8, generator=draw)
    steps = torch.arange(7)
    valued, goes_on = (steps < 3).float(), (steps < 2).float()
    whole = generalized_advantages(rewards, values, valued, goes_on, 0.9, 0.8)
    alone = generalized_advantages(rewards[:3], values[:4], valued[:3], goes_on[:3], 0.9, 0.8)
    assert torch.equal(whole[:3], alone)


def test_with_lambda_one_and_values_of_zero_advantages_are_rewards_to_go():
    rewards = torch.rand(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ones, zeros = torch.ones_like(rewards), torch.zeros(8, 3, dtype=torch.float64)
    found = generalized_advantages(rewards, zeros, ones, ones, 0.95, 1.0)
    torch.testing.assert_close(found, rewards_to_go(rewards, 0.95))


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, 1.2), (1.5, -1.0, -1.5), (0.5, 1.0, 0.5), (0.5, -1.0, -0.8), (1.1, 2.0, 2.2)],
)
def test_the_clipped_ratio(ratio, advantage, expected):
    old = torch.tensor(-0.7, dtype=torch.float64)
    found = clipped(old + math.log(ratio), old, torch.tensor(advantage), 0.2)
    assert float(found) == pytest.approx(expected)


def test_standardized_looks_at_what_counts():
    values = torch.tensor([[10.0, 20.0, 30.0, 100.0]], dtype=torch.float64)
    weights = torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    assert standardized(values, weights)[0].tolist() == pytest.approx([-1, 0, 1, 0])


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
def test_where_all_that_counts_is_alike_standardized_is_zero(weights):
    values = torch.full((1, 3), 7.0)
    assert standardized(values, torch.tensor([weights])).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("discrete", [False, True])
def test_what_an_actors_numbers_mean(discrete):
    policy = Policy(3, 4, hidden=(5,), discrete=discrete, variance=0.3)
    numbers = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    if discrete:
        reference = torch.distributions.Categorical(logits=numbers)
    else:
        one = torch.distributions.Normal(numbers, math.sqrt(0.3))
        reference = torch.distributions.Independent(one, 1)
    torch.manual_seed(2)
    actions = reference.sample()
    torch.testing.assert_close(policy.log_prob(numbers, actions), reference.log_prob(actions))
    torch.testing.assert_close(policy.entropy(numbers), reference.entropy())


def test_a_network_gives_the_actors_numbers_and_last_the_value():
    policy, seen = Policy(3, 4, hidden=(5, 6)), torch.randn(7, 3)
    alone = {name: p[None] for name, p in policy.named_parameters()}
    numbers, value = policy(seen).tensor_split([4], dim=-1)
    torch.testing.assert_close(numbers, policy.team_actor(alone)(seen[None])[0])
    torch.testing.assert_close(value[:, 0], policy.team_critic(alone)(seen[None])[0])
    np.testing.assert_allclose(policy.act(seen), numbers.detach(), rtol=1e-5)


@pytest.mark.parametrize("discrete", [False, True])
def test_actions_follow_their_distribution(discrete):
    policy = Policy(3, 3, hidden=(5,), discrete=discrete, variance=0.3)
    numbers = torch.tensor([[0.3, -1.0, 1.2]]).expand(20_000, 3)
    drawn = policy.chosen(numbers, policy.noise(np.random.default_rng(0), (20_000, 3)))
    if discrete:
        shares = torch.bincount(drawn, minlength=3) / len(drawn)
        torch.testing.assert_close(shares, numbers[0].softmax(0), atol=0.02, rtol=0)
    else:
        torch.testing.assert_close(drawn.mean(0).float(), numbers[0], atol=0.02, rtol=0)
        torch.testing.assert_close(drawn.var(0).float(), torch.full((3,), 0.3), atol=0.02, rtol=0)


# --- the gradient -----------------------------------------------------------------------------


def test_rows_in_another_order_have_their_own_gradients():
    learner = learner_of(pursuit(**SMALL))
    theta, order = spread(learner), [2, 0, 1]
    torch.testing.assert_close(
        learner.gradient(theta[order], order), learner.gradient(theta)[order]
    )


def test_minibatches_are_of_what_was_acted():
    """Of an agent that leaves early none are empty, and the pool's are as large as all together."""
    task = corridor((50, 2), batch_size=4)
    team, centre = learner_of(task), learner_of(task.pooled())
    for _ in range(20):
        gradient = team.gradient(team.initial())
        assert (gradient.norm(dim=1) > 1e-3).all()
    assert team.epoch_steps.tolist() == centre.epoch_steps.tolist() * 2
    assert centre._minibatches.batch_sizes.tolist() == [8]
    index = torch.arange(12)[None].expand(2, -1)
    seen = team._batch.minibatch(index).observations[1]
    assert (team._batch.minibatch(index).weights == 1).all()
    torch.testing.assert_close(seen[:6], seen[6:])  # six steps were acted
    assert (seen.abs().sum(dim=1) > 0).all()


def by_hand(policy, row, batch, agent, task):
    """One agent's gradient, with one module and torch's own distributions."""
    torch.nn.utils.vector_to_parameters(row, policy.parameters())
    numbers = policy.actor(batch.observations[agent])
    if policy.discrete:
        chosen = torch.distributions.Categorical(logits=numbers)
    else:
        one = torch.distributions.Normal(numbers, math.sqrt(policy.variance))
        chosen = torch.distributions.Independent(one, 1)
    ratio = (chosen.log_prob(batch.actions[agent]) - batch.log_probs[agent]).exp()
    gain, there = batch.advantages[agent], batch.weights[agent] > 0
    surrogate = torch.min(ratio * gain, ratio.clip(1 - task.clip, 1 + task.clip) * gain)
    errors = (policy.critic(batch.observations[agent])[:, 0] - batch.returns[agent]) ** 2
    loss = -surrogate + errors - task.entropy * chosen.entropy()
    loss[there].mean().backward()
    found = torch.cat([p.grad.reshape(-1) for p in policy.parameters()])
    policy.zero_grad()
    return found


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("stays", [(4, 4), (4, 2)])
def test_gradients_are_those_of_each_agent_alone(discrete, stays):
    task = corridor(stays, discrete, entropy=0.1 if discrete else 0.0, gae=0.9)
    learner = learner_of(task)
    theta = spread(learner)
    found, policy = learner.gradient(theta), task.policy(0).double()
    for agent in range(2):
        torch.testing.assert_close(
            found[agent], by_hand(policy, theta[agent], learner._batch, agent, task)
        )
    some = learner.gradient(theta[1:], [1])
    torch.testing.assert_close(some[0], found[1])
    assert learner.gradient_evaluations().tolist() == [1, 2]


def test_the_first_ratio_is_one():
    learner = learner_of(pursuit(**SMALL))
    loss = learner.loss(learner.initial(), learner._batch)
    values = learner._policy.team_critic(learner.layout.views(learner.initial()))
    batch = learner._batch
    errors = (values(batch.observations) - batch.returns).square().mean(dim=1)
    torch.testing.assert_close(loss, errors - batch.advantages.mean(dim=1))


def test_the_pool_is_everybodys_experience():
    task = pursuit(**SMALL)
    centre, team = learner_of(task.pooled()), learner_of(task)
    theta = spread(centre)
    assert centre._batch.observations.shape == (1, 3 * 4 * 6, 12)
    torch.testing.assert_close(
        centre._batch.observations[0], team._batch.observations.flatten(0, 1)
    )
    assert float(centre._batch.advantages.mean()) == pytest.approx(0, abs=1e-12)
    turns = learner_of(task.pooled(in_turn=True))
    each = torch.cat([turns.gradient(theta) for _ in range(3)])
    torch.testing.assert_close(each, team.gradient(theta.expand(3, -1)))
    assert turns.turns == 3


def test_agents_that_leave_early_learn_from_what_they_did():
    learner = learner_of(corridor((4, 2)))
    batch = learner._batch
    assert batch.weights.tolist() == [[1.0] * 12, [2.0] * 6 + [0.0] * 6]
    steps = learner.evaluate(learner.initial())["environment_steps"]
    assert steps.tolist() == [4 * 3] * 2  # as long as anybody was there
    assert float((batch.weights * batch.advantages)[1].sum()) == pytest.approx(0, abs=1e-12)


def test_episodes_end_when_nobody_is_left_to_act():
    """With time to spare; whoever watches is called at the start and after each step."""
    world, seen = Corridor((3, 2)), []
    world.steps = 9
    zeros = np.zeros((2, 4, 2))
    found = play(world, lambda *_: zeros, 4, np.random.default_rng(0), lambda: seen.append(1))
    assert (world.time, len(seen), found.steps) == (3, 4, 3 * 4)
    assert found.acted.sum(axis=(0, 2)).tolist() == [3 * 4, 2 * 4]
    assert found.observations.shape == (10, 2, 4, 3)


def test_time_that_is_up_is_no_end():
    """What comes after a truncated step has a value, what comes after a terminated one has none."""
    options = {"stays": (3, 3), "gae": 1.0, "discount": 1.0}
    both = [learner_of(corridor(ended=ended, **options)) for ended in ("truncated", "terminated")]
    last = [x._batch.returns.reshape(2, 3, 3)[:, -1] for x in both]
    assert not torch.allclose(*last)
    paid = both[1]._batch.actions.reshape(2, 3, 3, 2)[:, -1, :, 0]
    torch.testing.assert_close(last[1], paid)


def test_nothing_is_expected_of_steps_after_an_agent_has_left():
    batch = learner_of(corridor((3, 2), ended="terminated", gae=1.0, discount=1.0))._batch
    paid, returns = batch.actions.reshape(2, 3, 3, 2)[..., 0], batch.returns.reshape(2, 3, 3)
    torch.testing.assert_close(returns[1, 1], paid[1, 1])
    torch.testing.assert_close(returns[1, 0], paid[1, :2].sum(dim=0))


# --- one row, two networks --------------------------------------------------------------------


class Part(Learner):
    """Some columns of another learner's rows; the others stay as they were at first."""

    def __init__(self, whole, columns):
        self.whole, self.columns, self.agents = whole, columns, whole.agents

    def initial(self):
        return self.whole.initial()[:, self.columns]

    def gradient(self, theta, agents=None):
        rows = self.whole.initial()
        rows[:, self.columns] = theta
        return self.whole.gradient(rows, agents)[:, self.columns]

    def evaluate(self, theta):
        return {}

    def state(self):
        return {}

    def load(self, state):
        pass


def rounds_of(algorithm, learner, count=4):
    rule = pl.graphs.as_rule("metropolis")
    engine = ENGINES["stacked"](total=3, weights=rule, rounds=count, dtype=torch.float64)
    graph = pl.graphs.complete(3)
    state = algorithm.start(learner.initial(), learner, engine.links(-1, graph))
    for k in range(count):
        state = algorithm.round(state, learner, engine.links(k, graph))
    return state.theta


def test_dinno_on_actor_and_critic_in_one_row_is_dinno_on_each():
    algorithm = pl.DiNNO(rho=1.0, lr=3e-4, local_steps=5)
    task = pursuit(**SMALL)
    whole = learner_of(task)
    names = whole.layout.columns
    border = names["critic.0.weight"].start
    together = rounds_of(algorithm, whole)
    for columns in (slice(0, border), slice(border, None)):
        alone = rounds_of(algorithm, Part(learner_of(task), columns))
        torch.testing.assert_close(together[:, columns], alone, rtol=0, atol=1e-13)
    assert not torch.allclose(together, whole.initial())


def test_actor_and_critic_have_rates_of_their_own():
    start = learner_of(pursuit(**SMALL)).initial()
    runs = {
        name: rounds_of(pl.DSGD(lr=0.01), learner_of(pursuit(**SMALL, rates=rates)), 1) - start
        for name, rates in {"one": {}, "own": {"actor": 1.0, "critic": 0.1}}.items()
    }
    border = learner_of(pursuit(**SMALL)).layout.columns["critic.0.weight"].start
    torch.testing.assert_close(runs["own"][:, :border], runs["one"][:, :border])
    torch.testing.assert_close(runs["own"][:, border:], 0.1 * runs["one"][:, border:])


# --- runs -------------------------------------------------------------------------------------


def train(task, algorithm, rounds=6, **options):
    graph = pl.graphs.complete(task.agents) if algorithm.communicates else None
    settings = {"evaluate_every": 3, "device": "cpu", **options}
    return pl.train(task, algorithm, graph, rounds=rounds, **settings)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if not needs_quadratic(m)])
def test_every_method_trains_policies(name):
    run = train(pursuit(**SMALL), METHODS[name]())
    assert np.isfinite(run.final["team_reward"]).all()
    assert run.final["environment_steps"].tolist() == [6 * 4 * 6] * len(run.agents)
    assert not torch.equal(run.theta, run._learner.initial())


def test_the_same_seed_plays_the_same_episodes():
    runs = [train(pursuit(**SMALL), pl.DiNNO(), seed=s) for s in (0, 0, 1)]
    same_history(runs[0], runs[1])
    assert not np.array_equal(runs[0].final["reward"], runs[2].final["reward"])


def test_every_agent_and_every_collection_draws_anew():
    """Observations at the start are the world's draws; actions less their means the agents'."""
    learner = learner_of(corridor((3, 3)))
    theta, starts, noises = learner.initial(), [], []
    for _ in range(2):
        batch = learner._batch
        numbers = learner._policy.team_actor(learner.layout.views(theta))(batch.observations)
        starts.append(batch.observations[0, :3])
        noises += list(batch.actions - numbers)
        learner.begin_round(theta, 1)
    assert not torch.equal(*starts)
    assert not any(torch.allclose(a, b) for a, b in itertools.combinations(noises, 2))


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("discrete", [False, True])
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, every, batch_size, discrete):
    task = corridor((4, 3), discrete, rounds_per_collection=every, batch_size=batch_size)
    whole = train(task, pl.DSGT(lr=0.01), 8)

    def stop(evaluation):
        return evaluation["round"] == 4

    train(task, pl.DSGT(lr=0.01), 8, out=tmp_path, checkpoint_every=4, evaluate_every=2,
          callback=stop)  # fmt: skip
    resumed = train(task, pl.DSGT(lr=0.01), 8, out=tmp_path, resume=True, checkpoint_every=4,
                    evaluate_every=2)  # fmt: skip
    assert torch.equal(whole.theta, resumed.theta)
    for name, values in whole.final.items():
        np.testing.assert_array_equal(values, resumed.final[name], err_msg=name)


def test_experience_is_collected_every_so_many_rounds():
    runs = {k: train(pursuit(**SMALL, rounds_per_collection=k), pl.DSGD(), 6) for k in (1, 2, 5)}
    steps = {k: run.final["environment_steps"][0] / (4 * 6) for k, run in runs.items()}
    assert steps == {1: 6, 2: 3, 5: 2}


def test_what_centralized_learning_has_sent_is_its_experience():
    run = train(pursuit(**SMALL, rounds_per_collection=2), pl.Centralized(), 6)
    assert run.final["bytes_sent"].tolist() == [3 * 4 * 6 * (12 + 5 + 1) * 4] * 3
    assert run.final["messages_sent"].tolist() == [3] * 3


def test_rewards_are_means_over_the_latest_collections():
    run = train(corridor((3, 3), recent=2), pl.Isolated(), 4, evaluate_every=1)
    assert run.history["team_reward"].shape == (5, 2)
    np.testing.assert_allclose(run.history["reward"].sum(axis=1), run.history["team_reward"][:, 0])
    each = train(corridor((3, 3), recent=1), pl.Isolated(), 4, evaluate_every=1)
    single = each.history["reward"]
    assert not np.array_equal(single[1], single[2])
    np.testing.assert_allclose(run.history["reward"][2:], (single[1:-1] + single[2:]) / 2)


def test_a_corridor_is_learned():
    """What is paid is the action itself, so a policy that has learned acts ever higher."""
    run = train(corridor((4, 4), episodes=20, recent=1), pl.DiNNO(rho=0.1, lr=0.02), 60)
    first, last = run.history["team_reward"][0, 0], run.final["team_reward"][0]
    assert last > first + 4


def test_a_discrete_corridor_is_learned():
    run = train(corridor((4, 4), True, episodes=20, recent=1), pl.DiNNO(rho=0.1, lr=0.02), 40)
    assert 7.5 < run.final["team_reward"][0] <= 8


def test_policies_that_diverge_are_told():
    with pytest.raises(pl.Diverged, match="loss"):
        train(pursuit(**SMALL), pl.DSGD(lr=1e6), 30)


@pytest.mark.parametrize("continuous", [False, True])
def test_any_pettingzoo_environment_is_a_task(continuous):
    pytest.importorskip("mpe2")
    arguments = {"N": 3, "continuous_actions": continuous, "max_cycles": 5}
    task = pettingzoo("simple_spread_v3", arguments, episodes=2, hidden=[8])
    run = train(task, pl.DiNNO(), 3)
    assert len(run.agents) == 3
    assert run.model(0).discrete is not continuous
    assert (run.final["team_reward"] < 0).all()
    assert run.final["environment_steps"].tolist() == [3 * 2 * 5] * 3
    with pytest.raises(ValueError, match=r"agents is 4, but .*simple_spread_v3 has 3"):
        pettingzoo("simple_spread_v3", arguments, agents=4)


# --- policies ---------------------------------------------------------------------------------


def test_policies_are_saved_loaded_and_run_alone(tmp_path):
    run = train(pursuit(**SMALL), pl.DiNNO(), 2)
    policy = run.model(1)
    policy.save(tmp_path / "pursuer.safetensors")
    again = pl.Policy.load(tmp_path / "pursuer.safetensors")
    seen = np.random.default_rng(0).normal(size=(7, 12))
    np.testing.assert_array_equal(policy.act(seen), again.act(seen))
    drawn = [again.act(seen, np.random.default_rng(s)) for s in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert again.settings() == policy.settings()
    with pytest.raises(ValueError, match=r"observation has shape .3,., expected 12"):
        again.act([1, 2, 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("discrete", [False, True])
def test_what_is_loaded_is_what_was_saved_to_the_bit(discrete, dtype, tmp_path):
    policy = Policy(3, 4, hidden=(5, 6), discrete=discrete, variance=0.3).to(dtype)
    policy.save(tmp_path / "new" / "policy.safetensors")
    again = Policy.load(tmp_path / "new" / "policy.safetensors")
    assert again.settings() == policy.settings()
    assert not again.training
    for name, value in policy.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    seen = np.random.default_rng(0).normal(size=(7, 3))
    one, other = (p.act(seen, np.random.default_rng(1)) for p in (policy, again))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_on_disk_gives_its_policies(dtype, tmp_path):
    run = train(pursuit(**SMALL, variance=0.2), pl.DiNNO(), 2, out=tmp_path, dtype=dtype)
    policy = pl.Policy.of_run(tmp_path, 2)
    assert torch.equal(torch.nn.utils.parameters_to_vector(policy.parameters()), run.theta[2])
    assert (policy.variance, policy.training) == (0.2, False)
    with pytest.raises(ValueError, match=r"agent is 3, .*0 to 2"):
        pl.Policy.of_run(tmp_path, 3)


@pytest.mark.parametrize(
    "sizes",
    [{"hidden": (5, 0)}, {"actions": 0}, {"observation_size": 0}, {"variance": 0.0}],
)
def test_policies_that_cannot_be(sizes):
    with pytest.raises(ValueError, match="expected positive numbers"):
        Policy(**{"observation_size": 3, "actions": 2, **sizes})


def test_a_policy_is_as_large_as_published_unless_told_otherwise():
    """Three hidden layers of 64 in actor and critic, and actions of the same variance in a task."""
    of_task, by_itself = pursuit().policy(0), Policy(12, 5)
    assert of_task.settings() == by_itself.settings()
    layers = [13 * 64, 65 * 64, 65 * 64]
    both = 2 * sum(layers) + 65 * 5 + 65
    assert sum(p.numel() for p in by_itself.parameters()) == both


def test_no_policy_is_read_from_another_file(tmp_path):
    (tmp_path / "text").write_text("no policy")
    with pytest.raises(ValueError, match="holds no policy"):
        pl.Policy.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError, match="no policy at"):
        pl.Policy.load(tmp_path / "nothing")


# --- what can be wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"episodes": 0}, "episodes is 0, expected a whole number of at least 1"),
        ({"rounds_per_collection": 0}, "rounds_per_collection is 0"),
        ({"variance": 0.0}, "variance is 0.0, expected a positive finite number"),
        ({"discount": 1.5}, "discount is 1.5, .* at most 1"),
        ({"clip": -1}, "clip is -1"),
        ({"gae": 2}, "gae is 2, expected a number from 0 to 1"),
        ({"entropy": -0.1}, "entropy is -0.1"),
        ({"hidden": [0]}, r"hidden is \[0\], expected a list of whole numbers"),
        ({"hidden": 64}, "hidden is 64, expected a list"),
        ({"hidden": [True]}, "hidden is .True., expected a list"),
        ({"episodes": None}, "episodes is None"),
        ({"entropy": 0.1}, "entropy is 0.1, but actions are vectors of a fixed variance"),
        ({"rates": 3}, "rates is 3, expected a table"),
        ({"rates": {"critic": -1.0}}, "rates gives critic -1.0, expected a number"),
        ({"rates": {"critic": "x"}}, "rates gives critic 'x', expected a number"),
        ({"in_turn": True}, "in_turn is of one network for all"),
        ({"batch_size": 1000}, "batch_size is 1000, but a collection has 24 steps"),
        ({"rates": {"acto": 1.0}}, "rates names 'acto', which is no part of a policy"),
    ],
)
def test_settings_that_cannot_be(options, words):
    with pytest.raises(ConfigurationError, match=words):
        train(pursuit(**{**SMALL, **options}), pl.DiNNO())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"agents": 0}, "agents is 0"),
        ({"reward": "mpe"}, "mpe2"),
        ({"obstacles": [[1, 2], [3]]}, "obstacles"),
        ({"obstacles": [["a", "b"]]}, "obstacles"),
    ],
)
def test_worlds_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        pursuit(**options)
