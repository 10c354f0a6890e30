"""Tasks whose data are a stream, which may drift from one concept to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import nll_loss

from .. import data as sources
from ..data import Stream, drift, graphical_models
from ..data.drift import CHANGES, Change, Drift, change
from ..data.streams import dealt, generated
from ..errors import nearest
from ..values import require_count, require_mapping
from .images import Model, accuracy, network_for, raw_bytes
from .models import mlp
from .options import require_handed_on
from .supervised import Task


def image_stream(
    source: str,
    agents: int = 100,
    batch_size: int | Sequence[int] = 10,
    pool: Literal["all", "train"] = "all",
    model: str | Model | None = None,
    drift: str | Change | None = None,
    drift_options: Mapping[str, Any] | None = None,
    drift_rounds: Sequence[int] | None = None,
    drift_probability: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> Task:
    """Images dealt to the agents anew every epoch: each predicts a class, then learns it.

    Args:
        source: as of `images`.
        agents: how many agents share the images.
        batch_size: how many images an agent sees at a time: for all, or one per agent.
        pool: "all" deals training and test images together; "train" deals the training images and
            evaluates on the test images, as the concept shows them.
        model: as of `images`.
        drift: what a new concept is: "labels" permuted, a "rotation" of the images, more
            "classes", or any `peerlearn.data.drift.Change`.
        drift_options: the arguments of the one that is named; see `peerlearn.data.drift`.
        drift_rounds: the rounds in which a new concept begins, counted from 0.
        drift_probability: or the probability with which it begins in any round.
        seed: not used: the stream follows the seed of the run.
        options: further arguments of `peerlearn.Task`.

    Raises:
        ValueError: an unknown name, a drift that cannot be, one without rounds or probability, or
            these without a drift, or what `peerlearn.data.load` raises.
    """
    require_handed_on(f"{source}_stream", options, image_stream, Task)
    if pool not in ("all", "train"):
        raise ValueError(f"pool is {pool!r}; {nearest(str(pool), ['all', 'train'])}")
    found = sources.load(source)
    suited = sources.SOURCES[source]
    inputs, targets = suited.normalized(found.train_inputs), found.train_targets
    held_out = suited.normalized(found.test_inputs), found.test_targets
    if pool == "all":
        inputs, targets = torch.cat([inputs, held_out[0]]), torch.cat([targets, held_out[1]])
    when = _drift(drift_rounds, drift_probability)
    _require_both(drift, drift_rounds, drift_probability)
    changes = _change(drift, require_mapping("drift_options", drift_options))
    network, described = network_for(source, model, found)
    images = dealt(
        (inputs, targets), agents, test=None if pool == "all" else held_out, drift=when,
        change=changes, sample_bytes=raw_bytes(inputs),
    )  # fmt: skip
    details = {"model": described, "pool": pool}
    return _classification(images, f"{source}_stream", network, batch_size, details, options)


def digits_stream(agents: int = 10, batch_size: int | Sequence[int] = 5, **options: Any) -> Task:
    """The 1,797 digits of scikit-learn as a stream, dealt anew each epoch; see `image_stream`."""
    return image_stream("digits", agents, batch_size, **options)


def mnist_stream(agents: int = 100, batch_size: int | Sequence[int] = 10, **options: Any) -> Task:
    """MNIST's 70,000 digits as a stream, dealt anew each epoch; options as `image_stream`."""
    return image_stream("mnist", agents, batch_size, **options)


IMAGE_STREAMS = (digits_stream, mnist_stream)


def graphical(
    agents: int = 100,
    batch_size: int | Sequence[int] = 1,
    hidden: int = 20,
    observed: int = 5,
    drift_probability: float | None = None,
    drift_rounds: Sequence[int] | None = None,
    widths: Sequence[int] = (64,),
    test_size: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Task:
    """A stream of random graphical models, a new one at every drift (Kamp et al. 2018, Figure 5).

    Args:
        agents: how many agents draw samples.
        batch_size: how many an agent sees at a time: for all, or one per agent.
        hidden, observed: the sizes of the model; see `peerlearn.data.graphical_models`.
        drift_probability: with which a new model is drawn in any round; 0.001 by default.
        drift_rounds: or the rounds in which one is drawn, counted from 0.
        widths: of the hidden layers of the network that learns.
        test_size: so many samples of the current model are what networks are evaluated on.
        seed: of the models; what is drawn from them, and when they change, follows the run's.
        options: further arguments of `peerlearn.Task`.

    Raises:
        ValueError: a size or a drift that cannot be.
    """
    require_handed_on("graphical", options, graphical, Task)
    models = graphical_models(hidden, observed, seed)
    for width in widths:
        require_count("each of widths", width)
    if drift_probability is None:
        drift_probability = 0.0 if _given(drift_rounds) else 0.001
    when = _drift(drift_rounds, drift_probability)
    samples = generated(
        models, agents, drift=when, test_size=test_size, sample_bytes=models.sample_bytes
    )
    network = partial(mlp, hidden * observed, tuple(widths), 2)
    details = {"model": "mlp", "widths": [int(w) for w in widths]}
    return _classification(samples, "graphical", network, batch_size, details, options)


def _classification(
    stream: Stream,
    name: str,
    model: Model,
    batch_size: int | Sequence[int],
    details: dict[str, Any],
    options: dict[str, Any],
) -> Task:
    """Classes with the log-probabilities of a network, learned from a stream."""
    settings = {"measures": {"accuracy": accuracy}, **options}
    return Task(
        model=model, loss=nll_loss, data=stream, batch_size=batch_size, name=name, details=details,
        **settings,
    )  # fmt: skip


def _given(rounds: Sequence[int] | None) -> bool:
    return rounds is not None and np.size(rounds) > 0


def _drift(rounds: Sequence[int] | None, probability: float) -> Drift:
    """When concepts change: in the rounds given, or at random.

    Raises:
        ValueError: which of the two arguments is wrong, or that both are given.
    """
    if rounds is None or not _given(rounds):
        return _named("drift_probability", lambda: drift.random(probability))
    if probability:
        raise ValueError("drift_rounds and drift_probability are both given; leave one out")
    return _named("drift_rounds", lambda: drift.at(rounds))


def _require_both(what: Any, rounds: Sequence[int] | None, probability: float) -> None:
    """A drift of a dataset has a time and a kind, or there is none."""
    when = "drift_rounds" if _given(rounds) else "drift_probability" if probability else None
    if what is not None and when is None:
        raise ValueError("drift is given without a time; give drift_rounds or drift_probability")
    if what is None and when is not None:
        kinds = ", ".join(drift.CHANGES)
        raise ValueError(f"{when} is given, but not what changes; give drift, one of {kinds}")


def _change(drift: str | Change | None, options: Mapping[str, Any]) -> Change:
    if isinstance(drift, str):
        return change(drift, **options)
    if drift is not None and not isinstance(drift, Change):
        known = ", ".join(CHANGES)
        raise ValueError(f"drift is {drift!r}, expected a name or a Change; known: {known}")
    if options:
        raise ValueError("drift_options are given, but no name of a drift; leave them out")
    return Change() if drift is None else drift


def _named(argument: str, make: Callable[[], Drift]) -> Drift:
    """What is made; where it cannot be, the complaint names the argument."""
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{argument} is wrong: {error}") from error
