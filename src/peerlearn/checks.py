"""What can be wrong with a request to train.

What is called ..._problems returns its complaints, a sentence each; the others raise them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import networkx as nx
import torch

from . import graphs, record
from .algorithm import Algorithm, Needs
from .engines import ENGINES
from .errors import ConfigurationError, short, unknown
from .graphs import GraphSchedule, spectrum
from .schedules import Schedule, value_at
from .tasks import BaseTask
from .values import count_problems, is_whole, require_known
from .words import counted

LOOKED_AT = 10  # rounds of a schedule whose weights are checked beforehand
SEEDS = 2**32  # generators are seeded with 32 bits of it
DTYPES = {"float32": torch.float32, "float64": torch.float64}
OF_COMPLETE = (graphs.weights.WEIGHTS["uniform"], graphs.weights.WEIGHTS["lazy_uniform"])
OF_WEIGHTS = Needs.DOUBLY_STOCHASTIC | Needs.SYMMETRIC | Needs.ASSUMPTION_2


def require_kinds(task: Any, algorithm: Any) -> None:
    """Without a task and an algorithm nothing else can be checked."""
    given = (
        ("task", task, BaseTask, "peerlearn.tasks.digits()"),
        ("algorithm", algorithm, Algorithm, "peerlearn.DSGD()"),
    )
    found = [
        f"{name} is {short(value)}, expected one such as {example}"
        for name, value, kind, example in given
        if not isinstance(value, kind)
    ]
    if found:
        raise ConfigurationError(found)


def require_functions(**given: Any) -> None:
    """What is called while training goes on."""
    found = [
        f"{name} is {value!r}, expected a function"
        for name, value in given.items()
        if value is not None and not callable(value)
    ]
    if found:
        raise ConfigurationError(found)


def is_true(asked: Any) -> bool:
    """What a callback returned."""
    try:
        return bool(asked)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the callback returned {type(asked).__name__} of several values, expected true to "
            "stop, or false; take .any(), .all() or .mean() of it"
        ) from error


def number_problems(
    rounds: int, evaluate_every: int | None, checkpoint_every: int | None
) -> list[str]:
    given: dict[str, Any] = {
        "rounds": rounds, "evaluate_every": evaluate_every, "checkpoint_every": checkpoint_every,
    }  # fmt: skip
    return [
        sentence
        for name, value in given.items()
        if value is not None
        for sentence in count_problems(name, value)
    ]


def seed_problems(seed: Any) -> list[str]:
    if is_whole(seed, 0) and int(seed) < SEEDS:
        return []
    return [f"seed is {seed!r}, expected a whole number from 0 to {SEEDS - 1}"]


def rate_problems(algorithm: Algorithm, rounds: int, dtype: torch.dtype) -> list[str]:
    """Rates and penalties below zero, or too large for numbers, in the first or last rounds."""
    found, largest = [], torch.finfo(dtype).max
    for name, rate in vars(algorithm).items():
        if not isinstance(rate, int | float | Schedule) or isinstance(rate, bool):
            continue
        try:
            looked_at = rate.telling(rounds) if isinstance(rate, Schedule) else {0}
            values = {round: value_at(rate, round, rounds) for round in sorted(looked_at)}
        except ValueError as error:
            found.append(f"{algorithm.name}: {name}: {error}")
            continue
        found += [
            f"{algorithm.name}: {name} is {value:.3g} in round {round}, expected at most "
            f"{largest:.3g}, the largest number of {str(dtype).removeprefix('torch.')}; take "
            "a smaller one, or let it grow more slowly"
            for round, value in values.items()
            if abs(value) > largest
        ][:1]
        found += [
            f"{algorithm.name}: {name} is {value:.3g} in round {round}, expected a number that is "
            "not negative; let it fall more slowly, or begin with less"
            for round, value in values.items()
            if isinstance(rate, Schedule) and value < 0  # a plain number the method has looked at
        ][:1]
    return found


def name_problems(engine: str, dtype: Any, device: Any, label: Any) -> list[str]:
    found = []
    if label is not None and not isinstance(label, str):
        found.append(f"label is {label!r}, expected a text, or None for the algorithm's name")
    if not isinstance(engine, str) or engine not in ENGINES:
        found.append(str(unknown("engine", engine, ENGINES)))
    for find, value in ((find_dtype, dtype), (find_device, device)):
        try:
            find(value)
        except ValueError as error:
            found.append(str(error))
    return found


def coordinator_problems(algorithm: Algorithm, engine: str) -> list[str]:
    """A method that needs a coordinator, on an engine that has none."""
    needed = Needs.COORDINATOR in algorithm.needs
    if (
        not needed
        or not isinstance(engine, str)
        or engine not in ENGINES
        or ENGINES[engine].has_coordinator
    ):
        return []
    having = ", ".join(name for name, kind in ENGINES.items() if kind.has_coordinator)
    return [
        f"{algorithm.name} needs a coordinator, which the engine {engine!r} does not have; use "
        f"{having or 'a method that talks to neighbors, such as DiNNO'}"
    ]


def team_problems(processes: int, agents: int) -> list[str]:
    """More processes than agents: some would have nothing to do."""
    if processes <= agents:
        return []
    team = counted(agents, "agent")
    return [f"got {processes} processes for {team}; start at most one for each agent"]


def graph_problems(
    task: BaseTask,
    algorithm: Algorithm,
    graph: nx.Graph | GraphSchedule | None,
    weights: Any,
    rounds: Any,
) -> list[str]:
    if graph is None:
        if algorithm.communicates:
            return [
                f"{algorithm.name} talks to neighbors; give a graph, such as graphs.cycle(10), "
                "or in a file the table [graph] with name = 'cycle'"
            ]
        return []
    if not isinstance(graph, nx.Graph | GraphSchedule):
        return [
            f"graph is of type {type(graph).__name__}, expected a networkx graph or a schedule, as "
            "graphs.cycle(4); networkx.from_numpy_array makes one of a matrix"
        ]
    try:
        schedule = graphs.as_schedule(graph)
    except ValueError as error:
        return [str(error)]
    if not is_whole(getattr(schedule, "agents", None)):
        return [
            f"the schedule {type(schedule).__name__} does not say how many agents it is for; give "
            "it the attribute agents, a whole number"
        ]
    if schedule.agents != task.agents:
        fewer = "fewer" if task.agents < schedule.agents else "more"
        return [
            f"got {fewer} datasets ({task.agents}) than agents in the graph ({schedule.agents}); "
            "give every agent one dataset"
        ]
    if not algorithm.communicates:
        return []
    looked_at = min(rounds, LOOKED_AT) if is_whole(rounds) else 1
    return graphs.problems(schedule) or _weight_problems(
        task, algorithm, schedule, weights, looked_at
    )


def _weight_problems(
    task: BaseTask, algorithm: Algorithm, schedule: GraphSchedule, weights: Any, rounds: int
) -> list[str]:
    """The weights of a static graph, or of the first rounds of a schedule.

    Whatever the method needs, buffers are mixed with them where the task asks for it.
    """
    mixed = getattr(task, "buffers", "local") == "mixed"
    needs = algorithm.needs | (Needs.DOUBLY_STOCHASTIC if mixed else Needs.NOTHING)
    try:
        rule = graphs.as_rule(weights)
        if isinstance(schedule, graphs.static):
            found = _static_problems(rule, schedule.graph, needs)
        else:
            found = _changing_problems(rule, schedule, needs, rounds)
    except ValueError as error:
        return [str(error)]
    return [f"{algorithm.name}: {sentence}" for sentence in found]


def _static_problems(rule: graphs.Rule, graph: nx.Graph, needs: Needs) -> list[str]:
    """The record tells of these weights, so they must exist even for a method that has no needs."""
    mixing = spectrum.square(rule(graph))
    if not needs & OF_WEIGHTS:
        return []
    found = graphs.weights.problems(mixing, graph, needs) or graphs.weights.parts(mixing)
    own = rule not in graphs.WEIGHTS.values()  # for those it is known that agents agree
    return found or (graphs.weights.disagreement(mixing) if own else [])


def _changing_problems(
    rule: graphs.Rule, schedule: GraphSchedule, needs: Needs, rounds: int
) -> list[str]:
    """A single round's graph may fall apart, so Assumption 2 (c) is not asked for."""
    if rule in OF_COMPLETE and not schedule.any_graph:
        return ["uniform weights need a complete graph in every round; use metropolis weights"]
    if isinstance(rule, graphs.given) and not schedule.any_graph:
        return ["got a matrix of weights and a graph that changes, expected a rule; use metropolis"]
    if not needs & OF_WEIGHTS or not schedule.known:
        return []
    for round in range(rounds):
        graph = schedule.at(round)
        found = graphs.weights.problems(rule(graph), graph, needs, apart=True)
        if found:
            return found
    return []


def stream_problems(task: BaseTask, algorithm: Algorithm, rounds: int) -> list[str]:
    """Why a stream cannot feed a method for so many rounds."""
    if algorithm.counts_epochs and task.stream is not None:
        return [
            f"{algorithm.name} counts epochs, which the data of {task.name!r} do not have, being a "
            "stream; give local_steps instead of local_epochs"
        ]
    return task.stream_problems(algorithm.gradients(rounds), rounds)


def out_problems(out: Any) -> list[str]:
    if out is None or isinstance(out, str | os.PathLike):
        return []
    return [f"out is {short(out)}, expected the path of a folder, or None"]


def folder_problems(folder: Path | None, resume: bool) -> list[str]:
    if folder is None:
        return ["resume needs the folder of the run to go on with; give out"] if resume else []
    if folder.exists() and not folder.is_dir():
        return [f"{folder} is a file, expected a folder for the run"]
    if not resume and (folder / record.FILE_NAME).exists():
        return [f"{folder} holds another run; choose another folder, resume that run, or remove it"]
    return []


def placed(
    graph: nx.Graph | GraphSchedule | None, task: BaseTask, rounds: int
) -> nx.Graph | GraphSchedule | None:
    """A schedule of agents whose way the task knows beforehand, to be checked as a whole."""
    if not isinstance(graph, GraphSchedule) or graph.known or not is_whole(rounds):
        return graph
    return graph if task.positions(0) is None else graph.placed(task.positions, int(rounds))


def find_device(device: str | torch.device) -> torch.device:
    """A device that is there; "auto" is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"unknown device {device!r}; use auto, cpu or cuda") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported; use auto, cpu or cuda")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {device!r} was asked for, but torch sees no CUDA; use auto or cpu"
        )
    return found


def find_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """float32 or float64."""
    name = str(dtype).removeprefix("torch.")
    require_known("dtype", name, DTYPES)
    return DTYPES[name]
