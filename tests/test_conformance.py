"""Every method keeps the contract, and methods that break it are caught."""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import networkx as nx
import pytest
import torch
from torch import Tensor

import peerlearn as pl
from peerlearn import schedules
from peerlearn.algorithm import Algorithm, Needs, Shared, ThetaState
from peerlearn.algorithms import ALGORITHMS
from peerlearn.engines import StackedEngine
from peerlearn.testing import InMemoryEngine, check_algorithm, run_alone

VARIANTS = [
    pl.DiNNO(persistent=True),
    pl.DiNNO(rho=schedules.geometric(0.2, 1.003), lr=schedules.log(0.01, 0.001), local_steps=3),
    pl.DiNNO(optimizer="sgd", lr=0.02, clip=0.5, weight_decay=0.01),
    pl.ConsensusADMM(rho=schedules.linear(0.5, 1.0), weight_decay=0.1),
    pl.DSGD(lr=0.05, gradient_at="mixed"),
    pl.DSGT(lr=schedules.constant(0.03), clip=1.0, weight_decay=0.01),
    pl.CDSGD(lr=schedules.diminishing(0.05), clip=1.0, weight_decay=0.01),
    pl.CDMSGD(kind="polyak", momentum=0.5),
    pl.DMSGD(omega=0.0, lr=schedules.decaying(0.05)),
    pl.DMSGD(omega=1.0),
    pl.DMSGD(consensus="momentum"),
    pl.Centralized(optimizer="sgd", options={"momentum": 0.9}, clip=1.0, weight_decay=0.01),
    pl.Isolated(optimizer=torch.optim.RMSprop, local_steps=2, lr=schedules.linear(0.01, 0.0)),
    pl.Serial(optimizer="adam", clip=1.0, weight_decay=0.01),
    pl.PeriodicAveraging(period=2, optimizer="rmsprop", lr=0.01),
    pl.PeriodicAveraging(optimizer="sgd", options={"momentum": 0.9}, clip=1.0, weight_decay=0.01),
    pl.FedAvg(optimizer="adam", lr=0.01, local_steps=2, fraction=0.4),
    pl.FedAvg(options={"momentum": 0.9}, lr=0.02, local_epochs=2, fraction=0.7),
    pl.FedAvg(optimizer="adam", lr=0.01, local_steps=2, unselected="train"),
    pl.FedAvg(optimizer="adagrad", lr=0.01, local_epochs=1, unselected="train", clip=1.0),
    pl.DynamicAveraging(delta=0.01, optimizer="adam", lr=0.01),
    pl.DynamicAveraging(delta=2.0, period=2, augment="growing", weight_decay=0.01),
    pl.DynamicAveraging(delta=2.0, augment="farthest"),
    pl.DynamicAveraging(delta=2.0, augment=lambda b: b.outside[-1:]),
]


@pytest.mark.parametrize("method", [kind() for kind in ALGORITHMS] + VARIANTS, ids=lambda m: m.name)
def test_every_method_keeps_the_contract(method):
    check_algorithm(method)


def test_the_list_of_methods_is_complete():
    package = pl.algorithms
    modules = [
        importlib.import_module(f"{package.__name__}.{m.name}")
        for m in pkgutil.iter_modules(package.__path__)
    ]
    written = {
        kind
        for module in modules
        for kind in vars(module).values()
        # Python 3.10 says that Callable[..., int] is an instance of ABCMeta
        if type(kind) is type(Algorithm) and issubclass(kind, Algorithm)
        if not inspect.isabstract(kind)
    }
    assert written == set(ALGORITHMS)


# --- the checks are checked -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Own(Algorithm):
    """A correct method, which each of the following breaks in one place."""

    lr: float = 0.05
    State: ClassVar[type] = ThetaState

    def start(self, theta, learner, links):
        return ThetaState(theta.clone())

    def round(self, s, learner, links):
        (mixed,) = links.exchange(s.theta).mix()
        return ThetaState(mixed - self.lr * learner.gradient(s.theta))


class ChangesFirstTheta(Own):
    def start(self, theta, learner, links):
        return ThetaState(theta.add_(1.0).clone())


class KeepsFirstTheta(Own):
    def start(self, theta, learner, links):
        return ThetaState(theta)


class ChangesState(Own):
    def round(self, s, learner, links):
        s.theta.sub_(self.lr * learner.gradient(s.theta))
        return ThetaState(links.exchange(s.theta).mix()[0])


class ConsumesState(ChangesState):
    consumes_state: ClassVar[bool] = True


class Pair(NamedTuple):
    theta: Tensor
    other: Tensor


class SharesMemory(Own):
    State: ClassVar[type] = Pair

    def start(self, theta, learner, links):
        return Pair(theta.clone(), theta.clone())

    def round(self, s, learner, links):
        theta = super().round(s, learner, links).theta
        return Pair(theta, theta)


class LooksAtOthers(Own):
    def round(self, s, learner, links):
        return ThetaState(s.theta.mean(dim=0) - self.lr * learner.gradient(s.theta))


class ClipsOverAgents(Own):
    def round(self, s, learner, links):
        gradient = learner.gradient(s.theta)
        (mixed,) = links.exchange(s.theta).mix()
        return ThetaState(mixed - self.lr * gradient / (1 + gradient.norm()))


class DrawsGlobally(Own):
    def round(self, s, learner, links):
        theta = super().round(s, learner, links).theta
        return ThetaState(theta + 1e-3 * torch.randn_like(theta))


class RemembersOnItself(Own):
    def round(self, s, learner, links):
        count = getattr(self, "count", 0) + 1
        object.__setattr__(self, "count", count)
        return ThetaState(super().round(s, learner, links).theta / count)


class Talks(Own):
    communicates: ClassVar[bool] = False


class TalksToTheCoordinator(Own):
    def round(self, s, learner, links):
        links.coordinator.send(s.theta[0], range(links.total))
        return super().round(s, learner, links)


class DrawsTwice(Own):
    def round(self, s, learner, links):
        learner.gradient(s.theta)
        return super().round(s, learner, links)


class SharesItsOwnState(NamedTuple):
    theta: Tensor
    first: Shared


class SharesItsOwn(Own):
    """Marks as alike what is each agent's own."""

    State: ClassVar[type] = SharesItsOwnState

    def start(self, theta, learner, links):
        return SharesItsOwnState(theta.clone(), theta[0].clone())

    def round(self, s, learner, links):
        return s._replace(theta=super().round(s, learner, links).theta)


class MovesAverage(Own):
    preserves_average: ClassVar[bool] = True

    def round(self, s, learner, links):
        return ThetaState(1.01 * super().round(s, learner, links).theta)


class DualsThatStay(Own):
    def vanishing(self, s):
        return s.theta


class Global(NamedTuple):
    theta: Tensor
    mean: Tensor


class ForgetsAgentAxis(Own):
    State: ClassVar[type] = Global

    def start(self, theta, learner, links):
        return Global(theta.clone(), theta.mean(dim=0))

    def round(self, s, learner, links):
        return Global(super().round(s, learner, links).theta, s.mean.clone())


class OnlyDouble(Own):
    def round(self, s, learner, links):
        return ThetaState(super().round(s, learner, links).theta.double())


class OtherState(Own):
    def round(self, s, learner, links):
        return (super().round(s, learner, links).theta,)


class Explodes(Own):
    def round(self, s, learner, links):
        return ThetaState(super().round(s, learner, links).theta / 0)


@pytest.mark.parametrize("method", [Own(), ConsumesState()], ids=lambda m: m.name)
def test_correct_methods_pass(method):
    check_algorithm(method)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (ChangesFirstTheta, "changes the theta"),
        (KeepsFirstTheta, "shares memory with the theta that start was given"),
        (ChangesState, "changes theta of the state"),
        (SharesMemory, "other shares memory with theta"),
        (LooksAtOthers, "when every agent lives alone"),
        (ClipsOverAgents, "when every agent lives alone"),
        (DrawsGlobally, "when run again under the same seed"),
        (RemembersOnItself, "when resumed"),
        (Talks, "has sent"),
        (TalksToTheCoordinator, "does not declare Needs.COORDINATOR"),
        (DrawsTwice, "declares at most 3"),
        (SharesItsOwn, "agents hold different ones"),
        (MovesAverage, "declares preserves_average"),
        (DualsThatStay, "vanishing rows whose sum"),
        (ForgetsAgentAxis, "expected one row per agent"),
        (OnlyDouble, "expected (4, 3) float32"),
        (OtherState, "returns a tuple"),
        (Explodes, "not finite"),
    ],
)
def test_broken_methods_are_caught(kind, complaint):
    with pytest.raises(AssertionError) as caught:
        check_algorithm(kind())
    assert complaint in str(caught.value)
    assert kind.__name__ in str(caught.value)


def test_one_round_is_too_few():
    with pytest.raises(ValueError, match="at least 2"):
        check_algorithm(Own(), rounds=1)


def test_own_tasks_are_used():
    seen = []

    @dataclass(frozen=True)
    class Watched(pl.tasks.QuadraticTask):
        def learner(self, *arguments):
            seen.append(self)
            return super().learner(*arguments)

    task = pl.tasks.quadratic(5, seed=1)
    check_algorithm(Own(lr=0.01), tasks=[Watched(task.hessians, task.optima)])
    assert seen


# --- the engine in which everybody is alone ---------------------------------------------------


def test_messages_and_bytes_are_those_of_the_stacked_engine():
    task, graph = pl.tasks.quadratic(5, dimension=3), pl.graphs.star(5)
    run = pl.train(task, pl.DSGT(lr=0.01), graph, rounds=3, dtype="float64", device="cpu")
    engine = InMemoryEngine(5, rounds=3)
    run_alone(pl.DSGT(lr=0.01), task, graph, rounds=3, engine=engine)
    for name, counts in engine.traffic.agents().items():
        assert counts.tolist() == run.final[name].tolist()


def test_neighborhoods_are_those_of_the_stacked_engine():
    @dataclass(frozen=True, kw_only=True)
    class Greatest(Own):
        """Takes the largest entry that any neighbor sent, and remembers from whom."""

        def round(self, s, learner, links):
            (rows,), mask, agents = links.exchange(s.theta).rows()
            heard = rows.where(mask[..., None], torch.tensor(-torch.inf, dtype=rows.dtype))
            best, place = heard.max(dim=1)
            return ThetaState(best + torch.gather(agents, 1, place))

    check_algorithm(Greatest(), rounds=2, tasks=[pl.tasks.quadratic(4)])


def test_weights_that_edges_carry_do_not_enter_what_is_heard():
    x = torch.tensor([[1.0], [2.0], [4.0]])
    weighted = nx.Graph()
    weighted.add_weighted_edges_from([(0, 1, 5.0), (1, 2, 0.1)])
    engine = StackedEngine(3, pl.graphs.metropolis)
    heard, plain = (engine.links(0, g).exchange(x) for g in (weighted, pl.graphs.path(3)))
    assert torch.equal(heard.difference()[0], torch.tensor([[-1.0], [-1.0], [2.0]]))
    assert torch.equal(heard.mix()[0], plain.mix()[0])
    assert torch.equal(heard.degree, plain.degree)


def test_a_neighborhood_is_zero_where_nothing_was_heard():
    x = torch.tensor([[1.0], [2.0], [3.0]])
    path = nx.Graph([(1, 2), (0, 1)])  # neighbors come in order, however the graph was told
    links = StackedEngine(3, pl.graphs.metropolis).links(0, path)
    (rows, doubled), mask, agents = links.exchange(x, 2 * x).rows()
    assert rows[..., 0].tolist() == [[2, 0], [1, 3], [2, 0]]
    assert torch.equal(doubled, 2 * rows)
    assert agents.tolist() == [[1, -1], [0, 2], [1, -1]]
    assert torch.equal(mask, agents >= 0)


@pytest.mark.parametrize(
    "method",
    [
        pl.DSGD(lr=0.05),
        pl.PeriodicAveraging(lr=0.05),
        pl.FedAvg(lr=0.05, unselected="idle"),
        pl.FedAvg(lr=0.05, unselected="train"),
        pl.DynamicAveraging(lr=0.05, delta=0.1),
    ],
    ids=lambda m: m.name,
)
def test_mixed_buffers_travel_between_agents_who_live_alone(method):
    data = [(torch.randn(6, 3) + a, torch.randn(6, 1)) for a in range(4)]
    task = pl.Task(
        model=lambda: torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)),
        loss=torch.nn.functional.mse_loss, data=data, batch_size=3, buffers="mixed",
    )  # fmt: skip
    check_algorithm(method, tasks=[task])


@pytest.mark.parametrize("kind", [k for k in ALGORITHMS if not k.needs & Needs.MINIMIZE])
def test_every_method_keeps_the_contract_on_a_stream(kind):
    stream = pl.tasks.digits_stream(
        agents=4, batch_size=[3, 1, 2, 3], drift="labels", drift_rounds=[1], gradients="loop",
        initial_spread=0.5,
    )  # fmt: skip
    check_algorithm(kind(), tasks=[stream], rounds=2)


def test_an_error_in_one_agent_stops_all():
    class Fails(Own):
        def round(self, s, learner, links):
            if 2 in links.agents:
                raise ArithmeticError("agent 2 had enough")
            return super().round(s, learner, links)

    with pytest.raises(ArithmeticError, match="agent 2 had enough"):
        run_alone(Fails(), pl.tasks.quadratic(4), pl.graphs.cycle(4), rounds=2)


def test_waiting_has_an_end():
    class Silent(Own):
        def round(self, s, learner, links):
            return s if 0 in links.agents else super().round(s, learner, links)

    with pytest.raises(TimeoutError, match=r"in vain for agents \[0"):
        run_alone(Silent(), pl.tasks.quadratic(4), pl.graphs.cycle(4), rounds=1)


def test_agents_who_wait_for_each_other_give_up():
    engine, pair = InMemoryEngine(2, timeout_s=0.05), pl.graphs.path(2)
    row = torch.zeros(1, 1)
    with pytest.raises(TimeoutError, match="same exchanges in every round"):
        engine.run(lambda agent: engine.links(agent, agent, pair).exchange(row))
    heard = engine.run(lambda agent: engine.links(agent, 0, pair).exchange(row + agent))
    assert [float(h.mix()[0]) for h in heard] == [0.5, 0.5]  # the failure leaves nothing behind


def test_no_graph_is_said():
    with pytest.raises(ValueError, match="no graph"):
        run_alone(Own(), pl.tasks.quadratic(3), None, rounds=1)


def test_the_coordinator_waits_for_all():
    class Silent(Own):
        def start(self, theta, learner, links):
            if 0 not in links.agents:
                links.coordinator.receive(theta, range(links.total))
            return super().start(theta, learner, links)

    engine, task, graph = (
        InMemoryEngine(4, timeout_s=0.05),
        pl.tasks.quadratic(4),
        pl.graphs.cycle(4),
    )
    with pytest.raises(TimeoutError, match="the same calls of the coordinator"):
        run_alone(Silent(), task, graph, rounds=0, engine=engine)


@pytest.mark.parametrize(
    "method",
    [
        pl.PeriodicAveraging(period=2),
        pl.FedAvg(),
        pl.FedAvg(unselected="train"),
        pl.DynamicAveraging(delta=0.01, augment="farthest"),
    ],
    ids=lambda m: m.name,
)
def test_the_coordinators_messages_are_those_of_the_stacked_engine(method):
    task = pl.tasks.quadratic(5, dimension=3)
    run = pl.train(task, method, rounds=4, dtype="float64", device="cpu")
    engine = InMemoryEngine(5, rounds=4, drop=0.5, late=0.3)  # which are not the coordinator's
    run_alone(method, task, None, rounds=4, engine=engine)
    assert engine.traffic.communication > 0
    for name, count in engine.traffic.team().items():
        assert run.record.team[name][-1] == count
    for name, counts in engine.traffic.agents().items():
        assert counts.tolist() == run.final[name].tolist()


@pytest.mark.parametrize("options", [{"drop": 1.5}, {"late": -0.1}])
def test_probabilities_are_checked(options):
    with pytest.raises(ValueError, match="expected a probability"):
        InMemoryEngine(3, **options)
