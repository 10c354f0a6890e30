"""The tables of an experiment file, each read, checked and built: task, graph and algorithms."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import networkx as nx
from pydantic import Field

from . import graphs
from .algorithm import Algorithm
from .algorithms import BY_NAME
from .algorithms.augmentation import STRATEGIES
from .data import PARTITIONS, SOURCES
from .data.drift import CHANGES
from .data.streams import STREAMS
from .errors import nearest, unknown
from .graphs import SCHEDULES, TOPOLOGIES, WEIGHTS, GraphSchedule
from .graphs.topologies import SIZED
from .record import EXPERIMENT_FILE, FIGURES, PAGE, TABLE
from .schedules import RATES
from .tables import Problem, at_key, checked, in_toml, join, keys_of, options_model
from .tasks import OPTIONS, TASKS, BaseTask
from .tasks.models import MODELS
from .tasks.options import GIVEN

FOLDER_NAME = r"^\w[\w .,=+-]{0,59}$"
NAME_WORDS = "a name for a folder: up to 60 letters, digits, spaces and _ . , = + -"
TAKEN = (EXPERIMENT_FILE, PAGE, TABLE, FIGURES)  # in the folder of an experiment
SCHEDULE = (
    dict[str, Any] | None,
    Field(None, description="a table such as {name = 'random_matchings'}"),
)
ENTRIES: Mapping[str, Mapping[str, Any]] = {
    "tasks": TASKS,
    "graphs": TOPOLOGIES,
    "schedules": SCHEDULES,
    "algorithms": BY_NAME,
    "rates": RATES,
    "partitions": PARTITIONS,
    "drifts": CHANGES,
    "weights": WEIGHTS,
    "data": {name: source.load for name, source in SOURCES.items()},
    "streams": STREAMS,
    "augmentations": STRATEGIES,
}
"""kind -> name -> what it stands for."""
TABLES: Mapping[str, Callable[[str], tuple[Any, Sequence[Callable[..., Any]]]]] = {
    "tasks": lambda n: (_task_model(n), _takers(n)),
    "graphs": lambda n: (_graph_model(n), [SIZED.get(n, TOPOLOGIES[n])]),
    "schedules": lambda n: (_schedule_model(n), [SCHEDULES[n]]),
    "algorithms": lambda n: (_algorithm_model(BY_NAME[n]), [BY_NAME[n]]),
    "rates": lambda n: (options_model(RATES[n]), [RATES[n]]),
    "partitions": lambda n: (_choice_model(PARTITIONS[n]), [PARTITIONS[n]]),
    "drifts": lambda n: (_choice_model(CHANGES[n]), [CHANGES[n]]),
}
"""kind -> of a name, what its table in a file may say, and what takes that."""
# arguments of tasks that name something with options of its own, in a table beside them
CHOICES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "partition": PARTITIONS,
    "drift": CHANGES,
}
# what a built-in task says of itself
OWN_OF_TASK = (*GIVEN, "source", "falls", "shared", "in_turn")


def _named(
    table: Any, path: str, kind: str, known: Collection[str]
) -> tuple[str | None, list[Problem]]:
    """The name in the table at a path, if it is one of the known ones of its kind."""
    if not isinstance(table, dict):
        return None, []  # said where the outermost table is checked
    name, where = table.get("name"), join(path, "name")
    if name is None:
        return None, [Problem(where, f"missing; {nearest('', known)}")]
    if not isinstance(name, str) or name not in known:
        return None, [Problem(where, str(unknown(kind, name, known)))]
    return name, []


def read_task(table: Any, seed: int) -> tuple[BaseTask | None, list[Problem]]:
    """The task, built without the keys that are wrong, so that the others are judged, too."""
    name, problems = _named(table, "task", "task", TASKS)
    if name is None:
        return None, problems
    right, problems = checked(_task_model(name), table, "task")
    wrong = [key for key in table if key not in right]
    for argument in CHOICES:
        found = _chosen_options(argument, right)
        problems += found
        wrong += [f"{argument}_options"] if found else []
    task, found = _build_task(dict(table), wrong, seed) if right else (None, [])
    return task, problems + found


def _chosen_options(argument: str, right: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the options of what a task's argument names, a table of their own."""
    name, key = right.get(argument), f"{argument}_options"
    options, known = right.get(key), CHOICES[argument]
    if options is None or not isinstance(name, str) or name not in known:
        return []
    return checked(_choice_model(known[name]), options, f"task.{key}")[1]


def _build_task(
    table: dict[str, Any], wrong: list[str], seed: int
) -> tuple[BaseTask | None, list[Problem]]:
    """A key that the task complains about is said and left out, until no complaint is left.

    What it says because of a key that was left out is no mistake of its own.
    """
    problems: list[Problem] = []
    task: BaseTask | None
    while True:
        table = {key: value for key, value in table.items() if key not in wrong}
        try:
            task = make_task(table, seed)
            sentences = task.problems()
        except (ValueError, OSError) as error:
            task, sentences = None, [str(error)]
        found = [_of_task(sentence, table) for sentence in sentences]
        problems += [p for p in found if not any(_mentions(p.text, key) for key in wrong)]
        keys = {p.path.removeprefix("task").removeprefix(".") for p in found} - {"", "name"}
        keys = {key.split(".")[0] for key in keys}
        if not keys:
            return task, problems
        wrong = [*wrong, *keys]


def _of_task(sentence: str, table: Mapping[str, Any]) -> Problem:
    """A task's sentence, at the key that it speaks of, be it one of the options of a choice."""
    found = at_key("task", sentence, table)
    for argument in CHOICES:
        options = table.get(f"{argument}_options")
        if found.path == "task" and isinstance(options, dict):
            nested = at_key(f"task.{argument}_options", sentence, options)
            found = nested if nested.path.count(".") > 1 else found
    return found


def _mentions(text: str, key: str) -> bool:
    return re.search(rf"\b{re.escape(key)}\b", text) is not None


def team_size(table: Any, task: BaseTask | None, problems: list[Problem]) -> int | None:
    """The size of the team, if it is sure: the file says so, or no key of the task is wrong.

    A size that the task refuses is none: a graph of as many agents could be made for hours.
    """
    stated = table.get("agents") if isinstance(table, dict) else None
    refused = any(p.path == "task.agents" for p in problems)
    if isinstance(stated, int) and stated >= 1 and not refused:
        return stated
    return task.agents if task is not None and not problems else None


def describe_table(kind: str, name: str) -> Iterator[tuple[str, str, str]]:
    """What the table of one of `TABLES` may say besides its name, as `keys_of` tells it.

    That of a partition or a drift is the task's ``partition_options`` or ``drift_options``.

    Raises:
        ValueError: an unknown name; the nearest valid one is named.
    """
    found = next((n for n in ENTRIES[kind] if n.lower() == name.lower()), None)
    if found is None:
        raise unknown(kind.removesuffix("s"), name, ENTRIES[kind])
    return (line for line in keys_of(*TABLES[kind](found)) if line[0] != "name")


def _task_model(name: str) -> Any:
    """What a task may be told, with the options that it hands on."""
    fields: dict[str, Any] = {"name": (str, ...)}
    if _takes(name, "seed"):
        fields["seed"] = (int, Field(None, ge=0, description="a whole number, 0 or more"))
    for argument, known in {**CHOICES, "model": MODELS}.items():
        if _takes(name, argument):
            names = " or ".join(map(repr, known))
            fields[argument] = (str, Field(None, description=names))
    return options_model(*_takers(name), skip=OWN_OF_TASK, **fields)


def _takers(name: str) -> tuple[Callable[..., Any], ...]:
    """The function of a task, and what takes the options that it hands on."""
    return (TASKS[name], *OPTIONS.get(name, ()))


def _choice_model(choice: Callable[..., Any]) -> Any:
    """The other arguments of what one of `CHOICES` names are the task's."""
    return options_model(choice, skip=("targets", "agents", "seed"))


def _takes(name: str, argument: str) -> bool:
    """Whether a task has an argument that a file can give, be it one that it hands on."""
    return any(in_toml(typing.get_type_hints(f).get(argument)) for f in _takers(name))


def make_task(table: Mapping[str, Any], seed: int) -> BaseTask:
    """The task of a table that is right; its data are dealt out under the seed, or its own."""
    name = table["name"]
    drawn = {"seed": seed} if _takes(name, "seed") else {}
    return TASKS[name](**{**drawn, **{k: v for k, v in table.items() if k != "name"}})


def read_graph(
    table: Any, agents: int | None
) -> tuple[nx.Graph | GraphSchedule | None, list[Problem]]:
    """The graph for a team of that size, under its schedule if it has one."""
    name, problems = _named(table, "graph", "graph", TOPOLOGIES)
    if name is None:
        schedule = table.get("schedule") if isinstance(table, dict) else None
        return None, problems + _scheduled(None, schedule)[1]
    options, problems = checked(_graph_model(name), table, "graph")
    graph = None
    if agents is not None and options:
        options = {k: v for k, v in options.items() if k not in ("name", "schedule")}
        try:
            graph = graphs.build(name, agents, **options)
        except (ValueError, OSError) as error:
            problems.append(at_key("graph", str(error), table))
    scheduled, found = _scheduled(graph, table.get("schedule"))
    problems += found
    return (None if problems else scheduled), problems


def _graph_model(name: str) -> Any:
    """The first argument, how many agents there are, is the task's."""
    builder = SIZED.get(name, TOPOLOGIES[name])
    return options_model(builder, skip=[_first_of(builder)], name=(str, ...), schedule=SCHEDULE)


def _schedule_model(name: str) -> Any:
    """The first argument is the graph."""
    schedule = SCHEDULES[name]
    return options_model(schedule, skip=[_first_of(schedule)], name=(str, ...))


def _first_of(function: Callable[..., Any]) -> str:
    """The name of its first argument."""
    return next(iter(inspect.signature(function).parameters))


def _algorithm_model(kind: type[Algorithm]) -> Any:
    label = (str, Field(None, pattern=FOLDER_NAME, description=NAME_WORDS))
    return options_model(kind, name=(str, ...), label=label)


def _scheduled(
    graph: nx.Graph | None, table: Any
) -> tuple[nx.Graph | GraphSchedule | None, list[Problem]]:
    """The graph under its schedule, if it has one; without a graph only the schedule's options."""
    name, problems = _named(table, "graph.schedule", "schedule", SCHEDULES)
    if name is None:
        return graph, problems
    options, problems = checked(_schedule_model(name), table, "graph.schedule")
    if not options:
        return None, problems
    options.pop("name")
    try:
        _require_edges(name, graph)
        schedule = graphs.build_schedule(name, graph or nx.complete_graph(2), **options)
    except ValueError as error:
        return None, [*problems, at_key("graph.schedule", str(error), table)]
    return (None if graph is None else schedule), problems


def _require_edges(schedule: str, graph: nx.Graph | None) -> None:
    """A schedule of agents, not of a graph, draws its own edges: those of the graph are lost."""
    own = graphs.schedules.of_agents(schedule)
    if not own or graph is None or nx.density(graph) == 1 or len(graph) == 1:
        return
    raise ValueError(
        f"schedule {schedule} draws its own edges, so those of the graph "
        f"{graph.graph.get('name', '')} would be lost; name the graph 'complete'"
    )


def read_algorithms(tables: Any) -> tuple[dict[str, Algorithm], dict[str, str], list[Problem]]:
    """label -> method, and label -> where it stands in the file."""
    methods: dict[str, Algorithm] = {}
    paths: dict[str, str] = {}
    seen: set[str] = set()
    problems = []
    for number, table in enumerate(tables if isinstance(tables, list) else []):
        path = join("algorithms", number)
        label, method, found = _algorithm(table, path)
        problems += found
        if label and label.lower() in seen:  # many file systems do not tell A from a
            problems.append(Problem(
                join(path, "label"),
                f"{label!r} is the label of another algorithm; labels name folders and figures, "
                "give each its own",
            ))  # fmt: skip
        if label.lower() in TAKEN:
            problems.append(Problem(
                join(path, "label"),
                f"{label!r} is what peerlearn calls a file or folder of its own there; choose "
                "another label",
            ))  # fmt: skip
        seen.add(label.lower())
        if method is not None:
            methods[label], paths[label] = method, path
    return methods, paths, problems


def _algorithm(table: Any, path: str) -> tuple[str, Algorithm | None, list[Problem]]:
    if not isinstance(table, dict):
        return "", None, []
    names = [n for n in BY_NAME if n.lower() == str(table.get("name")).lower()]
    table = {**table, "name": names[0]} if names else table
    name, problems = _named(table, path, "algorithm", BY_NAME)
    if name is None:
        return "", None, problems
    kind = BY_NAME[name]
    settings, problems = checked(_algorithm_model(kind), table, path)
    shown = settings.pop("label", None) or kind.__name__
    settings.pop("name", None)
    problems += _setting_problems(kind, settings, path)
    return shown, None if problems else kind(**settings), problems


def _setting_problems(kind: type[Algorithm], settings: dict[str, Any], path: str) -> list[Problem]:
    """What the method says of its hyper-parameters, from an instance that does not refuse them."""
    lenient = type(kind.__name__, (kind,), {"__post_init__": lambda self: None})
    sentences = lenient(**settings).problems()
    optimizer = "optimizer" if "optimizer" in settings else "options"
    found = [at_key(path, sentence, settings) for sentence in sentences]
    unclear = path if optimizer not in settings else join(path, optimizer)
    return [p if p.path != path else Problem(unclear, p.text) for p in found]
