"""Kamp et al. on streams whose distribution changes: Figures 1 (b) and 5.

The stream is that of random graphical models, and the network an MLP with 64 hidden units: the
paper's own are in a supplement that is not available.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from .. import tasks
from ..algorithms import DynamicAveraging, Isolated, PeriodicAveraging, Serial
from .averaging import Averaging, Team

SGD: Mapping[str, Any] = {"optimizer": "sgd", "lr": 0.03}  # tried on seed 10


class Figure1(Averaging):
    """Ten agents through one drift, in the middle of the stream."""

    name = "averaging-drift"
    title = "Kamp et al., Figure 1 (b): ten agents through a concept drift"
    over_time = True
    evaluations = 100
    seeds = (0, 1, 2)
    published = {
        "serial": "the least cumulative error",
        "nosync": "the most",
        "periodic 50": "in between",
    }

    def teams(self, short: bool) -> dict[str, Team]:
        rounds = 400 if short else 2000
        protocols = {
            "serial": Serial(**SGD),
            "nosync": Isolated(**SGD),
            "periodic 50": PeriodicAveraging(period=50, **SGD),
        }
        task = partial(tasks.graphical, 10, drift_rounds=[rounds // 2])
        return {"10 agents": Team(task, rounds, protocols)}


class Figure5(Averaging):
    """Samples one by one, a new model with probability 0.001 a round."""

    name = "averaging-concepts"
    seeds = (0, 4)  # with one drift, and with five, as many as are to be expected
    title = "Kamp et al., Figure 5: 100 agents through concept drifts"
    over_time = True
    evaluations = 100
    published = {
        "periodic": "loss as of the dynamic ones, with up to ten times their communication",
        "dynamic": "talks after a drift, and less and less until the next",
    }

    def teams(self, short: bool) -> dict[str, Team]:
        agents, rounds = (10, 800) if short else (100, 5000)
        drifts = {"drift_rounds": [400]} if short else {"drift_probability": 0.001}
        periods, deltas = (10, 20, 50), (0.03, 0.1, 0.3, 1.0, 3.0)
        protocols = {
            "nosync": Isolated(**SGD),
            **{f"periodic {b}": PeriodicAveraging(period=b, **SGD) for b in periods},
            **{
                f"dynamic {d:g}": DynamicAveraging(delta=d, period=10, **SGD)
                for d in (deltas[2:4] if short else deltas)
            },
        }
        return {
            f"{agents} agents": Team(partial(tasks.graphical, agents, **drifts), rounds, protocols)
        }
