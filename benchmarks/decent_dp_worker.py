"""One process of Decent-DP, in its own environment: plain SGD on its ring, overlapped as it does.

On its ring an agent talks to one neighbor a round, the left and the right one in turn.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable

import torch
from peer_worker import network
from process_group import Case, serve
from torch.nn.functional import cross_entropy

BATCH = 64


def rounds() -> Callable[[], None]:
    from decent_dp.ddp import DecentralizedDataParallel

    model = DecentralizedDataParallel(
        network(), lambda named: torch.optim.SGD([p for _, p in named], lr=0.01), topology="ring"
    )
    model.train()
    inputs, targets = torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))

    def one() -> None:
        cross_entropy(model(inputs), targets).backward()  # hooks mix, step and send

    return one


def main() -> None:
    from decent_dp.utils import initialize_dist
    from loguru import logger

    logger.remove()
    os.environ["LOCAL_WORLD_SIZE"] = os.environ["WORLD_SIZE"]
    initialize_dist()  # Gloo where no GPU is visible
    one = rounds()

    def find(case: Case, block: str) -> Callable[[], object]:
        return one

    serve(find, {"version": importlib.metadata.version("decent-dp")})


if __name__ == "__main__":
    main()
