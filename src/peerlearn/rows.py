"""Rows that are too many for the processor's cache, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

BLOCK_BYTES = 2**20  # of the first matrix: three or four such blocks stay in an L2 or L3 cache


def in_blocks(*matrices: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows of every matrix (A, ...), block after block.

    Several elementwise steps on a block read memory once; on whole matrices each step would read
    it again. Elementwise results are the same bits either way.
    """
    first = matrices[0]
    if first.is_cuda or first.nbytes <= 2 * BLOCK_BYTES:
        yield matrices
        return
    count = max(1, BLOCK_BYTES // first[0].nbytes)
    yield from zip(*(m.split(count) for m in matrices), strict=True)
