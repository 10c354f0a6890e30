"""Processes on this machine, through torch.distributed's elastic launcher."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..errors import ConfigurationError


def launch(
    arguments: Sequence[str], processes: int, port: int | None, run_id: str
) -> dict[int, int]:
    """Run ``peerlearn`` with the same arguments in several processes, and wait for them.

    Args:
        arguments: of the command line.
        processes: how many.
        port: of this machine, where they meet; None takes a free one.
        run_id: what the processes find in TORCHELASTIC_RUN_ID.

    Returns:
        The exit status of each that failed, by rank; negative for those that a signal ended.

    Raises:
        ConfigurationError: the port is in use.
        KeyboardInterrupt: the processes were asked to stop, and have.
    """
    meeting_point = f"127.0.0.1:{_usable(port)}"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    logging.disable(logging.ERROR)  # the launcher's own, about what is told in sentences
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=run_id, rdzv_backend="static",
        rdzv_endpoint=meeting_point, rdzv_configs={"rank": 0}, local_addr="localhost",
        max_restarts=0, monitor_interval=0.1,
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "peerlearn", *arguments)
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    except SignalException as error:
        raise KeyboardInterrupt from error
    return {}


def _usable(port: int | None) -> int:
    """The port, if it is free; without one, any that is."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port or 0))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                [f"port {port} of this machine cannot be used ({error}); choose another one"]
            ) from error
        return tried.getsockname()[1]
