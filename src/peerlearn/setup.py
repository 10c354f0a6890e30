"""What `train` is asked to do, checked as a whole before anything runs."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch

from . import checkpoint as checkpoints
from . import graphs, record
from .algorithm import Algorithm, Needs
from .checkpoint import Checkpoint
from .engines import ENGINES
from .errors import ConfigurationError, nearest
from .graphs import GraphSchedule, spectrum
from .learner import Learner
from .links import Traffic
from .measure import Clock
from .tasks import BaseTask

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass
class Setup:
    """A request that can be carried out."""

    task: BaseTask
    algorithm: Algorithm
    schedule: GraphSchedule | None
    weights: Any
    rounds: int
    seed: int
    evaluate_every: int
    checkpoint_every: int
    out: Path | None
    resumes: bool
    device: torch.device
    dtype: torch.dtype
    engine: str
    label: str
    checkpoint: Checkpoint | None = None

    @property
    def trained(self) -> BaseTask:
        """The task as the algorithm sees it."""
        return self.task.pooled() if self.algorithm.pools_data else self.task

    @property
    def record_path(self) -> Path | None:
        return self.out / record.FILE_NAME if self.out else None

    @property
    def checkpoint_path(self) -> Path | None:
        return self.out / checkpoints.FILE_NAME if self.out else None

    @cached_property
    def learner(self) -> Learner:
        return self.trained.learner(self.seed, self.device, self.dtype)

    def build_engine(self, clock: Clock) -> Any:
        engine = ENGINES[self.engine](
            total=1 if self.algorithm.pools_data else self.task.agents,
            weights=graphs.as_rule(self.weights), rounds=self.rounds, device=self.device,
            dtype=self.dtype, seed=self.seed, clock=clock,
        )  # fmt: skip
        if self.algorithm.pools_data:
            object.__setattr__(engine, "traffic", Traffic(self.task.agents))
        return engine

    def graph_at(self, round: int, positions: Any) -> nx.Graph | None:
        return self.schedule.at(round, positions) if self.schedule is not None else None

    def count_raw_data(self, traffic: Traffic) -> None:
        """Pooling data means that every agent has sent its own, once."""
        if self.algorithm.pools_data:
            once = np.ones(self.task.agents, np.int64)
            traffic.messages_sent += once
            traffic.bytes_sent += np.array(self.task.data_bytes(), np.int64)

    @property
    def configuration(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed."""
        return {
            "algorithm": self.algorithm.name,
            "settings": settings_of(self.algorithm),
            "task": self.task.describe(),
            "agents": self.task.agents,
            "parameters": self.learner.initial().shape[1],
            "graph": self._describe_graph(),
            "weights": self.weights if isinstance(self.weights, str) else _digest(self.weights),
            "rounds": self.rounds,
            "seed": self.seed,
            "dtype": str(self.dtype).removeprefix("torch."),
            "evaluate_every": self.evaluate_every,
        }

    def describe(self) -> dict[str, Any]:
        """The start line of the record."""
        return {
            **self.configuration,
            "label": self.label,
            "device": str(self.device),
            "engine": self.engine,
            "gradients": self.learner.note,
            "versions": versions(),
        }

    def _describe_graph(self) -> dict[str, Any] | None:
        if self.schedule is None:
            return None
        if not isinstance(self.schedule, graphs.static):
            return _describe_schedule(self.schedule)
        graph = self.schedule.graph
        found = {
            "agents": len(graph),
            "name": graph.graph.get("name", ""),
            "edges": _edges(graph),
            "fiedler_value": round(spectrum.fiedler_value(graph), 9),
            "schedule": None,
        }
        positions = nx.get_node_attributes(graph, "position")
        if positions:
            found["positions"] = [[float(x) for x in positions[i]] for i in range(len(graph))]
        if self.algorithm.communicates:
            mixing = graphs.as_rule(self.weights)(graph)
            found["spectral_gap"] = round(float(spectrum.spectral_gap(mixing)), 9)
        return found


def prepare(
    task: BaseTask,
    algorithm: Algorithm,
    graph: nx.Graph | GraphSchedule | None,
    *,
    rounds: int,
    seed: int,
    weights: Any,
    evaluate_every: int | None,
    out: str | Path | None,
    resume: bool,
    checkpoint_every: int | None,
    device: str | torch.device,
    dtype: torch.dtype | str,
    engine: str,
    label: str | None,
) -> Setup:
    """Check everything and gather what is wrong.

    Raises:
        ConfigurationError: with every mistake found.
    """
    _check_kinds(task, algorithm)
    problems = [*task.problems(), *_number_problems(rounds, evaluate_every, checkpoint_every)]
    problems += _seed_problems(seed)
    problems += _name_problems(engine, dtype, device)
    problems += _graph_problems(task, algorithm, graph, weights)
    folder = Path(out) if out is not None else None
    problems += _folder_problems(folder, resume)
    if problems:
        raise ConfigurationError(problems)
    every = evaluate_every or max(1, rounds // 20)
    setup = Setup(
        task=task, algorithm=algorithm,
        schedule=None if graph is None else graphs.as_schedule(graph), weights=weights,
        rounds=rounds, seed=seed, evaluate_every=every, checkpoint_every=checkpoint_every or every,
        out=folder, resumes=False, device=find_device(device), dtype=find_dtype(dtype),
        engine=engine, label=label or algorithm.name,
    )  # fmt: skip
    if Needs.MINIMIZE in algorithm.needs and not setup.learner.can_minimize:
        raise ConfigurationError(
            [
                f"{algorithm.name} needs a task whose losses can be minimised exactly, which "
                f"{task.name!r} is not; use DiNNO, whose primal steps are approximate"
            ]
        )
    if folder is not None and resume:
        _take_checkpoint(setup)
    return setup


def _take_checkpoint(setup: Setup) -> None:
    """Find the checkpoint to go on from; a run killed before the first one begins anew."""
    path, lines = setup.checkpoint_path, setup.record_path
    assert path is not None
    assert lines is not None
    if path.exists():
        kept = checkpoints.load(path)
        _check_same(path, kept.configuration, setup)
        if not lines.exists():
            raise ConfigurationError(
                [f"{path} has no {lines.name} beside it; remove it to start this run anew"]
            )
        setup.checkpoint, setup.resumes = kept, True
    elif lines.exists():
        _check_same(lines, record.first_line(lines), setup)


def _check_same(path: Path, kept: dict[str, Any], setup: Setup) -> None:
    """Refuse to go on with, or to write over, what another configuration left."""
    wanted = _json(setup.configuration)
    changed = checkpoints.differences({k: kept[k] for k in wanted if k in kept}, wanted)
    if changed and kept:
        raise ConfigurationError(
            [
                f"{path} belongs to another configuration: {'; '.join(changed[:5])}; "
                "resume with the same configuration, or choose another folder"
            ]
        )


def _check_kinds(task: Any, algorithm: Any) -> None:
    """Without a task and an algorithm nothing else can be checked."""
    given = (
        ("task", task, BaseTask, "peerlearn.tasks.digits()"),
        ("algorithm", algorithm, Algorithm, "peerlearn.DSGD()"),
    )
    found = [
        f"{name} is {value!r}, expected one such as {example}"
        for name, value, kind, example in given
        if not isinstance(value, kind)
    ]
    if found:
        raise ConfigurationError(found)


def _number_problems(
    rounds: int, evaluate_every: int | None, checkpoint_every: int | None
) -> list[str]:
    given = {
        "rounds": rounds, "evaluate_every": evaluate_every, "checkpoint_every": checkpoint_every,
    }  # fmt: skip
    return [
        f"{name} is {value!r}, expected a whole number of at least 1"
        for name, value in given.items()
        if value is not None and not _whole(value, 1)
    ]


def _seed_problems(seed: Any) -> list[str]:
    return [] if _whole(seed, 0) else [f"seed is {seed!r}, expected a whole number, 0 or more"]


def _whole(value: Any, least: int) -> bool:
    integral = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return integral and int(value) >= least


def _name_problems(engine: str, dtype: Any, device: Any) -> list[str]:
    found = []
    if engine not in ENGINES:
        found.append(f"unknown engine {engine!r}; {nearest(engine, ENGINES)}")
    for find, value in ((find_dtype, dtype), (find_device, device)):
        try:
            find(value)
        except ValueError as error:
            found.append(str(error))
    return found


def _graph_problems(
    task: BaseTask, algorithm: Algorithm, graph: nx.Graph | GraphSchedule | None, weights: Any
) -> list[str]:
    if graph is None:
        if algorithm.communicates:
            return [f"{algorithm.name} talks to neighbors; give a graph, such as graphs.cycle"]
        return []
    try:
        schedule = graphs.as_schedule(graph)
    except ValueError as error:
        return [str(error)]
    if schedule.agents != task.agents:
        fewer = "fewer" if task.agents < schedule.agents else "more"
        return [
            f"got {fewer} datasets ({task.agents}) than agents in the graph ({schedule.agents}); "
            "give every agent one dataset"
        ]
    if not algorithm.communicates:
        return []
    return graphs.problems(schedule) or _weight_problems(algorithm, schedule, weights)


def _weight_problems(algorithm: Algorithm, schedule: GraphSchedule, weights: Any) -> list[str]:
    """The weights of a static graph, or of the first rounds of a schedule.

    A single round's graph may fall apart, so there Assumption 2 (c) is not asked for.
    """
    if algorithm.needs & (Needs.DOUBLY_STOCHASTIC | Needs.SYMMETRIC | Needs.ASSUMPTION_2):
        needs = algorithm.needs
    else:
        return _rule_problems(weights) if isinstance(weights, str) else []
    rounds = 1
    if not isinstance(schedule, graphs.static):
        rounds = min(schedule.window, 10) if _known(schedule) else 0
        if Needs.ASSUMPTION_2 in needs:
            needs = Needs.DOUBLY_STOCHASTIC | Needs.SYMMETRIC
    try:
        rule = graphs.as_rule(weights)
        for round in range(rounds):
            graph = schedule.at(round)
            found = graphs.weights.problems(rule(graph), graph, needs)
            if found:
                return [f"{algorithm.name}: {sentence}" for sentence in found]
    except ValueError as error:
        return [str(error)]
    return []


def _rule_problems(name: str) -> list[str]:
    try:
        graphs.as_rule(name)
    except ValueError as error:
        return [str(error)]
    return []


def _folder_problems(folder: Path | None, resume: bool) -> list[str]:
    if folder is None:
        return ["resume needs the folder of the run to go on with; give out"] if resume else []
    if folder.exists() and not folder.is_dir():
        return [f"{folder} is a file, expected a folder for the run"]
    if not resume and (folder / record.FILE_NAME).exists():
        return [f"{folder} holds another run; choose another folder, resume that run, or remove it"]
    return []


def _known(schedule: GraphSchedule) -> bool:
    """Whether the graphs can be drawn before the learner reports positions."""
    return not (isinstance(schedule, graphs.proximity) and schedule.positions is None)


def _edges(graph: nx.Graph) -> list[list[int]]:
    return sorted([min(i, j), max(i, j)] for i, j in graph.edges)


def find_device(device: str | torch.device) -> torch.device:
    """A device that is there; "auto" is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; use auto, cpu or cuda") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {device!r} was asked for, but torch sees no CUDA; use auto or cpu"
        )
    return found


def find_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """float32 or float64."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}; {nearest(name, DTYPES)}")
    return DTYPES[name]


def settings_of(algorithm: Algorithm) -> dict[str, Any]:
    """The hyper-parameters as JSON has them, schedules with their names."""
    return {name: _plain(value) for name, value in vars(algorithm).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, int | float | str | bool | None):
        return value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return value.__qualname__
    if is_dataclass(value):
        return {"schedule": type(value).__name__, **_fields(value)}
    return repr(value)


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}


def _describe_schedule(schedule: GraphSchedule) -> dict[str, Any]:
    """Its arguments and the edges it thins out, or else those of its first round."""
    name = type(schedule).__name__
    settings: dict[str, Any] = _fields(schedule) if is_dataclass(schedule) else {}
    graph = vars(schedule).get("graph")
    if graph is None and _known(schedule):
        graph = schedule.at(0)
    shown = ", ".join(f"{k}={v}" for k, v in settings.items() if k not in ("graph", "agents"))
    return {
        "agents": schedule.agents,
        "name": "" if graph is None else graph.graph.get("name", ""),
        "schedule": f"{name}({shown})",
        "edges": [] if graph is None else _edges(graph),
    }


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _digest(weights: Any) -> str:
    """A short description of weights that are not named by a rule."""
    if callable(weights):
        return getattr(weights, "__qualname__", repr(weights))
    dense = weights.toarray() if hasattr(weights, "toarray") else np.asarray(weights, float)
    return f"matrix {hashlib.sha256(np.ascontiguousarray(dense).tobytes()).hexdigest()[:16]}"


def versions() -> dict[str, str]:
    """What the run was made with."""
    try:
        own = version("peerlearn")
    except PackageNotFoundError:
        own = "unknown"
    return {"peerlearn": own, "torch": torch.__version__, "python": platform.python_version()}
