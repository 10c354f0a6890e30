"""Kamp et al. on MNIST: Figures 2, 3, 4, 7 and 8, the optimizers, and the bound."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .. import tasks
from ..algorithm import Algorithm
from ..algorithms import DynamicAveraging, FedAvg, Isolated, PeriodicAveraging, Serial
from ..record import Record
from ..report.style import color, dashes, percent, styled
from .averaging import Averaging, Team, communication, cumulative_loss, grouped
from .base import Records, lasting, lost, markdown, with_spread
from .figures import explain, keep

EPOCH = 70_000  # all images, train and test together: a prediction is made before it is learned
BATCH = 10
SGD: Mapping[str, Any] = {"optimizer": "sgd", "lr": 0.1}  # tried on seed 10
DELTAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def stream(agents: int, model: str = "dinno_cnn") -> tasks.BaseTask:
    return tasks.mnist_stream(agents=agents, batch_size=BATCH, model=model)


def rounds_for(agents: int, epochs: float) -> int:
    """A multiple of 100, so that every protocol is evaluated as often."""
    return int(epochs * EPOCH / (agents * BATCH)) // 100 * 100


def dynamic(deltas: tuple[float, ...] = DELTAS, **options: Any) -> dict[str, Algorithm]:
    settings = {"period": 1, **SGD, **options}
    return {f"dynamic {d:g}": DynamicAveraging(delta=d, **settings) for d in deltas}


def periodic(*periods: int, **options: Any) -> dict[str, Algorithm]:
    return {f"periodic {b}": PeriodicAveraging(period=b, **{**SGD, **options}) for b in periods}


class Figure2(Averaging):
    name = "averaging-mnist"
    title = "Kamp et al., Figure 2: 100 agents on MNIST"
    published = {
        "serial": "the least loss",
        "nosync": "less loss than periodic 4",
        "periodic 1": "twice the communication of a dynamic one with its loss",
        "periodic 4": "more loss than nosync",
        "dynamic": "each periodic loss, with substantially less communication",
    }

    def teams(self, short: bool) -> dict[str, Team]:
        agents, rounds = (10, 100) if short else (100, rounds_for(100, 20))
        protocols = {
            "serial": Serial(**SGD),
            "nosync": Isolated(**SGD),
            **periodic(1, 2, 4),
            **dynamic(DELTAS[2:6] if short else DELTAS),
        }
        return {f"{agents} agents": Team(partial(stream, agents), rounds, protocols)}


class Figure2McMahan(Averaging):
    """Three protocols of Figure 2 with a network of 1,663,370 parameters."""

    name = "averaging-mcmahan"
    title = "Kamp et al., Figure 2, with McMahan's network"
    published = Figure2.published

    def teams(self, short: bool) -> dict[str, Team]:
        agents, rounds = (3, 5) if short else (100, rounds_for(100, 20))
        protocols = {"nosync": Isolated(**SGD), **periodic(1), **dynamic((3.0,))}
        task = partial(stream, agents, "mcmahan_cnn")
        return {f"{agents} agents": Team(task, rounds, protocols)}


class Figure3(Averaging):
    """Figures 3 and 4: thirty agents, FedAvg and its neighbors against dynamic averaging.

    FedAvg is the paper's: all agents train, and in every b-th round a random share C is averaged.
    """

    name = "averaging-fedavg"
    title = "Kamp et al., Figures 3 and 4: FedAvg beside dynamic averaging, 30 agents on MNIST"
    over_time = True
    published = {
        "FedAvg b 5 C 0.3": "the best FedAvg; its communication grows linearly",
        "dynamic": "over 50 % less communication for 8.3 % more loss (1.9 points of accuracy), "
        "or 16.9 % less at equal accuracy; it grows in steps",
    }

    def teams(self, short: bool) -> dict[str, Team]:
        agents, rounds = (10, 200) if short else (30, rounds_for(30, 5))
        fedavg = {
            f"FedAvg b {b} C {c:g}": FedAvg(local_steps=b, fraction=c, unselected="train", **SGD)
            for b, c in (((5, 0.3),) if short else ((5, 0.3), (5, 0.1), (5, 0.5), (10, 0.3)))
        }
        found = {**fedavg, **dynamic(DELTAS[2:6] if short else DELTAS, period=5)}
        steps = {label: algorithm.local_steps or 1 for label, algorithm in fedavg.items()}
        return {f"{agents} agents": Team(partial(stream, agents), rounds, found, steps)}


class Figure7(Averaging):
    name = "averaging-scaling"
    title = "Kamp et al., Figure 7: 10, 100 and 200 agents on MNIST"
    published = {"dynamic": "scales well with the number of agents"}

    def teams(self, short: bool) -> dict[str, Team]:
        sizes = {5: 100, 10: 100} if short else {m: rounds_for(m, m / 5) for m in (10, 100, 200)}
        protocols = {"nosync": Isolated(**SGD), **periodic(1, 4), **dynamic((0.3, 3.0))}
        return {
            f"{agents} agents": Team(partial(stream, agents), rounds, protocols)
            for agents, rounds in sizes.items()
        }


class Optimizers(Averaging):
    """Dynamic averaging is a black box over the local optimizer."""

    name = "averaging-optimizers"
    title = "Dynamic averaging over SGD, Adam and RMSprop, 30 agents on MNIST"
    published = {"dynamic": "works with SGD, Adam and RMSprop"}

    def teams(self, short: bool) -> dict[str, Team]:
        agents, rounds = (10, 50) if short else (30, rounds_for(30, 2))
        rates = {"sgd": SGD["lr"], "adam": 0.001, "rmsprop": 0.001}
        found = {}
        for optimizer, lr in rates.items():
            own = {"optimizer": optimizer, "lr": lr}
            protocols = {"nosync": Isolated(**own), **periodic(1, 4, **own)}
            protocols |= dynamic(DELTAS[3:4] if short else DELTAS[:6], **own)
            found[optimizer] = Team(partial(stream, agents), rounds, protocols)
        return found


class Bound(Averaging):
    """C(T, m) is in O(c / sqrt(delta) L(T, m)), with c the bytes of averaging all models once."""

    name = "averaging-bound"
    title = "Communication against its bound, 30 agents on MNIST"
    published = {"dynamic": "C in O(c / sqrt(delta) L)"}

    def teams(self, short: bool) -> dict[str, Team]:
        agents, rounds = (10, 100) if short else (30, rounds_for(30, 3))
        deltas = tuple(round(float(d), 3) for d in np.geomspace(0.03, 30, 4 if short else 10))
        protocols = dynamic(deltas)
        return {f"{agents} agents": Team(partial(stream, agents), rounds, protocols)}

    def table(self, records: Records) -> str:
        header = ["protocol", "C, MB", "published: in O of c / sqrt(delta) L, MB", "ratio"]
        rows = []
        for runs in grouped(records).values():
            for label, (run, *_) in runs.items():
                spent, bound = communication(run)[-1], bound_of(run)[-1]
                ratio = f"{spent / bound:.2g} {lost([run])}".strip()
                rows.append([label, f"{spent:,.1f}", f"{bound:,.0f}", ratio])
        return markdown(header, rows)

    def draw(self, records: Records, path: Path) -> None:
        with styled():
            figure = Figure(figsize=(6.0, 4.4), layout="constrained")
            axes = figure.add_subplot(xscale="log", yscale="log")
            handles = {}
            for runs in grouped(records).values():
                for number, (label, (run, *_)) in enumerate(runs.items()):
                    talked = communication(run) > 0
                    bound, spent = bound_of(run)[talked], communication(run)[talked]
                    look = {"color": color(number), "linestyle": dashes(number)}
                    (handles[label],) = axes.plot(bound, spent, **look)
                    axes.plot(bound[-1:], spent[-1:], "o", color=color(number))
            axes.set(xlabel="c / sqrt(delta) L(t, m), MB", ylabel="C(t, m), MB")
            for side in (axes.xaxis, axes.yaxis):
                side.set_major_formatter("{x:,.10g}")
                side.set_minor_formatter("")
            explain(figure, handles, self.title, "Each line is one run; the dot is its end.")
        keep(figure, path, self.title)


def bound_of(run: Record) -> np.ndarray:
    """(T,) c / sqrt(delta) L(t, m) in megabytes; c: every model up, and the average back to all."""
    averaging = 2 * run.start["agents"] * run.start["parameters"] * 4 / 1e6
    return averaging / np.sqrt(run.start["settings"]["delta"]) * cumulative_loss(run)


class Figure8(Averaging):
    """How different the first networks are, against how often models are averaged."""

    name = "averaging-starts"
    evaluations = 1
    title = "Kamp et al., Figure 8: first networks apart by epsilon, 10 agents on MNIST"
    seeds = (0, 1, 2)
    published = {
        "one averaging": "different first networks harm",
        "periodic": "mildly different first networks help, strongly different ones harm",
        "dynamic": "as periodic",
    }

    def teams(self, short: bool) -> dict[str, Team]:
        agents, rounds = (5, 100) if short else (10, 600)
        spreads = (0.0, 5.0) if short else (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
        once = PeriodicAveraging(period=rounds, **SGD)
        often = (1, 10) if short else (1, 10, 100)  # in a short run the last is one averaging
        protocols = {**periodic(*often), "one averaging": once, **dynamic((0.3, 3.0))}
        return {
            f"epsilon {e:g}": Team(partial(started_apart, agents, e), rounds, protocols)
            for e in spreads
        }

    def table(self, records: Records) -> str:
        groups = grouped(records)
        header = ["accuracy relative to epsilon 0, periodic 1", "published", *groups]
        said = self._said(next(iter(groups.values())))
        rows = [
            [label, said[label], *(relative(groups, group, label) for group in groups)]
            for label in next(iter(groups.values()))
        ]
        return markdown(header, rows)

    def draw(self, records: Records, path: Path) -> None:
        groups = grouped(records)
        spreads = [float(group.split()[1]) for group in groups]
        with styled():
            figure = Figure(figsize=(6.0, 4.4), layout="constrained")
            axes = figure.add_subplot(xlabel="epsilon", ylabel="accuracy of the mean network")
            axes.yaxis.set_major_formatter(percent())
            handles = {}
            for number, label in enumerate(next(iter(groups.values()))):
                means = [np.mean(accuracies(runs[label])) for runs in groups.values()]
                (handles[label],) = axes.plot(spreads, means, "o-", color=color(number))
            explain(figure, handles, self.title, "Mean over seeds, at the end.")
        keep(figure, path, self.title)


def started_apart(agents: int, spread: float) -> tasks.BaseTask:
    return tasks.mnist_stream(
        agents=agents, batch_size=BATCH, model="dinno_cnn", pool="train", initial_spread=spread
    )


def accuracies(runs: list[Record]) -> list[float]:
    return [float(r.final["accuracy"].mean()) for r in lasting(runs) or runs]


def relative(groups: Mapping[str, Mapping[str, list[Record]]], group: str, label: str) -> str:
    """'0.987 ± 0.002', the spread over seeds."""
    base = np.mean(accuracies(groups["epsilon 0"]["periodic 1"]))
    values = [float(value / base) for value in accuracies(groups[group][label])]
    return f"{with_spread(values, 3)} {lost(groups[group][label])}".strip()
