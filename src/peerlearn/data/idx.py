"""MNIST's format, and what is published in it: an idx file of images and one of labels."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .files import Bytes, Published, checked, digest_of, folders


@dataclass(frozen=True, kw_only=True)
class IdxFiles(Published):
    """Four gzipped idx files: training images and labels, test images and labels.

    Args:
        title, folders, url, classes: see `Published`.
        md5: file name without .gz -> MD5 of the gzipped file.
    """

    md5: dict[str, str]

    @property
    def wanted(self) -> str:
        names = ", ".join(f"{name}.gz" for name in self.md5)
        return f"{self.folders[0]}/ with {names} (or the same unzipped)"

    def read(self) -> tuple[Bytes, Bytes, Bytes, Bytes]:
        train, train_labels, test, test_labels = (
            read_idx(self._find(name), axes=3 if "images" in name else 1) for name in self.md5
        )
        if train.shape[1:] != test.shape[1:]:
            raise ValueError(
                f"{self.title}: the training images are {train.shape[1:]} pixels large, the test "
                f"images {test.shape[1:]}; fetch the files again"
            )
        return train[:, None], train_labels, test[:, None], test_labels

    def _find(self, name: str) -> Path:
        for folder in folders(self.folders):
            zipped, plain = folder / f"{name}.gz", folder / name
            if zipped.is_file() and not self._is_of_another(zipped):
                return checked(zipped, self.md5[name])
            # MNIST and Fashion-MNIST name their files alike, and plain files have no published
            # checksum: they are believed only in a folder of the dataset's name.
            if plain.is_file() and any(folder.match(own) for own in self.folders):
                return plain
        return self.download(f"{name}.gz", self.md5[name])

    def _is_of_another(self, path: Path) -> bool:
        others = [o for o in (MNIST, FASHION_MNIST) if o.title != self.title]
        return digest_of(path) in {d for o in others for d in o.md5.values()}


def read_idx(path: Path, axes: int) -> Bytes:
    """The array of bytes in an idx file, plain or gzipped.

    The header is two zero bytes, 8 for unsigned bytes, the number of dimensions, and each
    dimension as a big-endian 32-bit number.

    Args:
        path: the file.
        axes: how many dimensions the array has: 3 of images, 1 of labels.

    Raises:
        ValueError: the file is damaged or of another format.
    """
    data = _content(path)
    if data[:3] != b"\0\0\x08" or len(data) < 4 or len(data) < 4 * (data[3] + 1):
        raise ValueError(f"{path} starts with {data[:4]!r}: no idx file of bytes; fetch it again")
    if data[3] != axes:
        raise ValueError(
            f"{path} is an array of {data[3]} dimensions, expected {axes} (images have 3, labels "
            "1): it is another file; fetch it again"
        )
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4).tolist()
    values = np.frombuffer(data, np.uint8, offset=4 * (len(shape) + 1))
    if values.size != math.prod(shape):
        raise ValueError(
            f"{path} holds {values.size} bytes after its header, which promises "
            f"{math.prod(shape)}: it is cut short or damaged; fetch it again"
        )
    return values.reshape(shape)


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is no complete gzip file ({error}); fetch it again") from error


def _md5(*digests: str) -> dict[str, str]:
    kinds = ("images-idx3", "labels-idx1")
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in kinds]
    return dict(zip(names, digests, strict=True))


MNIST = IdxFiles(
    title="MNIST",
    folders=("mnist", "MNIST/raw"),
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    classes=10,
    md5=_md5(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)
FASHION_MNIST = IdxFiles(
    title="Fashion-MNIST",
    folders=("fashion-mnist", "fashion_mnist", "FashionMNIST/raw"),
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    classes=10,
    md5=_md5(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)
