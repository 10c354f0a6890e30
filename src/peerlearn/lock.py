"""A folder that one process writes at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ConfigurationError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is held
    fcntl = None  # type: ignore[assignment]

FILE_NAME = ".lock"
HELD = (errno.EWOULDBLOCK, errno.EACCES)
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # a file system


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Make the folder where it is missing, and keep others from holding it.

    The system lets go when the process ends, however it ends. A file system that knows no locks is
    written unheld.

    Raises:
        ConfigurationError: another process holds the folder, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ConfigurationError(
            [f"cannot write into {folder}: {error.strerror}; choose another folder"]
        ) from error
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise ConfigurationError([
                f"{folder} is being written by another process; wait until it has ended, or "
                "choose another folder"
            ]) from None  # fmt: skip
        if error.errno not in WITHOUT_LOCKS:
            raise
