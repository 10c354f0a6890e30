"""Graphs: who talks to whom (topologies, schedules), and with which weights.

>>> from peerlearn import graphs
>>> ring = graphs.cycle(10)
>>> round(graphs.lambda_N(graphs.metropolis(ring)), 3)
-0.333
>>> failing = graphs.link_failures(ring, p=0.2, seed=1)
>>> failing.at(7).number_of_edges() <= 10
True
>>> graphs.problems(failing)
[]
"""

from . import schedules, spectrum, topologies, weights
from .proximity import proximity
from .schedule import GraphSchedule
from .schedules import (
    SCHEDULES,
    as_schedule,
    build_schedule,
    function,
    link_failures,
    one_peer_exponential,
    problems,
    random_matchings,
    static,
)
from .spectrum import eigenvalues, fiedler_value, lambda_2, lambda_N, spectral_gap
from .topologies import (
    TOPOLOGIES,
    barabasi_albert,
    bipartite,
    build,
    complete,
    cycle,
    erdos_renyi,
    exponential,
    from_edge_list,
    from_networkx,
    grid,
    hypercube,
    path,
    random_geometric,
    random_regular,
    small_world,
    star,
    torus,
    wheel,
)
from .weights import (
    WEIGHTS,
    Rule,
    as_rule,
    given,
    lazy,
    maximum_degree,
    metropolis,
    uniform,
)

__all__ = [
    "SCHEDULES",
    "TOPOLOGIES",
    "WEIGHTS",
    "GraphSchedule",
    "Rule",
    "as_rule",
    "as_schedule",
    "barabasi_albert",
    "bipartite",
    "build",
    "build_schedule",
    "complete",
    "cycle",
    "eigenvalues",
    "erdos_renyi",
    "exponential",
    "fiedler_value",
    "from_edge_list",
    "from_networkx",
    "function",
    "given",
    "grid",
    "hypercube",
    "lambda_2",
    "lambda_N",
    "lazy",
    "link_failures",
    "maximum_degree",
    "metropolis",
    "one_peer_exponential",
    "path",
    "problems",
    "proximity",
    "random_geometric",
    "random_matchings",
    "random_regular",
    "schedules",
    "small_world",
    "spectral_gap",
    "spectrum",
    "star",
    "static",
    "topologies",
    "torus",
    "uniform",
    "weights",
    "wheel",
]
