"""What the processes of a team tell one another between rounds."""

from __future__ import annotations

import pytest
import torch

from peerlearn.errors import ConfigurationError
from peerlearn.meetings import Meetings
from peerlearn.team import Alone

OWN = torch.tensor([False, True])  # of the agents 0 and 1, those at fault


class Beside(Alone):
    """The first of two processes with two agents each; what the other one says is given."""

    graphs = 7

    def __init__(self, faults=(-1, -1), stop=0, cut_off=0, longest_ms=0, graphs=7, reaches=True):
        self._told = torch.tensor(
            [[fault, 99, stop, cut_off, longest_ms, graphs] for fault in faults]
        )
        self._reaches, self.paces = reaches, []

    @property
    def reaches_store(self):
        return self._reaches

    def share(self, values, total):
        return torch.cat([values, self._told if values.dim() > 1 else self._told[:, 2]])

    def next_meeting(self, done):
        return done + 3

    def paced(self, longest_round_s):
        self.paces.append(longest_round_s)


def meetings(**told):
    return Meetings(Beside(**told), agents=2, total=4)


def test_without_news_there_is_none():
    assert meetings().hold(8, stop=False) == (None, False, False)


@pytest.mark.parametrize("first", [True, False])
def test_one_who_asks_stops_all_and_one_who_is_cut_off_is_heard_of(first):
    assert meetings(stop=not first).hold(8, stop=first).stop
    assert meetings(stop=not first).anybody(first)
    assert meetings(cut_off=not first, reaches=not first).hold(8, stop=False).cut_off


def test_the_first_process_says_when_they_meet_again():
    team = meetings()
    assert team.due(0)
    team.hold(8, stop=False)
    assert [team.due(done) for done in (10, 11, 12)] == [False, True, True]


@pytest.mark.parametrize(
    ("faults", "found"), [((-1, -1), (5, [1])), ((5, -1), (5, [1, 2])), ((6, 0), (0, [3]))]
)
def test_the_earliest_fault_of_all_agents_is_told(faults, found):
    team = meetings(faults=faults)
    assert not team.faulty
    team.mark(OWN, 5)
    team.mark(~OWN | OWN, 6)  # later, agent 1 is at fault still
    assert team.faulty
    assert team.hold(8, stop=False).fault == found


def test_a_fault_at_the_start_is_one():
    team = meetings()
    team.mark(OWN, 0)
    assert team.faulty


@pytest.mark.parametrize("graphs", [6, 8])
def test_whose_graphs_were_others_is_told(graphs):
    with pytest.raises(ConfigurationError, match=r"by round 8 .* hosts agent 2 had taken other gr"):
        meetings(graphs=graphs).hold(8, stop=False)


@pytest.mark.parametrize(
    ("start_s", "rounds", "others_ms", "paces"),
    [
        (0.0, [(9.0, False)], 500, []),  # a run goes on, and an evaluation takes longer
        (0.0, [(9.0, False), (0.2504, True)], 100, [0.251]),
        (0.0, [(0.3, True), (0.1, False)], 100, [0.3]),
        (0.0, [(0.3, True), (0.4, False)], 100, [0.4]),
        (0.0, [(0.3, True)], 500, [0.5]),
        (0.0, [(0.3, True)], 0, []),  # the other one does not know yet
        (2.0, [(0.3, False)], 100, [2.0]),
        (2.0, [(3.0, False), (2.5, False)], 100, [3.0]),
        (2.0, [], 100, []),
    ],
)
def test_all_are_as_patient_as_the_longest_round_asks_once_all_know_one(
    start_s, rounds, others_ms, paces
):
    team = meetings(longest_ms=others_ms)
    team.started(start_s)
    for seconds, evaluated in rounds:
        team.took(seconds, evaluated)
    team.hold(8, stop=False)
    assert team._team.paces == paces
