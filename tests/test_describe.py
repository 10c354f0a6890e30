"""Descriptions: the same in every process, and another one for whatever is not the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import sparse

import peerlearn as pl
from peerlearn import graphs
from peerlearn.describe import describe_graph, describe_schedule, digest, plain, settings_of


def rule(graph: nx.Graph, share: float = 0.5) -> sparse.csr_array:
    return graphs.metropolis(graph)


def ring(round: int, agents: int = 4) -> nx.Graph:
    return graphs.cycle(agents)


class Callable:
    """A rule with an address, and with something in it."""

    def __init__(self, share: float) -> None:
        self.share, self.cache = share, {}

    def __call__(self, graph: nx.Graph) -> sparse.csr_array:
        return rule(graph)


@dataclass(frozen=True)
class Position:
    step: float

    def __call__(self, round: int) -> np.ndarray:
        return np.zeros((4, 2))


WEIGHTS = {
    "name": lambda: "metropolis",
    "function": lambda: rule,
    "lazy": lambda: graphs.lazy(graphs.metropolis),
    "lazy own": lambda: graphs.lazy(partial(rule, share=0.1)),
    "partial": lambda: partial(rule, share=0.25),
    "other partial": lambda: partial(rule, share=0.75),
    "object": lambda: Callable(0.25),
    "other object": lambda: Callable(0.75),
    "matrix": lambda: np.array([[0.5, 0.5], [0.5, 0.5]]),
    "same pattern": lambda: np.array([[0.4, 0.6], [0.6, 0.4]]),
    "three": lambda: np.eye(3),
}
SCHEDULES = {
    "function": lambda: graphs.function(ring, 4),
    "partial": lambda: graphs.function(partial(ring, agents=4), 4),
    "positions": lambda: graphs.proximity(4, 1.0, Position(0.5)),
    "other positions": lambda: graphs.proximity(4, 1.0, Position(0.25)),
    "partial positions": lambda: graphs.proximity(4, 1.0, partial(np.full, (4, 2))),
    "failures": lambda: graphs.link_failures(graphs.cycle(4), p=0.1),
    "other failures": lambda: graphs.link_failures(graphs.cycle(4), p=0.2),
    "matchings": lambda: graphs.random_matchings(graphs.cycle(4), seed=1),
}


def check(texts: list[str]) -> None:
    """Nothing in memory shows, and no two are alike."""
    assert not any("0x" in text or " at 0" in text for text in texts)
    assert len(set(texts)) == len(texts)


def test_weights_are_told_apart_and_tell_no_address():
    texts = [digest(make()) for make in WEIGHTS.values()]
    check(texts)
    assert texts == [digest(make()) for make in WEIGHTS.values()]
    assert digest(WEIGHTS["lazy"]()) == "lazy(rule=metropolis)"


def test_a_matrix_is_its_numbers_however_it_is_given():
    matrix = WEIGHTS["matrix"]()
    ways = [matrix, matrix.tolist(), sparse.csr_array(matrix), graphs.given(matrix)]
    assert len({digest(way) for way in ways}) == 1
    assert digest(graphs.lazy(graphs.given(matrix))) != digest(
        graphs.lazy(graphs.given(WEIGHTS["same pattern"]()))
    )


def test_schedules_are_told_apart_and_tell_no_address():
    texts = [json.dumps(describe_schedule(make())) for make in SCHEDULES.values()]
    check(texts)
    assert texts == [json.dumps(describe_schedule(make())) for make in SCHEDULES.values()]
    assert describe_schedule(SCHEDULES["failures"]())["schedule"] == "link_failures(p=0.1, seed=0)"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (torch.float64, "torch.float64"),
        (torch.device("cpu"), "cpu"),
        ((1, None, True, "x"), [1, None, True, "x"]),
        ({1: rule}, {"1": "rule"}),
        (torch.optim.Adam, "Adam"),
        (object(), {"class": "object"}),
        (Callable(0.5), {"class": "Callable", "share": 0.5}),
        (partial(rule, 1, share=2), {"partial": "rule", "args": [1], "share": 2}),
        (pl.schedules.log(1.0, 0.5), {"schedule": "log", "start": 1.0, "end": 0.5}),
    ],
)
def test_values_in_json(value, told):
    assert json.loads(json.dumps(plain(value))) == told


@pytest.mark.parametrize("make", [torch.tensor, np.array], ids=["torch", "numpy"])
def test_arrays_are_told_by_every_entry_and_their_shape(make):
    arrays = [make([1.0, 2.0]), make([1.0, 3.0]), make([[1.0, 2.0]])]
    check([plain(a) for a in arrays])
    assert plain(make([1.0, 2.0])) == plain(arrays[0])


def test_numbers_of_half_precision_are_told_as_well():
    assert plain(torch.ones(2, dtype=torch.bfloat16)) == plain(torch.ones(2))


def test_settings_take_numbers_of_numpy():
    assert json.dumps(settings_of(pl.DiNNO(local_steps=np.int64(2))))


PLACES = {
    "one node only": {0: (0.0, 1.0)},
    "three coordinates": {a: (0.0, 1.0, 2.0) for a in range(4)},
    "not finite": {a: (0.0, float("nan")) for a in range(4)},
    "words": dict.fromkeys(range(4), "here"),
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_positions_that_cannot_be_drawn_are_left_out(places):
    graph = nx.cycle_graph(4)
    nx.set_node_attributes(graph, places, "position")
    graph.graph["name"] = 5
    told = describe_graph(graphs.as_schedule(graph), graphs.metropolis)
    assert "positions" not in told
    assert told["name"] == "5"
