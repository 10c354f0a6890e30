"""Runs in the peers' own environment: one round for each line read, its seconds written back.

``python peer_worker.py NAME AGENTS BATCH THREADS`` prints a JSON line with the name and version
when it is ready. Each answer is {"seconds": ..., "gradients": ...}, where gradients counts the
minibatch gradients of the round.
"""

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable

import networkx as nx
import torch
from torch import nn

PACKAGES = {"decent-bench": "decent-bench", "fluke": "fluke-fl"}


def network() -> nn.Sequential:
    """The MNIST CNN, 28,440 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(432, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def decent_bench(agents: int, batch: int) -> Callable[[], int]:
    """DGD over minibatches on a cycle: what we call DSGD."""
    from decent_array.types import Devices, Frameworks
    from decent_bench.agents import Agent
    from decent_bench.algorithms.p2p import DGD
    from decent_bench.benchmark import configure
    from decent_bench.costs import PyTorchCost
    from decent_bench.networks import P2PNetwork

    configure(Frameworks.PYTORCH, Devices.CPU, seed=0)
    team = []
    for _ in range(agents):
        inputs, targets = torch.randn(4 * batch, 1, 28, 28), torch.randint(10, (4 * batch,))
        data = list(zip(inputs, targets, strict=True))
        cost = PyTorchCost(data, network(), nn.CrossEntropyLoss(), batch_size=batch)
        team.append(Agent(cost, state_snapshot_period=10**9))
    graph = P2PNetwork(nx.cycle_graph(agents), team)
    method = DGD(step_size=0.01)
    method.initialize(graph)
    rounds = iter(range(10**9))

    def one() -> int:
        number = next(rounds)
        graph._step(number)  # as DGD.run does before each step
        method.step(graph, number)
        return agents

    return one


def fluke(agents: int, batch: int) -> Callable[[], int]:
    """Gossip on a cycle: mean with what was heard, one minibatch, to one random neighbor.

    An agent that heard nothing does not train in that round, so gradients are counted.
    """
    from fluke import DDict
    from fluke.algorithms.decentralized import GossipDFL, Topology
    from fluke.algorithms.decentralized.client import GossipClient
    from fluke.config import OptimizerConfigurator
    from fluke.data import FastDataLoader

    fits = [0]

    class Counted(GossipClient):
        def fit(self, *args, **options):
            fits[0] += 1
            return super().fit(*args, **options)

    graph = Topology(nx.cycle_graph(agents))
    optimizer = OptimizerConfigurator(DDict(name="SGD", lr=0.01))
    team = []
    for i in range(agents):
        tensors = torch.randn(batch, 1, 28, 28), torch.randint(10, (batch,))
        data = FastDataLoader(*tensors, num_labels=10, batch_size=batch, shuffle=True)
        agent = Counted(
            index=i, model=network(), neighbors=graph[i], train_set=data, test_set=None,
            optimizer_cfg=optimizer, loss_fn=nn.CrossEntropyLoss(), local_epochs=1,
            policy="aggregate",
        )  # fmt: skip
        team.append(agent)
    GossipDFL(agents, None, {}, graph, clients=team)  # gives the clients their channel
    rounds = iter(range(1, 10**9))

    def one() -> int:
        number, before = next(rounds), fits[0]
        for agent in team:
            agent.local_update(number)
        return fits[0] - before

    return one


def main() -> None:
    name, agents, batch, threads = sys.argv[1], *map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    one = {"decent-bench": decent_bench, "fluke": fluke}[name](agents, batch)
    package = PACKAGES[name]
    answer, sys.stdout = sys.stdout, sys.stderr  # what the packages print is no answer
    ready = {"name": name, "version": importlib.metadata.version(package)}
    print(json.dumps(ready), file=answer, flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        gradients = one()
        told = {"seconds": time.perf_counter() - begun, "gradients": gradients}
        print(json.dumps(told), file=answer, flush=True)


if __name__ == "__main__":
    main()
