"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from .errors import Unwritten


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around writing a file: what the system refuses becomes a sentence that names it.

    Raises:
        Unwritten: there is no room, or no permission.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise Unwritten(path, error) from error


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """Gives the path of a scratch file, which takes the place of ``path`` once it is written.

    Where writing fails, ``path`` stays as it was and the scratch file goes.

    Args:
        path: what is replaced; it need not exist, its folder must.
        durable: the content is on the disk before it takes the place.
    """
    scratch = path.with_name(f"{path.name}.tmp")
    try:
        with writing(path):
            yield scratch
            if durable:
                with scratch.open("rb+") as file:
                    os.fsync(file.fileno())
            os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
