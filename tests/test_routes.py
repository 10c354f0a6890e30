"""What the links of several processes send, where it lands, and when they wait for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from peerlearn import graphs
from peerlearn.engines import processes
from peerlearn.engines.processes import ProcessesEngine
from peerlearn.team import Alone

WIDTH = 4


@dataclass
class Work:
    """A message, and whether somebody has waited for it."""

    awaited: bool = False


@dataclass
class Third(Alone):
    """One of three processes with two agents each, the others of which are not there."""

    rank: int = 0
    size: int = 3
    tag: int = 7
    waits: list[int] = field(default_factory=list)

    def reaching(self, peers):
        return torch.no_grad()  # any context will do

    def wait(self, works, peers=None):
        self.waits.append(len(works))
        for work in works:
            work.awaited = True


def engine(rank: int) -> ProcessesEngine:
    weights = graphs.as_rule("metropolis")
    return ProcessesEngine(6, weights, 10, dtype=torch.float64, team=Third(rank))


@pytest.fixture
def posted(monkeypatch) -> list[processes.TableLayout]:
    """The layouts of all exchanges, whose messages never leave."""
    found: list[processes.TableLayout] = []

    def begun(layout, tag):
        assert tag == 7
        found.append(layout)
        return [Work() for _ in layout.peers]

    monkeypatch.setattr(processes, "_begun", begun)
    return found


# of a path 0-1 | 2-3 | 4-5: to whom which rows go, and from whom which agents' rows come
PATH = {
    0: ([(1, [1])], [(1, [2])]),
    1: ([(0, [0]), (2, [1])], [(0, [1]), (2, [4])]),
    2: ([(1, [0])], [(1, [3])]),
}


@pytest.mark.parametrize("rank", PATH)
def test_only_rows_that_a_neighbor_elsewhere_needs_travel(rank):
    routes = engine(rank).links(0, graphs.path(6))._routes
    assert (routes.sends, routes.receives) == PATH[rank]
    assert routes.table.tolist() == [2 * rank, 2 * rank + 1, *(a for _, [a] in PATH[rank][1])]


def test_a_row_goes_once_to_a_process_with_several_of_its_neighbors():
    routes = engine(0).links(0, graphs.complete(6))._routes
    assert routes.sends == [(1, [0, 1]), (2, [0, 1])]
    assert routes.receives == [(1, [2, 3]), (2, [4, 5])]


def test_several_vectors_are_one_message_into_a_buffer_that_stays(posted):
    own, graph = engine(1), graphs.path(6)
    rows = torch.arange(2.0 * WIDTH, dtype=torch.float64).view(2, WIDTH)
    for round in range(5):
        own.links(round, graph).exchange(rows + round, -rows).mix()
    assert len({layout.table.data_ptr() for layout in posted}) == 1
    assert [layout.peers for layout in posted] == [[0, 2, 0, 2]] * 5
    assert all(part.shape == (1, 2 * WIDTH) for part in (p for _, p in posted[0].parts))
    assert torch.equal(posted[-1].own, torch.cat([rows + 4, -rows], dim=1))


def test_nobody_waits_before_the_answer_is_used(posted):
    own = engine(1)
    links = own.links(0, graphs.path(6))
    heard = links.exchange(torch.ones(2, WIDTH, dtype=torch.float64))
    assert own.team.waits == [], "the gradient is computed while messages are on their way"
    heard.mix()
    assert own.team.waits == [4]
    heard.difference()
    assert own.team.waits == [4], "they have come"


def test_an_answer_that_nobody_asks_for_is_waited_for_before_its_buffer_is_used_again(posted):
    own, rows = engine(1), torch.ones(2, WIDTH, dtype=torch.float64)
    own.links(0, graphs.path(6)).exchange(rows)
    own.links(1, graphs.path(6)).exchange(rows)
    assert own.team.waits == [4]


def test_exchanges_of_one_round_stand_in_tables_of_their_own(posted):
    own, rows = engine(1), torch.ones(2, WIDTH, dtype=torch.float64)
    links = own.links(0, graphs.path(6))
    links.exchange(rows)
    links.exchange(2 * rows)
    assert torch.equal(posted[0].own, rows)
    assert torch.equal(posted[1].own, 2 * rows)


def test_each_graph_and_each_width_has_a_table_that_fits(posted):
    own, path, complete = engine(1), graphs.path(6), graphs.complete(6)
    exchanges = [(path, 2), (complete, 2), (complete, 3), (path, 3)]
    for round, (graph, width) in enumerate(exchanges):
        own.links(round, graph).exchange(torch.ones(2, width, dtype=torch.float64))
    assert [tuple(layout.table.shape) for layout in posted] == [(4, 2), (6, 2), (6, 3), (4, 3)]
    assert [layout.peers for layout in posted] == [[0, 2, 0, 2]] * 4
