"""Everything a run needs to go on, in one safetensors file. Nothing is pickled.

Tensors: ``state.*`` the algorithm's state, ``learner.*`` samplers, counters and buffers,
``traffic.*`` messages and bytes. Metadata: the configuration as JSON, the rounds done, the seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import short
from .files import replacing

FILE_NAME = "checkpoint.safetensors"
PARTS = ("state", "learner", "traffic")
SHOWN = 60  # characters of a value in a sentence


@dataclass
class Checkpoint:
    """A run after ``round`` rounds: tensors by part, and what the run is."""

    round: int
    configuration: dict[str, Any]
    seconds: dict[str, float]
    state: dict[str, Tensor]
    learner: dict[str, Tensor]
    traffic: dict[str, Tensor]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the previous one stays until the new one is complete on disk."""
    tensors = {
        f"{part}.{name}": value.contiguous()
        for part in PARTS
        for name, value in getattr(checkpoint, part).items()
    }
    metadata = {
        "round": str(checkpoint.round),
        "configuration": json.dumps(checkpoint.configuration),
        "seconds": json.dumps(checkpoint.seconds),
    }
    with replacing(path, durable=True) as scratch:
        save_file(tensors, scratch, metadata=metadata)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: the file is no checkpoint, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        return Checkpoint(
            round=int(metadata["round"]),
            configuration=json.loads(metadata["configuration"]),
            seconds=json.loads(metadata["seconds"]),
            **parts,
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is no readable checkpoint ({error}); remove {path.parent} to train this run "
            "again"
        ) from error


def differences(kept: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Where two configurations differ, one sentence each.

    Of values whose beginnings are alike, such as the edges of a large graph, only that they differ.
    """
    return [
        f"{name} has changed" if old == new else f"{name} was {old} and is now {new}"
        for name, old, new in differing(kept, wanted)
    ]


def differing(
    one: dict[str, Any], other: dict[str, Any], prefix: str = ""
) -> list[tuple[str, str, str]]:
    """Where two configurations differ: the dotted name, and both values as far as can be shown."""
    found = []
    for key in sorted(one.keys() | other.keys()):
        old, new = one.get(key), other.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differing(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append((f"{prefix}{key}", short(old, SHOWN), short(new, SHOWN)))
    return found
