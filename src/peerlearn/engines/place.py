"""The place of this process among those started with it, as its environment tells."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..errors import ConfigurationError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LAST_PORT = 65535
NOBODY = -1  # no process has this rank


class Place(NamedTuple):
    """Who this process is, and where it meets the others.

    Attributes:
        rank, size: which process this is, and of how many.
        local: which one of its machine.
        address, port: where all meet.
    """

    rank: int
    size: int
    local: int
    address: str
    port: int


def launched() -> bool:
    """Whether torchrun or `launcher.launch` started this process, perhaps as one of several."""
    return "RANK" in os.environ


def several() -> bool:
    """Whether it has started others, too, as far as can be told."""
    return launched() and os.environ.get("WORLD_SIZE", "1").strip() != "1"


def place() -> Place:
    """What the environment tells.

    Raises:
        ConfigurationError: nobody started processes, or a variable cannot be.
    """
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise ConfigurationError([
            f"the engine 'processes' finds no processes ({', '.join(missing)} not set); start them "
            "with peerlearn run FILE --engine processes --processes 4, or start a script by "
            "torchrun --nproc-per-node 4 SCRIPT"
        ])  # fmt: skip
    size = _number("WORLD_SIZE", 1)
    rank, local = _number("RANK", 0, size - 1), _number("LOCAL_RANK", 0, None, "0")
    return Place(rank, size, local, *_meeting_point())


def unsure_place() -> Place:
    """As much of it as can be told where a variable cannot be: perhaps nobody of no team.

    Raises:
        ConfigurationError: not even where all meet.
    """
    rank, size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    known = int(size) if size.isdecimal() else 0
    return Place(0 if rank == "0" else NOBODY, known, 0, *_meeting_point())


def _meeting_point() -> tuple[str, int]:
    address = os.environ.get("MASTER_ADDR")
    if not address:
        raise ConfigurationError(["the environment variable MASTER_ADDR is not set"])
    return address, _number("MASTER_PORT", 1, LAST_PORT)


def keeper() -> int | None:
    """The process that holds the store, if one of the team does, and not who started them."""
    return None if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else 0


def _number(name: str, least: int, most: int | None = None, default: str = "") -> int:
    text = os.environ.get(name, default)
    if text.strip().isdecimal() and least <= int(text) and (most is None or int(text) <= most):
        return int(text)
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    why = f", as WORLD_SIZE is {most + 1}" if name == "RANK" and most is not None else ""
    raise ConfigurationError([
        f"the environment variable {name} is {text!r}, expected a whole number {limits}{why}; "
        "whoever starts the processes sets it"
    ])  # fmt: skip
