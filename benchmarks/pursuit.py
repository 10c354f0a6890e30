"""Steps per second of the pursuit, beside simple tag of mpe2 and of VMAS: the same bodies.

python benchmarks/pursuit.py           14 and 1,000 episodes, on one core: some two minutes

A step is one simulation step of one episode: 3 pursuers, 1 evader, 8 obstacles. mpe2 steps one
episode after another; so of 1,000 only 14 are stepped. Both others are left out where missing.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from speed import interleaved

from peerlearn.environments.pursuit import Pursuit

EPISODES = (14, 1000)
STEPS = 50
ONE_BY_ONE = 14  # episodes of mpe2, at most
BUDGET_S = 30.0  # for each number of episodes
BOUND = 20  # times mpe2, at 14 episodes


def main() -> None:
    torch.set_num_threads(1)
    makers = {"peerlearn": ours}
    try:
        from mpe2 import simple_tag_v3  # noqa: F401

        makers["mpe2"] = mpe2s
    except ImportError as error:
        print(f"mpe2 is not measured ({error}): pip install mpe2 pettingzoo")
    try:
        import vmas  # noqa: F401

        makers["VMAS"] = vmass
    except ImportError as error:
        print(f"VMAS is not measured ({error}): pip install vmas")
    for episodes in EPISODES:
        blocks, steps = {}, {}
        for name, make in makers.items():
            stepped = min(episodes, ONE_BY_ONE) if name == "mpe2" else episodes
            blocks[name], steps[name] = make(stepped), STEPS * stepped
        times = interleaved(blocks, BUDGET_S)
        print(f"\n{episodes:,} episodes, medians of {len(times['peerlearn'])} repetitions")
        for name, took in times.items():
            rates = [steps[name] / t for t in took]
            mine = [steps["peerlearn"] / t for t in times["peerlearn"]]
            ratio = median(a / b for a, b in zip(mine, rates, strict=True))
            print(
                f"{name:10} {median(rates):12,.0f} steps per second; peerlearn {ratio:,.1f} times"
            )
            if name == "mpe2" and episodes == min(EPISODES):
                print(f"{'':10} bound {BOUND} times: {'met' if ratio >= BOUND else 'NOT MET'}")


def ours(episodes: int) -> Callable[[], None]:
    """An episode's steps, and the reset before them, as each of the following does."""
    world, draw = Pursuit(steps=STEPS), np.random.default_rng(0)
    actions = draw.random((STEPS, world.agents, episodes, world.actions))

    def play() -> None:
        world.reset(episodes, draw)
        for given in actions:
            world.step(given)

    return play


def mpe2s(episodes: int) -> Callable[[], None]:
    from mpe2 import simple_tag_v3

    worlds = [
        simple_tag_v3.parallel_env(num_obstacles=8, max_cycles=STEPS, continuous_actions=True)
        for _ in range(episodes)
    ]
    names = worlds[0].possible_agents
    drawn = np.random.default_rng(0).random((STEPS, episodes, len(names), 5), np.float32)
    actions = [[dict(zip(names, each, strict=True)) for each in step] for step in drawn]

    def play() -> None:
        for seed, world in enumerate(worlds):
            world.reset(seed=seed)
        for given in actions:
            for world, each in zip(worlds, given, strict=True):
                world.step(each)

    return play


def vmass(episodes: int) -> Callable[[], None]:
    import vmas

    world = vmas.make_env(
        "simple_tag",
        num_envs=episodes,
        device="cpu",
        continuous_actions=True,
        seed=0,
        num_adversaries=3,
        num_good_agents=1,
        num_landmarks=8,
    )
    drawn = torch.rand(STEPS, world.n_agents, episodes, 2, generator=torch.manual_seed(0))
    actions = [list(step) for step in 2 * drawn - 1]

    def play() -> None:
        world.reset()
        for given in actions:
            world.step(given)

    return play


if __name__ == "__main__":
    main()
