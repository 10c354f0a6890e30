"""Experiment files: what is accepted, and every mistake in one at once."""

import json
import re
import typing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerlearn import experiment
from peerlearn.algorithms import ALGORITHMS, DSGD
from peerlearn.config import parse
from peerlearn.config_tables import read_graph
from peerlearn.data import files
from peerlearn.describe import settings_of
from peerlearn.errors import ConfigurationError
from peerlearn.experiment import load
from peerlearn.graphs import SCHEDULES, TOPOLOGIES, WEIGHTS, GraphSchedule
from peerlearn.schedules import RATES, Schedule
from peerlearn.tables import describe, in_toml, options_model
from peerlearn.tasks import TASKS

HEAD = "name = 'tiny'\nrounds = 6\n"
TASK = "[task]\nname = 'quadratic'\nagents = 4\n"
DIGITS = "[task]\nname = 'digits'\nagents = 4\n"
GRAPH = "[graph]\nname = 'cycle'\n"
METHOD = "[[algorithms]]\nname = 'DSGD'\nlr = 0.05\n"
TINY = HEAD + TASK + GRAPH + METHOD
MIXED = DSGD(lr=0.05, gradient_at="mixed")


def write(folder, text):
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


def problems(path, overrides=()):
    """Every mistake in an experiment file."""
    try:
        load(path, overrides)
    except ConfigurationError as error:
        return error.problems
    return []


def found(folder, text, *overrides):
    return problems(write(folder, text), overrides)


BAD = {
    "no task": (HEAD + GRAPH + METHOD, "task: missing; expected a table"),
    "no rounds": (TINY.replace("rounds = 6", ""), "rounds: missing; expected a whole number"),
    "no rounds at all": (TINY.replace("6", "0", 1), "rounds: got 0, expected .* at least 1"),
    "rounds as text": (TINY.replace("6", "'6'", 1), "rounds: got '6', expected a whole number"),
    "rounds not whole": (TINY.replace("6", "6.0", 1), "rounds: got 6.0, expected a whole number"),
    "unknown key": ("ronds = 3\n" + TINY, "ronds: unknown key; did you mean 'rounds'"),
    "name of no folder": (TINY.replace("tiny", "a/b"), "name: got 'a/b', expected a name"),
    "no seed": ("seeds = []\n" + TINY, r"seeds: got \[\], expected a list of whole numbers"),
    "negative seed": ("seeds = [0, -1]\n" + TINY, r"seeds: got \[0, -1\], .* from 0 to 4294967295"),
    "seed beyond 32 bits": (
        "seeds = [0, 4294967296]\n" + TINY, r"seeds: got \[0, 4294967296\], .* to 4294967295",
    ),
    "schedule in a list": (
        TINY.replace("0.05", "{schedule = ['log']}"),
        r"algorithms\[0\].lr.schedule: unknown schedule \['log'\]",
    ),
    "rate beyond float32": (
        TINY.replace("0.05", "1e39"),
        r"algorithms\[0\]: .* lr is 1e\+39 in round 0, expected at most 3.4e\+38",
    ),
    "rate that grows beyond float32": (
        TINY.replace("0.05", "{schedule = 'geometric', start = 1.0, factor = 1e30}"),
        r"algorithms\[0\]: .* lr is 1e\+\d+ in round \d+, expected at most 3.4e\+38",
    ),
    "partition's option": (
        TINY.replace(TASK, DIGITS + "partition = 'dirichlet'\npartition_options = {alpa = 1.0}\n"),
        r"task.partition_options.alpa: unknown key; did you mean 'alpha'",
    ),
    "seed of a partition": (
        TINY.replace(TASK, DIGITS + "partition = 'iid'\npartition_options = {seed = 1}\n"),
        r"task.partition_options.seed: unknown key",
    ),
    "value of a partition's option": (
        TINY.replace(
            TASK, DIGITS + "partition = 'dirichlet'\npartition_options = {alpha = -1.0}\n"
        ),
        r"task.partition_options.alpha: alpha is -1.0, expected a positive finite number",
    ),
    "sizes that are no list": (
        TINY.replace(TASK, DIGITS + "partition = 'by_size'\npartition_options = {sizes = 3}\n"),
        r"task.partition_options.sizes: got 3, expected a list",
    ),
    "seed twice": ("seeds = [1, 1]\n" + TINY, r"seeds: got \[1, 1\], .* each once"),
    "unknown engine": ("engine = 'staked'\n" + TINY, "engine: .*'staked'; did you mean 'stacked'"),
    "unknown device": ("device = 'gpu'\n" + TINY, "device: unknown device 'gpu'; use auto"),
    "unknown dtype": ("dtype = 'float16'\n" + TINY, "dtype: got 'float16', .*'float64'"),
    "unknown weights": ("weights = 'unifrm'\n" + TINY, "weights: .*did you mean 'uniform'"),
    "ragged weights": (
        "weights = [[1], [1, 2]]\n" + TINY, "weights: .*expected n rows of n numbers each",
    ),
    "weights of another team": (
        "weights = [[0.5, 0.5], [0.5, 0.5]]\n" + TINY, "weights are for 2 agents, the graph has 4",
    ),
    "weights for complete graphs": ("weights = 'uniform'\n" + TINY, "need a complete graph"),
    "task in a list": (
        TINY.replace("'quadratic'", "['quadratic']"), r"task.name: unknown task \['quadratic'\]",
    ),
    "unknown task": (TINY.replace("quadratic", "quadric"), "task.name: .*did you mean 'quadratic'"),
    "task without a name": (TINY.replace("name = 'quadratic'", ""), "task.name: missing; known"),
    "unknown option of a task": (TINY.replace("agents", "agent"), "task.agent: .*mean 'agents'"),
    "option of the task class": (
        HEAD + DIGITS + "batchsize = 4\n" + GRAPH + METHOD, "task.batchsize: .*mean 'batch_size'",
    ),
    "option of the wrong type": (TINY.replace("4", "'four'"), "task.agents: got 'four', expected"),
    "option that is no choice": (
        HEAD + DIGITS + "weighting = 'sizes'\n" + GRAPH + METHOD,
        "task.weighting: got 'sizes', expected 'equal' or 'size'",
    ),
    "option that is a function": (
        HEAD + DIGITS + "loss = 'mse'\n" + GRAPH + METHOD, "task.loss: unknown key",
    ),
    "negative seed of a task": (
        TINY.replace("agents", "seed = -3\nagents"), "task.seed: got -3, expected .* 0 or more",
    ),
    "device of another kind": (
        "device = 'mps'\n" + TINY, "device: device 'mps' is not supported; use auto, cpu or cuda",
    ),
    "unknown partition": (
        HEAD + DIGITS + "partition = 'by_clas'\n" + GRAPH + METHOD,
        "task.partition: .*mean 'by_class'",
    ),
    "empty batch": (
        HEAD + DIGITS + "batch_size = 0\n" + GRAPH + METHOD, "task.batch_size: batch_size is 0",
    ),
    "too many agents": (
        HEAD + DIGITS.replace("4", "5000") + GRAPH + METHOD, "samples for 5000 agents",
    ),
    "unknown graph": (TINY.replace("cycle", "cicle"), "graph.name: .*did you mean 'cycle'"),
    "unknown option of a graph": (HEAD + TASK + GRAPH + "k = 2\n" + METHOD, "graph.k: unknown key"),
    "impossible graph": (
        TINY.replace("4", "5").replace("cycle", "hypercube"), "graph: hypercube: got 5 agents",
    ),
    "missing file of edges": (
        HEAD + TASK + "[graph]\nname = 'edge_list'\npath = 'nowhere.txt'\n" + METHOD,
        "graph.*nowhere.txt",
    ),
    "no graph": (HEAD + TASK + METHOD, r"algorithms\[0\]: DSGD talks to neighbors; give a graph"),
    "unknown schedule": (
        HEAD + TASK + GRAPH + "[graph.schedule]\nname = 'link_failure'\n" + METHOD,
        "graph.schedule.name: unknown schedule .*mean 'link_failures'",
    ),
    "schedule without its option": (
        HEAD + TASK + GRAPH + "[graph.schedule]\nname = 'link_failures'\n" + METHOD,
        "graph.schedule.p: missing; expected a number",
    ),
    "schedule out of range": (
        HEAD + TASK + GRAPH + "[graph.schedule]\nname = 'link_failures'\np = 2\n" + METHOD,
        "graph.schedule.p: .*probability",
    ),
    "no algorithm": ("algorithms = []\n" + HEAD + TASK + GRAPH, "algorithms: got .* at least one"),
    "unknown algorithm": (TINY.replace("DSGD", "DiNO"), r"algorithms\[0\].name: .*mean 'DiNNO'"),
    "algorithm without a name": (TINY + "[[algorithms]]\n", r"algorithms\[1\].name: missing"),
    "label twice": (
        TINY + METHOD.replace("DSGD", "dsgd"), r"algorithms\[1\].label: .*another algorithm",
    ),
    "label of the report": (
        TINY + "label = 'Report.html'\n",
        r"algorithms\[0\].label: 'Report.html' is what peerlearn calls a file or folder of its own",
    ),
    "long label": (TINY + f"label = '{'a' * 61}'\n", r"algorithms\[0\].label: got 'aaa.* up to 60"),
    "label of no folder": (TINY + "label = 'a/b'\n", r"algorithms\[0\].label: got 'a/b', expected"),
    "unknown hyper-parameter": (TINY + "rho = 1\n", r"algorithms\[0\].rho: unknown key"),
    "negative rate": (TINY.replace("0.05", "-1"), r"algorithms\[0\].lr: lr is -1.0, expected"),
    "rate that is not a number": (
        TINY.replace("0.05", "nan"), r"algorithms\[0\].lr: lr is nan, expected a finite number",
    ),
    "rate as text": (TINY.replace("0.05", "'a'"), r"lr: got 'a', expected a number or a schedule"),
    "unknown rate": (
        TINY.replace("0.05", "{schedule = 'lgo'}"), r"\[0\].lr.schedule: .*did you mean 'log'",
    ),
    "rate without a schedule": (
        TINY.replace("0.05", "{start = 1}"), r"algorithms\[0\].lr.schedule: missing; known",
    ),
    "option of a rate": (
        TINY.replace("0.05", "{schedule = 'log', start = 1, end = 2, stop = 3}"),
        r"algorithms\[0\].lr.stop: unknown key",
    ),
    "negative end of a rate": (
        TINY.replace("0.05", "{schedule = 'linear', start = -1, end = 2}"),
        r"algorithms\[0\].lr.start: start of the linear schedule is -1",
    ),
    "unknown optimizer": (
        TINY + "[[algorithms]]\nname = 'Isolated'\noptimizer = 'adem'\n",
        r"algorithms\[1\].optimizer: unknown optimizer 'adem'; did you mean 'adam'",
    ),
    "optimizer that is not elementwise": (
        TINY + "[[algorithms]]\nname = 'Isolated'\noptimizer = 'lbfgs'\n",
        r"algorithms\[1\].optimizer: LBFGS .*elementwise",
    ),
    "option of an optimizer": (
        TINY + "[[algorithms]]\nname = 'Isolated'\noptions = {beta = 1}\n",
        r"algorithms\[1\].options: Adam takes no option 'beta'; did you mean 'betas'",
    ),
    "exact steps of a network": (
        HEAD + DIGITS + GRAPH + "[[algorithms]]\nname = 'ConsensusADMM'\n",
        r"algorithms\[0\]: ConsensusADMM needs a task .* use DiNNO",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_each_mistake_is_one_sentence_with_its_key(tmp_path, case):
    text, sentence = BAD[case]
    (only,) = found(tmp_path, text)
    assert re.search(sentence, only), only


def test_a_partitions_mistake_hides_no_other(tmp_path):
    for options in ("alpa = 1.0", "alpha = -1.0"):
        own = f"partition = 'dirichlet'\npartition_options = {{{options}}}\nbatch_size = 0\n"
        said = found(tmp_path, TINY.replace(TASK, DIGITS + own))
        assert sorted(s.split(":")[0].split(".")[1] for s in said) == [
            "batch_size", "partition_options"
        ]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_what_is_true_or_false_can_be_set(tmp_path, text, value):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY + "[[algorithms]]\nname = 'DiNNO'\n")
    loaded = experiment.load(path, [f"algorithms.DiNNO.persistent={text}"])
    assert loaded.algorithms["DiNNO"].persistent is value


def test_a_graph_that_falls_apart_is_told_once(tmp_path):
    edges = tmp_path / "edges.txt"
    edges.write_text("0 1\n2 3\n")
    graph = f"[graph]\nname = 'edge_list'\npath = '{edges}'\n"
    (only,) = found(tmp_path, HEAD + TASK + graph + METHOD + METHOD.replace("DSGD", "DSGT"))
    assert only.startswith("graph: the graph falls into 2 parts")


def test_weights_that_break_what_a_method_needs(tmp_path):
    rows = [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5], [0.5, 0, 0, 0.5]]
    text = f"weights = {rows}\n" + TINY  # doubly stochastic, not symmetric
    assert found(tmp_path, text) == []
    (only,) = found(tmp_path, text + METHOD.replace("DSGD", "CDSGD"))
    assert only.startswith("algorithms[1]: CDSGD: ")


def test_all_mistakes_are_told_together(tmp_path):
    wrong = [TINY.replace("6", "0", 1), "[graph.schedule]\nname = 'x'\n", METHOD + "rho = 1\n"]
    text = "".join(wrong).replace("0.05", "-1").replace("agents", "agent")
    paths = [line.split(": ")[0] for line in found(tmp_path, text, "nonsense", "seeds=x y")]
    expected = ["got the override 'nonsense', expected key=value, as in rounds=300", "seeds"]
    expected += ["rounds", "task.agent", "graph.schedule.name"]
    expected += ["algorithms[0].lr", "algorithms[1].rho", "algorithms[1].lr", "algorithms[1].label"]
    assert paths == expected


def test_a_wrong_task_hides_no_other_mistake(tmp_path):
    task = DIGITS.replace("4", "0") + "partition = 'by_clas'\nbatch_size = 0\nbatchsize = 3\n"
    schedule = "[graph.schedule]\nname = 'link_failures'\np = 2.0\n"
    lines = found(tmp_path, HEAD + task + GRAPH + schedule + METHOD.replace("0.05", "-1"))
    paths = [line.split(": ")[0] for line in lines]
    expected = ["agents", "batch_size", "batchsize", "partition"]
    assert sorted(paths) == [
        "algorithms[0].lr",
        "graph.schedule.p",
        *(f"task.{k}" for k in expected),
    ]


@pytest.mark.parametrize("wrong", ["smoothnes = 3\n", "smoothness = 'much'\n"])
def test_combinations_are_judged_beside_a_wrong_key_of_the_task(tmp_path, wrong):
    text = "weights = 'uniform'\n" + HEAD + TASK + wrong + GRAPH + METHOD
    first, second = found(tmp_path, text)
    assert first.startswith("task.smoothnes")
    assert "uniform weights need a complete graph" in second


def test_a_team_of_unknown_size_brings_no_false_alarm(tmp_path):
    """Ten agents, the default of the task, are no power of two; four would have been one."""
    text = TINY.replace("agents", "agent").replace("cycle", "hypercube")
    (only,) = found(tmp_path, text)
    assert only.startswith("task.agent: unknown key")


OF_ANY_SIZE = ("digits_stream", "graphical", "mapping", "pettingzoo", "pursuit", "quadratic")


@pytest.mark.parametrize(
    ("task", "agents"), [("digits", 1438), *((task, 10**30) for task in OF_ANY_SIZE)]
)
def test_no_graph_is_made_of_a_team_that_cannot_be(task, agents, tmp_path):
    """More nodes than there is memory for, or than a number of C can count."""
    text = TINY.replace("quadratic", task).replace("agents = 4", f"agents = {agents}")
    (only,) = found(tmp_path, text.replace("'cycle'", "'erdos_renyi'\np = 0.5\n"))
    assert re.match(rf"task.agents: .*\b{agents}\b.*, (expected|but .* has 3)", only)


def test_a_combination_is_told_at_its_method_even_after_a_wrong_one(tmp_path):
    text = TINY.replace("0.05", "-1") + "[[algorithms]]\nname = 'ConsensusADMM'\n"
    first, second = found(tmp_path, text.replace("quadratic", "digits"))
    assert first.startswith("algorithms[0].lr: ")
    assert second.startswith("algorithms[1]: ConsensusADMM needs a task")


def test_a_file_that_is_not_toml_names_the_line(tmp_path):
    (only,) = found(tmp_path, "name = 'a'\nrounds = = 3\n")
    assert "is not a TOML file" in only
    assert "line 2" in only


def test_a_file_that_is_not_there(tmp_path):
    (only,) = problems(tmp_path / "none.toml")
    assert only.startswith("cannot read")


def test_edges_that_a_schedule_would_lose_are_said(tmp_path):
    own = '[graph.schedule]\nname = "one_peer_exponential"\n'
    (only,) = found(tmp_path, TINY + own)
    assert "draws its own edges, so those of the graph cycle would be lost" in only
    whole = load(write(tmp_path, TINY.replace("cycle", "complete") + own))
    assert "over complete, one_peer_exponential" in whole.summary()
    drawn = {"name": "complete", "schedule": {"name": "proximity", "radius": 1.0}}
    alone, problems = read_graph(drawn, agents=1)  # without edges there are none to lose
    assert (alone.agents, problems) == (1, [])


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("rounds=3", lambda e: e.settings.rounds == 3),
        (" rounds = 3 ", lambda e: e.settings.rounds == 3),
        ("name=truest-1", lambda e: e.name == "truest-1"),
        ("task.agents=7", lambda e: e.first_task.agents == 7),
        ("algorithms.dsgd.lr=0.5", lambda e: e.algorithms["DSGD"].lr == 0.5),
        ("algorithms.0.lr=1", lambda e: e.algorithms["DSGD"].lr == 1),
        ("algorithms[0].lr=1", lambda e: e.algorithms["DSGD"].lr == 1),
        ("algorithms.DSGD.gradient_at=mixed", lambda e: e.algorithms["DSGD"] == MIXED),
        ("weights='lazy_metropolis'", lambda e: e.settings.weights == "lazy_metropolis"),
        ("graph.schedule.name=random_matchings", lambda e: isinstance(e.graph, GraphSchedule)),
        (
            "algorithms.DSGD.lr={schedule='log', start=1, end=0.1}",
            lambda e: e.algorithms["DSGD"].lr == RATES["log"](1, 0.1),
        ),
    ],
)  # fmt: skip
def test_overrides(tmp_path, override, read):
    assert read(load(write(tmp_path, TINY), [override]))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("rounds", "expected key=value"),
        ("=3", "got the override '=3', expected key=value"),
        ("rounds=1 2", "expected a TOML value"),
        ("algorithms.DSGT.lr=1", "no algorithm 'DSGT'; did you mean 'DSGD'"),
        ("algorithms.1.lr=1", "no algorithm '1'"),
        ("algorithms.DSGD=1", "expected the key of a table"),
        ("name.first=1", "expected the key of a table"),
        ("name.first.second=1", "no table"),
    ],
)
def test_overrides_that_lead_nowhere(tmp_path, override, sentence):
    (only,) = found(tmp_path, TINY, override)
    assert sentence in only


def test_an_override_of_methods_that_are_no_tables(tmp_path):
    said = found(tmp_path, HEAD + "algorithms = ['DSGD']\n" + TASK, "algorithms.DSGD.lr=1")
    assert any("no algorithm 'DSGD'; known: none" in sentence for sentence in said)
    assert any("algorithms: got ['DSGD'], expected one table" in sentence for sentence in said)


def test_a_folder_without_an_experiment(tmp_path):
    with pytest.raises(ConfigurationError, match=f"^{tmp_path} has no experiment.json that tells"):
        load(tmp_path)


def file_of(**changes):
    text = {"name": "tiny", "rounds": 2, "task": {"name": "quadratic", "agents": 4}}
    return {**text, "graph": {"name": "complete"}, "algorithms": [{"name": "DSGD"}], **changes}


def accepted(**changes):
    built, found = parse(file_of(**changes))
    assert not found
    return built


@pytest.mark.parametrize("method", ALGORITHMS, ids=lambda a: a.__name__)
def test_every_algorithm_takes_all_its_settings_from_a_file(method):
    """What the record says of the defaults is what a file may say, and means the same."""
    settings = {k: v for k, v in settings_of(method()).items() if v is not None}
    built = accepted(algorithms=[{"name": method.__name__, **settings}])
    assert built.algorithms == {method.__name__: method()}


OPTIONS = {
    "edge_list": {"path": ...}, "erdos_renyi": {"p": 0.9}, "random_regular": {"degree": 3},
    "small_world": {"neighbors": 4}, "barabasi_albert": {"links": 2},
    "random_geometric": {"radius": 2.0}, "link_failures": {"p": 0.5}, "proximity": {"radius": 1.0},
    "constant": {"value": 1.0}, "geometric": {"start": 1.0, "factor": 0.9},
}  # fmt: skip


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_graph_can_be_named(name, tmp_path):
    edges = tmp_path / "edges.txt"
    edges.write_text("".join(f"{i} {i + 1}\n" for i in range(15)))
    options = {k: str(edges) if v is ... else v for k, v in OPTIONS.get(name, {}).items()}
    team = {"name": "quadratic", "agents": 16}  # a square and a power of two
    assert len(accepted(task=team, graph={"name": name, **options}).graph) == 16


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_can_be_named(name):
    schedule = {"name": name, **OPTIONS.get(name, {})}
    built, found = parse(file_of(graph={"name": "complete", "schedule": schedule}))
    if name == "proximity":  # no task a file can name has agents that are somewhere
        assert [p.text.split(",")[0] for p in found] == ["proximity has no positions"]
    else:
        assert not found
        assert isinstance(built.graph, SCHEDULES[name])


@pytest.mark.parametrize("name", RATES)
def test_every_rate_can_be_named(name):
    options = OPTIONS.get(name, {"start": 1.0})
    if name in ("linear", "log"):
        options = {"start": 1.0, "end": 0.5}
    built = accepted(algorithms=[{"name": "DSGD", "lr": {"schedule": name, **options}}])
    assert built.algorithms["DSGD"].lr == RATES[name](**options)


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_weights_can_be_named(name):
    assert accepted(weights=name).settings.weights == name


@pytest.mark.parametrize("name", TASKS)
def test_what_a_task_may_say_is_known(name):
    from peerlearn.config_tables import _task_model

    known = set(_task_model(name).model_fields)
    assert {"name", "agents"} <= known
    assert ("seed" in known) is (name not in ("pettingzoo", "pursuit"))  # nothing of them is drawn
    assert not {"loss", "data", "test", "measures", "evaluate", "transform"} & known


def test_a_seed_deals_the_data_unless_the_file_fixes_it():
    task = {"name": "digits", "agents": 4, "partition": "iid"}
    free = accepted(task=task, seeds=[3, 4])
    fixed = accepted(task={**task, "seed": 5}, seeds=[3, 4])
    details = [[e.task(s).details["partition_seed"] for s in (3, 4)] for e in (free, fixed)]
    assert details == [[3, 4], [5, 5]]


def test_given_weights_reach_the_run():
    rows = np.full((4, 4), 0.25).tolist()
    request = accepted(weights=rows).request("DSGD", 0)
    assert np.array_equal(request["weights"], rows)


def test_the_description_is_an_experiment_again(tmp_path):
    every = [{"name": kind.__name__} for kind in ALGORITHMS]
    rate = {"schedule": "log", "start": 0.1, "end": 0.01}
    adam = {"name": "nosync", "label": "alone", "lr": rate, "options": {"betas": [0.8, 0.9]}}
    built = accepted(algorithms=[*every, adam])
    (tmp_path / experiment.FILE_NAME).write_text(json.dumps(built.describe()))
    again = load(tmp_path)
    assert again.algorithms == built.algorithms
    one, other = (e.settings.model_dump(exclude={"algorithms"}) for e in (again, built))
    assert one == other


SHIPPED = sorted((Path(__file__).parent.parent / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_experiments_are_fine(path):
    try:
        assert isinstance(load(path), experiment.Experiment)
    except ConfigurationError as error:
        if files.VARIABLE in str(error):
            pytest.skip("its data are not on this machine")
        raise


def test_there_are_shipped_experiments():
    assert "digits" in {path.stem for path in SHIPPED}


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (float | Schedule | None, "a number or a schedule such as"),
        (typing.Literal["a", "b"], "'a' or 'b'"),
        (list[int], "a list, each a whole number"),
        (dict[str, float], "a table"),
    ],
)
def test_types_in_words(hint, words):
    assert describe(typing.Union[tuple(in_toml(hint))]).startswith(words)  # noqa: UP007


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=3)))
def test_no_table_of_settings_raises_anything_but_problems(table):
    built, found = parse(file_of(algorithms=[{"name": "DiNNO", **table}]))
    assert (built is None) == bool(found)


def test_options_no_toml_value_can_fill_are_left_out():
    def function(a: int, b: typing.Callable[[], int], c: str | type = "x", **more: int): ...

    assert list(options_model(function).model_fields) == ["a", "c"]
