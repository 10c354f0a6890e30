"""The files of datasets: where they are found, how they are fetched and checked.

Files are looked for in the folder named by the environment variable PEERLEARN_DATA, in it and in
the dataset's own folder below it; then in the download cache; then at a public mirror. Wherever
they come from they are checked: archives by their published MD5, unpacked files by their form and
size.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray

VARIABLE = "PEERLEARN_DATA"

Bytes = NDArray[np.uint8]


class MissingData(ValueError):
    """A dataset is neither on this machine nor to be had from its mirror."""


@dataclass(frozen=True, kw_only=True)
class Published(ABC):
    """Labeled images as they were published: base of the formats.

    Args:
        title: their name.
        folders: their own below PEERLEARN_DATA; the first names the one in the cache, too.
        url: the mirror's folder.
        classes: how many there are.
    """

    title: str
    folders: tuple[str, ...]
    url: str
    classes: int

    @property
    @abstractmethod
    def wanted(self) -> str:
        """Which files the folder named by PEERLEARN_DATA should hold."""

    @abstractmethod
    def read(self) -> tuple[Bytes, Bytes, Bytes, Bytes]:
        """Pixels (n, C, H, W) and labels (n,) to train on, then those of the test set."""

    def download(self, name: str, md5: str) -> Path:
        """The path of a file in the cache, fetched if it is not there."""
        try:
            place = pooch.os_cache("peerlearn") / self.folders[0]
            return Path(pooch.retrieve(self.url + name, f"md5:{md5}", fname=name, path=place))
        except OSError as error:
            raise MissingData(
                f"{self.title} is not on this machine and cannot be downloaded from {self.url} "
                f"({type(error).__name__}): set {VARIABLE} to a folder that holds {self.wanted}"
            ) from None


def folders(own: tuple[str, ...] = ()) -> Iterator[Path]:
    """The dataset's own folders below PEERLEARN_DATA, then that folder itself."""
    if not (named := os.environ.get(VARIABLE)):
        return
    root = Path(named).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"{VARIABLE} is {named!r}, which is no folder; name one, or unset it")
    yield from (root / name for name in own)
    yield root


def checked(path: Path, md5: str) -> Path:
    """The path, if the file has that MD5."""
    if (digest := digest_of(path)) != md5:
        raise ValueError(
            f"{path} has the MD5 {digest}, expected {md5}: it is cut short or damaged; "
            "fetch it again or remove it"
        )
    return path


def digest_of(path: Path) -> str:
    """The MD5 of a file."""
    return pooch.file_hash(str(path), alg="md5")


def local(name: str, title: str) -> Path:
    """A file or folder below PEERLEARN_DATA that the library cannot fetch itself.

    Raises:
        MissingData: it is not there.
    """
    for folder in folders():
        if (folder / name).exists():
            return folder / name
    raise MissingData(
        f"{title} is not on this machine: give its path, or set {VARIABLE} to a folder that holds "
        f"{name}"
    )
