"""Keep freed memory in the process while training runs."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's numbers of what mallopt sets


def keep_freed_memory() -> None:
    """Tell glibc not to return large blocks to the system.

    glibc gives blocks over 32 MB back as they are freed, and the others once they are at the end
    of its heap, so that new (A, P) tensors page-fault: with a thousand agents elementwise steps
    become four times slower. Elsewhere this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, -1)  # the end of the heap is never given back
        mallopt(_M_MMAP_MAX, 0)  # and no block is taken outside of it
