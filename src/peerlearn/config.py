"""What an experiment file asks for: read, checked as a whole, and built.

name = "digits"
rounds = 600
[task]                # a name in `tasks.TASKS` and the arguments of that function
[graph]               # a name in `graphs.TOPOLOGIES` and the arguments of that function
[graph.schedule]      # optional: a name in `graphs.SCHEDULES` and its arguments
[[algorithms]]        # a name in `algorithms.ALGORITHMS`, perhaps a label, hyper-parameters
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import networkx as nx
from pydantic import AfterValidator, BaseModel, Field

from . import graphs
from .algorithm import Algorithm
from .checks import SEEDS, find_device, stream_problems
from .config_tables import (
    FOLDER_NAME,
    NAME_WORDS,
    make_task,
    read_algorithms,
    read_graph,
    read_task,
    team_size,
)
from .describe import settings_of
from .engines import ENGINES
from .errors import ConfigurationError, unknown
from .graphs import GraphSchedule
from .setup import prepare
from .tables import STRICT, Problem, at_key, checked
from .tasks import BaseTask
from .team import LONGEST_TIMEOUT_S, TIMEOUT_S
from .words import counted


def _each_once(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError("a value stands twice")
    return values


class ExperimentFile(BaseModel):
    """The outermost table of an experiment file."""

    model_config = STRICT

    name: str = Field(pattern=FOLDER_NAME, description=NAME_WORDS)
    rounds: int = Field(ge=1, description="a whole number, at least 1")
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=SEEDS)]], AfterValidator(_each_once)] = (
        Field(
            [0],
            min_length=1,
            description=f"a list of whole numbers from 0 to {SEEDS - 1}, each once",
        )
    )
    evaluate_every: int | None = Field(None, ge=1, description="a whole number, at least 1")
    checkpoint_every: int | None = Field(None, ge=1, description="a whole number, at least 1")
    dtype: Literal["float32", "float64"] = "float32"
    device: str = Field("auto", description="auto, cpu or cuda")
    engine: str = Field("stacked", description=" or ".join(map(repr, ENGINES)))
    timeout_s: float = Field(
        TIMEOUT_S, gt=0, le=LONGEST_TIMEOUT_S,
        description=f"a positive number of seconds, at most {LONGEST_TIMEOUT_S:,}",
    )  # fmt: skip
    weights: str | list[list[float]] = Field(
        "metropolis", description="the name of a rule, or a matrix as a list of rows"
    )
    task: dict[str, Any] = Field(description="a table [task] with its name and options")
    graph: dict[str, Any] | None = Field(
        None, description="a table [graph] with its name and options"
    )
    algorithms: list[dict[str, Any]] = Field(
        min_length=1, description="one table [[algorithms]] for each method, at least one"
    )


@dataclass(frozen=True)
class Experiment:
    """Everything an experiment file asks for, checked.

    Attributes:
        settings: the file, overrides applied.
        algorithms: label -> method, in the order of the file.
        graph: who talks to whom; None if the file has no [graph].
        first_task: the task of the first seed.
    """

    settings: ExperimentFile
    algorithms: Mapping[str, Algorithm]
    graph: nx.Graph | GraphSchedule | None
    first_task: BaseTask = field(repr=False)

    @property
    def name(self) -> str:
        return self.settings.name

    def task(self, seed: int) -> BaseTask:
        """The task, its data dealt out under ``seed`` unless the file fixes the task's own."""
        if seed == self.settings.seeds[0]:
            return self.first_task
        return make_task(self.settings.task, seed)

    def graph_of(self, label: str) -> nx.Graph | GraphSchedule | None:
        """The graph, for a method that talks over it."""
        return self.graph if self.algorithms[label].communicates else None

    def request(
        self, label: str, seed: int, out: Path | None = None, resume: bool = False
    ) -> dict[str, Any]:
        """The keyword arguments of `train` and `prepare` for one run."""
        s = self.settings
        return {
            "rounds": s.rounds, "seed": seed, "weights": s.weights,
            "evaluate_every": s.evaluate_every, "checkpoint_every": s.checkpoint_every,
            "device": s.device, "dtype": s.dtype, "engine": s.engine, "timeout_s": s.timeout_s,
            "label": label,
            "out": out / label / f"seed-{seed}" if out else None, "resume": resume,
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """The file as JSON has it, every hyper-parameter with its value."""
        methods = [
            {"label": label, "name": a.name, **settings_of(a)}
            for label, a in self.algorithms.items()
        ]
        return {**self.settings.model_dump(exclude_none=True), "algorithms": methods}

    def agreement(self) -> dict[str, Any]:
        """What the processes of a team must agree on before the first run."""
        return {**self.describe(), "agents": self.first_task.agents}

    def summary(self) -> str:
        """What would run, in one line."""
        task, graph, seeds = self.settings.task, self.settings.graph, self.settings.seeds
        schedule = (graph or {}).get("schedule")
        how = f", {schedule['name']}" if schedule else ""
        where = f" over {graph['name']}{how}" if graph else ""
        seed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        team, rounds = counted(self.first_task.agents, "agent"), self.settings.rounds
        return (
            f"{', '.join(self.algorithms)} on {task['name']} with {team}{where}, "
            f"{counted(rounds, 'round')}, {seed}"
        )


def parse(raw: Mapping[str, Any]) -> tuple[Experiment | None, list[Problem]]:
    """The experiment described by the tables of a file, or what is wrong with them."""
    outermost, problems = checked(ExperimentFile, raw)
    problems += _name_problems(raw)
    first_seed, *_ = outermost.get("seeds") or [0]
    task, found = read_task(raw.get("task"), first_seed)
    problems += found
    agents = team_size(raw.get("task"), task, found)
    graph, found = read_graph(raw.get("graph"), agents)
    problems += found
    methods, paths, found = read_algorithms(raw.get("algorithms"))
    problems += found
    if task is None or task.agents != agents or (graph is None and raw.get("graph") is not None):
        return None, problems
    experiment = Experiment(_settings(raw, outermost, problems), methods, graph, task)
    told = {p.text for p in problems}
    problems += [p for p in dict.fromkeys(_together(experiment, paths)) if p.text not in told]
    return (None if problems else experiment), problems


def _settings(
    raw: Mapping[str, Any], outermost: dict[str, Any], problems: list[Problem]
) -> ExperimentFile:
    """The file, without what is wrong in its outermost table."""
    wrong = {p.path for p in problems}
    right = {k: v for k, v in (outermost or raw).items() if k not in wrong}
    return ExperimentFile.model_construct(**{"name": "", "rounds": 1, **right})


def _name_problems(raw: Mapping[str, Any]) -> list[Problem]:
    """Engine, device and weights, where they are texts or matrices at all."""
    engine, device = raw.get("engine", "stacked"), raw.get("device", "auto")
    found = []
    if isinstance(engine, str) and engine not in ENGINES:
        found.append(Problem("engine", str(unknown("engine", engine, ENGINES))))
    checks: dict[str, Callable[[], Any]] = {
        "device": lambda: find_device(str(device)),
        "weights": lambda: graphs.as_rule(raw.get("weights", "metropolis")),
    }
    for key, check in checks.items():
        try:
            check()
        except ValueError as error:
            found.append(Problem(key, str(error)))
    return found


def _together(experiment: Experiment, paths: Mapping[str, str]) -> Iterable[Problem]:
    """What does not go together: graph, weights, task and each method."""
    for label, method in experiment.algorithms.items():
        try:
            prepare(experiment.first_task, method, experiment.graph_of(label),
                    **experiment.request(label, experiment.settings.seeds[0]))  # fmt: skip
        except ConfigurationError as error:
            of_task = _stream_problems(experiment, method)
            for sentence in error.problems:
                if method.name not in sentence and sentence in of_task:
                    yield at_key("task", sentence, experiment.settings.task)
                else:
                    yield Problem(paths[label] if method.name in sentence else "graph", sentence)


def _stream_problems(experiment: Experiment, method: Algorithm) -> list[str]:
    """Why the task's stream cannot feed the method, where the task itself is right."""
    task = experiment.first_task
    return [] if task.problems() else stream_problems(task, method, experiment.settings.rounds)
