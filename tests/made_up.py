"""Made-up runs, for tests of the report."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import networkx as nx
import numpy as np
from rich.console import Console

from peerlearn.record import FILE_NAME, Record, from_lines
from peerlearn.report import build, style, summary_table
from peerlearn.report.figures import draw

# method -> (where its accuracy goes, how fast, how far its agents stay apart)
METHODS = {
    "DiNNO": (0.962, 60, 0.01),
    "DSGT": (0.955, 110, 0.02),
    "DSGD": (0.90, 220, 0.06),
    "Centralized": (0.97, 40, 0.0),
    "Isolated": (0.10, 1, 0.0),
}


def lines(
    method: str = "DiNNO",
    *,
    label: str | None = None,
    seed: int = 0,
    graph: nx.Graph | None = None,
    agents: int = 10,
    rounds: int = 600,
    every: int = 20,
    measure: str = "accuracy",
    end: str | None = "end",
) -> list[dict]:
    """The lines of a made-up run of one of METHODS."""
    draw = np.random.default_rng([seed, *method.encode()])
    talks = method not in ("Centralized", "Isolated")
    graph = nx.cycle_graph(agents) if graph is None else graph
    offsets = draw.normal(0, 1, agents)
    made = [_start(method, label or method, seed, graph if talks else None, agents, rounds)]
    for k in range(0, rounds + 1, every):
        measures = _measures(method, k, offsets, draw, k in (0, rounds), measure)
        seconds = {"gradient": 0.013 * k, "exchange": 0.002 * k, "evaluation": 0.001 * k}
        seconds["total"] = 0.017 * k
        made.append({"kind": "evaluation", "round": k, "measures": measures, "seconds": seconds})
    return [*made, {"kind": end, "round": rounds}] if end else made


def _start(
    method: str, label: str, seed: int, graph: nx.Graph | None, agents: int, rounds: int
) -> dict:
    drawn = graph and {
        "name": graph.name or "cycle",
        "agents": agents,
        "edges": [list(e) for e in graph.edges],
        "fiedler_value": 0.381966,
        "spectral_gap": 0.127322,
        "schedule": None,
    }
    return {
        "kind": "start",
        "schema": 1,
        "started": f"2025-01-01T00:0{list(METHODS).index(method)}:0{seed % 10}+00:00",
        "algorithm": method,
        "label": label,
        "settings": {"lr": {"schedule": "log", "start": 0.005, "end": 0.0005}, "rho": 0.5},
        "task": {"name": "digits", "partition": "by_class", "batch": 16},
        "agents": agents,
        "parameters": 4810,
        "graph": drawn,
        "weights": "metropolis",
        "rounds": rounds,
        "seed": seed,
        "dtype": "float32",
        "device": "cpu",
        "gradients": "vmap: 1.3 ms against 2.2 ms with the loop",
        "versions": {"peerlearn": "0.1.0", "torch": "2.13.0", "python": "3.12.3"},
    }


def _measures(
    method: str,
    k: int,
    offsets: np.ndarray,
    draw: np.random.Generator,
    with_train: bool,
    measure: str,
) -> dict:
    goal, pace, apart = METHODS[method]
    grown = 1 - np.exp(-k / pace)
    noise = offsets * apart * np.exp(-k / 300) + draw.normal(0, 0.002, offsets.size)
    values = np.clip(0.1 + (goal - 0.1) * grown + noise * (k > 0), 0, 1)
    values = values[:1] if method == "Centralized" else values
    talks = method not in ("Centralized", "Isolated")
    sent = k * 4810 * 4 * 2 * (1 + (method != "DSGD")) if talks else 0
    messages = 2 * k if talks else int(method == "Centralized")
    sent = 14_000 if method == "Centralized" else sent
    error = (np.abs(offsets) + 0.5) * {"DiNNO": 0.1, "DSGT": 0.3, "DSGD": 1}.get(method, 9)
    error = error * np.exp(-k / 200) if talks else error * np.sqrt(k)
    train = {f"train_{measure}": (values + 0.01).tolist()} if with_train else {}
    return {
        measure: values.tolist(),
        "loss": (2.4 * np.exp(-3 * values)).tolist(),
        **train,
        "consensus_error": (error * (k > 0)).tolist(),
        "consensus_error_normalized": (error * (k > 0) / 20).tolist(),
        **{f"messages_{way}": [messages] * offsets.size for way in ("sent", "received")},
        **{f"bytes_{way}": [sent] * offsets.size for way in ("sent", "received")},
        "gradient_evaluations": [2 * k] * offsets.size,
    }


def write(folder: Path, *runs: list[dict]) -> Path:
    for number, run in enumerate(runs):
        path = folder / f"run{number}" / FILE_NAME
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(x) + "\n" for x in run), encoding="utf-8")
    return folder


def demo(folder: Path, seeds: int = 1) -> Path:
    return write(folder, *(lines(m, seed=s) for m in METHODS for s in range(seeds)))


class Outline(HTMLParser):
    """The tags, names, references and words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def outline(folder: Path) -> Outline:
    return Outline(build(folder).read_text(encoding="utf-8"))


FIGURES = {"graph", "rounds", "bytes", "consensus", "consensus_normalized", "loss"}


def changed(run: list[dict], measure: str, value: float, agents: slice) -> list[dict]:
    """The run with ``value`` for some agents at the last evaluation."""
    last_evaluation = [x for x in run if x["kind"] == "evaluation"][-1]
    values = last_evaluation["measures"][measure]
    values[agents] = [value] * len(values[agents])
    return run


STOP = {"kind": "stop", "round": 40, "reason": "the loss of agents 3 and 4 became NaN"}

KILLED = lines(rounds=40, end=None)


def printed(records: list[Record], width: int, full: bool) -> str:
    text = io.StringIO()
    Console(width=width, file=text).print(summary_table(records, full))
    return text.getvalue()


def streamed(method: str = "DSGD", seed: int = 0, drifts: tuple[int, ...] = (20, 40)) -> list[dict]:
    """A run on a stream without a test set: agent i predicts 5 samples a round, i in 20 wrong.

    Nobody loses anything before round 20, and each sample costs 2 + seed from then on.
    """
    start, *rest = lines(method, seed=seed, rounds=60, every=10)
    for line in rest[:-1]:
        k, measures = line["round"], line["measures"]
        for name in ("accuracy", "loss", "train_accuracy"):
            measures.pop(name, None)
        sums = {
            "predictions": np.full(10, 5.0 * k),
            "cumulative_loss": np.full(10, 5.0 * max(0, k - 20) * (2 + seed)),
            "cumulative_error": 5.0 * k * np.arange(10) / 20,
        }
        pooled = method == "Centralized"
        measures |= {n: [v.sum()] if pooled else v.tolist() for n, v in sums.items()}
        line["team"] = {"communication": sum(measures["bytes_sent"])}
    return [start | {"drifts": list(drifts)}, *rest]


def coordinated(run: list[dict], label: str) -> list[dict]:
    """The same run, had its agents talked to a coordinator: half as much down as up."""
    start, *rest = run
    for line in rest[:-1]:
        sent = sum(line["measures"]["bytes_sent"])
        through = {"coordinator_bytes_sent": sent // 2, "coordinator_bytes_received": sent}
        line["team"] = {"communication": sent + sent // 2, **through}
    return [start | {"label": label, "graph": None}, *rest]


def drawings(*runs: list[dict]) -> dict[str, style.Drawing]:
    return {d.name: d for d in draw([from_lines(run) for run in runs])}


def drawn_lines(drawing: style.Drawing, color: str) -> list[list[list[float]]]:
    """[x values, y values] of all lines of that color."""
    found = [x for x in drawing.figure.axes[0].lines if x.get_color() == color]
    return [[np.asarray(x.get_xdata()).tolist(), np.asarray(x.get_ydata()).tolist()] for x in found]


def verticals(drawing: style.Drawing) -> list[float]:
    return [x[0] for x, _ in drawn_lines(drawing, style.FAINT)]


OVER_ROUNDS = {"rounds", "cumulative_loss", "consensus", "consensus_normalized"}
