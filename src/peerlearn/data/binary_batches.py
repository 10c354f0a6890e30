"""CIFAR's format, and what is published in it: records of label bytes, then the pixels."""

from __future__ import annotations

import math
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .files import Bytes, Published, checked, folders


@dataclass(frozen=True, kw_only=True)
class BinaryBatches(Published):
    """Binary batches of records, as a folder of files or as the archive of that folder.

    Args:
        title, folders, url, classes: see `Published`.
        archive: its name.
        md5: of the archive.
        train, test: file -> the records in it.
        label_bytes: of a record, whose label is the last of them.
        shape: of an image, (C, H, W).
    """

    archive: str
    md5: str
    train: dict[str, int]
    test: dict[str, int]
    label_bytes: int
    shape: tuple[int, int, int] = (3, 32, 32)

    @property
    def wanted(self) -> str:
        files = ", ".join({**self.train, **self.test})
        return f"{self.archive}, or {self.folders[0]}/ with {files}"

    def read(self) -> tuple[Bytes, Bytes, Bytes, Bytes]:
        batches = self._find()
        return *self._records(self.train, batches), *self._records(self.test, batches)

    def _find(self) -> dict[str, bytes]:
        """File name -> content, from unpacked files or from the archive."""
        names = [*self.train, *self.test]
        for folder in folders(self.folders):
            if all((folder / name).is_file() for name in names):
                return {name: (folder / name).read_bytes() for name in names}
            if (folder / self.archive).is_file():
                return unpack(checked(folder / self.archive, self.md5), names)
        return unpack(self.download(self.archive, self.md5), names)

    def _records(self, files: dict[str, int], batches: dict[str, bytes]) -> tuple[Bytes, Bytes]:
        """Pixels (n, C, H, W) and labels (n,) of all records in ``files``."""
        width = self.label_bytes + math.prod(self.shape)
        for name, records in files.items():
            if len(batches[name]) != records * width:
                raise ValueError(
                    f"{name} of {self.title} holds {len(batches[name])} bytes, expected "
                    f"{records * width} ({records} records of {width} bytes): it is cut short, or "
                    "not of the binary version; fetch it again"
                )
        joined = b"".join(batches[name] for name in files)
        data = np.frombuffer(joined, np.uint8).reshape(-1, width)
        pixels = data[:, self.label_bytes :].reshape(-1, *self.shape)
        return pixels, data[:, self.label_bytes - 1]


def unpack(archive: Path, names: list[str]) -> dict[str, bytes]:
    """The files called ``names``, read in one pass: nothing is written, no path is followed."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            if name in names and (file := tar.extractfile(member)) is not None:
                found[name] = file.read()
    if missing := sorted(set(names) - set(found)):
        raise ValueError(f"{archive} does not hold {', '.join(missing)}; fetch it again")
    return found


TORONTO = "https://www.cs.toronto.edu/~kriz/"

CIFAR10 = BinaryBatches(
    title="CIFAR-10",
    folders=("cifar-10-batches-bin",),
    url=TORONTO,
    classes=10,
    archive="cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    train={f"data_batch_{k}.bin": 10_000 for k in range(1, 6)},
    test={"test_batch.bin": 10_000},
    label_bytes=1,
)
CIFAR100 = BinaryBatches(
    title="CIFAR-100",
    folders=("cifar-100-binary",),
    url=TORONTO,
    classes=100,
    archive="cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    train={"train.bin": 50_000},
    test={"test.bin": 10_000},
    label_bytes=2,  # coarse, fine
)
