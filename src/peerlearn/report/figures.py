"""The figures of a report: the graph, and measures against rounds, bytes and steps played."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator

from ..record import Record
from ..words import each_counted, listed
from .curves import Curve, curve, how_to_read, line_and_band
from .groups import first_to_talk, grouped, schedules_over
from .measures import (
    COMMUNICATION,
    ENVIRONMENT_STEPS,
    RECENT,
    SUFFERED,
    TEAM_LOSS,
    is_share,
    last,
    main_measure,
    talks,
)
from .network import draw_graph
from .numbers import Number, over_seeds, show
from .style import FAINT, Drawing, color, legend, logarithmic, percent, styled
from .words import titled, words

STEPS = "A step of each episode counts once, however many agents act in it."
RECENTLY = "Each point: of the predictions since the evaluation before."
TRAFFIC = {"bytes_sent": "bytes sent per agent", COMMUNICATION: "communication of the team"}
DRIFTS_TOLD = 6  # more of them are only counted in words
OF_EPISODES = ("captures", "first_capture")  # what else is counted in them
WIDE = 50  # a loss whose range exceeds this factor is drawn on a logarithmic axis

Groups = dict[str, list[Record]]


def draw(records: Sequence[Record]) -> list[Drawing]:
    """Every figure for which there are numbers."""
    groups, measure = _steady(grouped(records)), main_measure(records)
    suffered = measure in SUFFERED
    main = f"{RECENT}{measure}" if suffered else measure  # a mean since the start moves too late
    others = {
        "recent": f"{RECENT}error_rate",
        "consensus": "consensus_error",
        "consensus_normalized": "consensus_error_normalized",
        "loss": "loss",
        "unseen": f"{measure}_unseen",  # where the agent itself has never been
    }
    with styled():
        return [
            *_graphs(groups, measure.removeprefix("team_")),  # of the team's, each agent's own
            *_over_rounds(groups, "rounds", main),
            *_over_steps(groups, "environment_steps", main),
            *(d for m in OF_EPISODES for d in _over_steps(groups, m, m)),
            *([] if suffered else _over_bytes(groups, "bytes", measure, "bytes_sent")),
            *_over_rounds(groups, "cumulative_loss", TEAM_LOSS),
            *_over_bytes(groups, "communication", TEAM_LOSS, COMMUNICATION),
            *(d for n, m in others.items() if m != main for d in _over_rounds(groups, n, m)),
        ]


def _steady(groups: Groups) -> Groups:
    """Of each algorithm the runs that did not diverge, if there are such."""
    kept = {label: [r for r in runs if r.diverged is None] for label, runs in groups.items()}
    return {label: kept[label] or runs for label, runs in groups.items()}


def _in_view(curves: dict[str, Curve], groups: Groups) -> dict[str, Curve]:
    """Of those that diverged what lies near the others, of which else nothing would be seen."""
    lost = {label for label, runs in groups.items() if runs[0].diverged is not None}
    steady = [c for label, c in curves.items() if label not in lost and c.rounds.size]
    if not lost or not steady:
        return curves
    low, high = min(c.low.min() for c in steady), max(c.high.max() for c in steady)
    least, most = low - (high - low), high + (high - low)
    near = {label: (least <= c.low) & (c.high <= most) for label, c in curves.items()}
    return {
        label: Curve(*(values[near[label]] for values in c)) if label in lost else c
        for label, c in curves.items()
    }


def _graphs(groups: Groups, measure: str) -> Iterator[Drawing]:
    """As the first algorithm that talks over each graph, and did not diverge, left its agents."""
    finished = {
        label: next((r for r in records if r.diverged is None), records[0])
        for label, records in groups.items()
    }
    firsts = dict(sorted(finished.items(), key=lambda item: item[1].diverged is not None))
    every = [record for records in groups.values() for record in records]
    for number, (graph, label) in enumerate(first_to_talk(firsts).items(), start=1):
        name = "graph" if number == 1 else f"graph_{number}"
        yield draw_graph(name, firsts[label], measure, schedules_over(graph, every))


def _over_rounds(groups: Groups, name: str, measure: str) -> Iterator[Drawing]:
    curves = {label: curve(records, measure) for label, records in groups.items()}
    curves = _in_view(curves, groups)
    log = _is_wide(measure, np.concatenate([c.mean for c in curves.values()]))
    if log:
        curves = {label: _for_log(measure, c) for label, c in curves.items()}
    figure, axes = _axes("rounds", measure)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    drifts = _draw_drifts(axes, groups, np.concatenate([c.rounds for c in curves.values()]))
    handles = {
        label: line_and_band(axes, number, c.rounds, c)
        for number, (label, c) in enumerate(curves.items())
        if c.rounds.size
    }
    if log:
        logarithmic(axes)
    if handles:
        legend(figure, handles)
        title = f"{titled(measure)} against rounds"
        said = [
            _how_to_read(groups, measure),
            RECENTLY if measure.startswith(RECENT) else "",
            drifts,
            _ends(curves, groups, measure),
            _unequal(groups, measure) if name in ("rounds", "cumulative_loss") else "",
        ]
        yield Drawing(name, figure, title, " ".join(filter(None, said)))


def _over_steps(groups: Groups, name: str, measure: str) -> Iterator[Drawing]:
    """The measure against the steps played, of runs that learn in an environment."""
    figure, axes = _axes(words(ENVIRONMENT_STEPS), measure)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    handles = {}
    curves = _in_view({n: curve(records, measure) for n, records in groups.items()}, groups)
    for number, (label, records) in enumerate(groups.items()):
        c = curves[label]
        steps = _mean_at(c.rounds, curve(records, ENVIRONMENT_STEPS))
        if steps.any():
            handles[label] = line_and_band(axes, number, steps, c)
    if handles:
        legend(figure, handles)
        title = f"{titled(measure)} against {words(ENVIRONMENT_STEPS)}"
        yield Drawing(name, figure, title, f"{_how_to_read(groups, measure)} {STEPS}")


def _over_bytes(groups: Groups, name: str, measure: str, paid_in: str) -> Iterator[Drawing]:
    """The measure against traffic; who does not pay by the round is a line to compare with."""
    figure, axes = _axes(TRAFFIC[paid_in], measure)
    handles: dict[str, Artist] = {}
    apart = []
    curves = _in_view({n: curve(records, measure) for n, records in groups.items()}, groups)
    for number, (label, records) in enumerate(groups.items()):
        c = curves[label]
        paid = _mean_at(c.rounds, curve(records, paid_in))
        sent = paid > 0
        if len({*paid[sent]}) > 1 or (sent.any() and talks(records[0])):
            handles[label] = line_and_band(axes, number, paid[sent], Curve(*(v[sent] for v in c)))
        elif c.rounds.size:
            apart.append(label)
            handles[label] = _reference(axes, number, c.mean[-1], paid[-1])
    if len(handles) > len(apart):
        _bytes_axis(axes)
        legend(figure, handles)
        title = f"{titled(measure)} against {TRAFFIC[paid_in]}"
        yield Drawing(name, figure, title, f"{_how_to_read(groups, measure)}{_compared(apart)}")


def _mean_at(rounds: np.ndarray, c: Curve) -> np.ndarray:
    """The mean after each of ``rounds``; 0 where that is unknown."""
    known = dict(zip(c.rounds, c.mean, strict=True))
    return np.array([known.get(at, 0.0) for at in rounds])


def _reference(axes: Axes, number: int, value: float, paid: float) -> Artist:
    """A dashed line at the last value, with a diamond at the bytes that were paid at once."""
    line = axes.axhline(value, color=color(number), linewidth=1.2, dashes=(4, 3))
    if paid > 0:
        axes.plot([paid], [value], "D", color=color(number), markersize=5.5)
    return line


def _bytes_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.xaxis.set_minor_formatter("")


def _axes(x: str, measure: str) -> tuple[Figure, Axes]:
    figure = Figure(layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=words(measure))
    if is_share(measure):
        axes.yaxis.set_major_formatter(percent())
    elif measure == TEAM_LOSS:
        axes.yaxis.set_major_formatter("{x:,g}")
    return figure, axes


def _is_wide(measure: str, means: np.ndarray) -> bool:
    """Whether a logarithmic axis shows more: always for consensus, for a loss if it falls far."""
    if measure.startswith("consensus"):
        return True
    if measure == TEAM_LOSS:  # it grows from zero, and its slope is what is to be seen
        return False
    return "loss" in measure and means.size > 0 and means.max() > WIDE * means.min() > 0


def _for_log(measure: str, c: Curve) -> Curve:
    """What a logarithmic axis can show.

    At the start all agents are alike: their distance is zero, or a rounding error that would
    press everything after it into the upper edge.
    """
    shown = c.low > 0
    if measure.startswith("consensus"):
        shown &= c.rounds > 0
    return Curve(*(values[shown] for values in c))


def _how_to_read(groups: Groups, measure: str) -> str:
    return how_to_read(max(len(records) for records in groups.values()), measure)


def _draw_drifts(axes: Axes, groups: Groups, rounds: np.ndarray) -> str:
    """Thin lines where concepts change, as far as ``rounds`` go; and what they are, in words."""
    plans = {tuple(r.drifts) for records in groups.values() for r in records}
    drifts = sorted({at for plan in plans for at in plan if at <= rounds.max(initial=0)})
    for at in drifts:
        axes.axvline(at, color=FAINT, linewidth=0.8, zorder=0)
    if not drifts:
        return ""
    many = len(drifts) > DRIFTS_TOLD or len(plans) > 1
    told = f"{len(drifts):,} in all" if many else f"after {each_counted(drifts, 'round')}"
    several = ", not the same in every run" if len(plans) > 1 else ""
    return f"Vertical lines: concept drifts, {told}{several}."


def _unequal(groups: Groups, measure: str) -> str:
    """Where a round is not the same for all: how much each has predicted, or computed."""
    if measure == TEAM_LOSS:
        what, amount = "Samples predicted by the team", _predicted
    else:
        what, amount = "Gradients in a round, mean over the agents", _gradients
    labels: dict[str, list[str]] = {}
    for label, records in groups.items():
        labels.setdefault(amount(records), []).append(label)
    known = [f"{listed(who)} {much}" for much, who in labels.items() if much]
    return f"{what}: {'; '.join(known)}." if len(known) > 1 else ""


def _predicted(records: Sequence[Record]) -> str:
    number = over_seeds(last(r, "predictions").sum() for r in records)
    return f"{number.mean:,.0f}" if number else ""


def _gradients(records: Sequence[Record]) -> str:
    done = [(last(r, "gradient_evaluations"), r.rounds.max(initial=0)) for r in records]
    number = over_seeds(drawn.mean() / rounds for drawn, rounds in done if rounds and drawn.size)
    return f"{number.mean:.2g}" if number else ""


def _ends(curves: dict[str, Curve], groups: Groups, measure: str) -> str:
    """The last values; those of runs that all diverged are none of an end."""
    ends = [
        f"{label} {show(Number(c.mean[-1]), measure)}"
        for label, c in curves.items()
        if c.rounds.size and any(r.diverged is None for r in groups[label])
    ]
    return f"At the end: {', '.join(ends)}." if ends else ""


def _compared(apart: list[str]) -> str:
    if not apart:
        return ""
    why = "with no traffic over the rounds on record (a diamond marks bytes paid once)"
    return f" Dashed, to compare with: the last value of {listed(apart)}, {why}."
