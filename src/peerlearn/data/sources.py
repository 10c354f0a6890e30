"""Labelled images: the built-in digits, MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

Files are looked for in the folder named by the environment variable PEERLEARN_DATA, in it and in
the dataset's own folder below it; then in the download cache; then at a public mirror. Wherever
they come from they are checked: archives by their published MD5, unpacked files by their form and
size.
"""

from __future__ import annotations

import gzip
import math
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..values import require_known

VARIABLE = "PEERLEARN_DATA"

Bytes = NDArray[np.uint8]


class Images(NamedTuple):
    """A training set and a test set of C x H x W images, pixels in [0, 1].

    A source returns the same tensors every time it is called: copy them before changing them.
    """

    train_inputs: Tensor  # (n, C, H, W) float32
    train_targets: Tensor  # (n,) int64
    test_inputs: Tensor  # (m, C, H, W) float32
    test_targets: Tensor  # (m,) int64
    classes: int


class MissingData(ValueError):
    """A dataset is neither on this machine nor to be had from its mirror."""


# Mean and standard deviation of each channel over the training pixels. Sources leave pixels in
# [0, 1]; whoever trains on them may normalise with these.
NORMALIZATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "digits": ((0.3054,), (0.3761,)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


@cache
def digits(seed: int = 0) -> Images:
    """The 1,797 handwritten digits (1 x 8 x 8) that scikit-learn ships: no download.

    Args:
        seed: which stratified 80/20 split into training and test set.
    """
    from sklearn.datasets import load_digits  # here, because it takes a second
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels = (data.images[:, None] / 16).astype(np.float32)  # (1797, 1, 8, 8), 17 grey levels
    targets = data.target.astype(np.int64)
    split = train_test_split(pixels, targets, test_size=0.2, stratify=targets, random_state=seed)
    train_inputs, test_inputs, train_targets, test_targets = map(torch.from_numpy, split)
    return Images(train_inputs, train_targets, test_inputs, test_targets, classes=10)


@cache
def mnist() -> Images:
    """MNIST: 60,000 and 10,000 handwritten digits, 1 x 28 x 28 (LeCun, Cortes and Burges)."""
    return _from_idx(MNIST)


@cache
def fashion_mnist() -> Images:
    """Fashion-MNIST: 60,000 and 10,000 articles of clothing, 1 x 28 x 28 (Xiao et al. 2017)."""
    return _from_idx(FASHION_MNIST)


@cache
def cifar10() -> Images:
    """CIFAR-10: 50,000 and 10,000 photographs, 3 x 32 x 32, 10 classes (Krizhevsky 2009)."""
    return _from_batches(CIFAR10)


@cache
def cifar100() -> Images:
    """CIFAR-100: 50,000 and 10,000 photographs, 3 x 32 x 32, its 100 fine classes."""
    return _from_batches(CIFAR100)


SOURCES: dict[str, Callable[[], Images]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
}


def load(name: str) -> Images:
    """The dataset called ``name``, one of `SOURCES`; read once, then kept in memory.

    Raises:
        MissingData: it is not here and cannot be downloaded.
        ValueError: there is no such dataset, or its files are damaged.
    """
    require_known("dataset", name, SOURCES)
    return SOURCES[name]()


# --- MNIST's format: one idx file of images and one of labels ------------------------------------


@dataclass(frozen=True)
class IdxFiles:
    """A dataset of four gzipped idx files: training images and labels, test images and labels."""

    title: str
    folders: tuple[str, ...]  # its own folders below PEERLEARN_DATA; the first names the cache
    url: str
    md5: dict[str, str]  # file name without .gz -> MD5 of the gzipped file
    classes: int = 10

    @property
    def wanted(self) -> str:
        names = ", ".join(f"{name}.gz" for name in self.md5)
        return f"{self.folders[0]}/ with {names} (or the same unzipped)"


def _idx_md5(*digests: str) -> dict[str, str]:
    kinds = ("images-idx3", "labels-idx1")
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in kinds]
    return dict(zip(names, digests, strict=True))


MNIST = IdxFiles(
    title="MNIST",
    folders=("mnist", "MNIST/raw"),
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    md5=_idx_md5(
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
    md5=_idx_md5(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)


def read_idx(path: Path) -> Bytes:
    """The array of bytes in an idx file, plain or gzipped.

    The header is two zero bytes, 8 for unsigned bytes, the number of dimensions, and each
    dimension as a big-endian 32-bit number.

    Raises:
        ValueError: the file is damaged or of another format.
    """
    data = _content(path)
    if data[:3] != b"\0\0\x08" or len(data) < 4 * (data[3] + 1):
        raise ValueError(f"{path} starts with {data[:4]!r}: no idx file of bytes; fetch it again")
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


def _from_idx(source: IdxFiles) -> Images:
    train, train_labels, test, test_labels = (
        read_idx(_find_idx(source, name)) for name in source.md5
    )
    return Images(
        *_tensors(source.title, train[:, None], train_labels, source.classes),
        *_tensors(source.title, test[:, None], test_labels, source.classes),
        source.classes,
    )


def _find_idx(source: IdxFiles, name: str) -> Path:
    for folder in _folders(source.folders):
        zipped, plain = folder / f"{name}.gz", folder / name
        if zipped.is_file() and not _belongs_to_another(zipped, source):
            return _checked(zipped, source.md5[name])
        # MNIST and Fashion-MNIST name their files alike, and plain files have no published
        # checksum: they are believed only in a folder of the dataset's name.
        if plain.is_file() and any(folder.match(own) for own in source.folders):
            return plain
    return _download(source, f"{name}.gz", source.md5[name], source.folders[0])


def _belongs_to_another(path: Path, source: IdxFiles) -> bool:
    others = [o for o in (MNIST, FASHION_MNIST) if o.title != source.title]
    return pooch.file_hash(str(path), alg="md5") in {d for o in others for d in o.md5.values()}


# --- CIFAR's format: batches of records, label bytes first, then the pixels ----------------------


@dataclass(frozen=True)
class Batches:
    """A dataset of binary batches, as a folder of files or as the archive of that folder."""

    title: str
    folder: str
    archive: str
    md5: str  # of the archive
    train: dict[str, int]  # file -> the records in it
    test: dict[str, int]
    label_bytes: int  # a record's label is the last of them
    classes: int
    shape: tuple[int, int, int] = (3, 32, 32)
    url: str = "https://www.cs.toronto.edu/~kriz/"

    @property
    def wanted(self) -> str:
        return f"{self.archive}, or {self.folder}/ with {', '.join({**self.train, **self.test})}"


CIFAR10 = Batches(
    title="CIFAR-10",
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    train={f"data_batch_{k}.bin": 10_000 for k in range(1, 6)},
    test={"test_batch.bin": 10_000},
    label_bytes=1,
    classes=10,
)
CIFAR100 = Batches(
    title="CIFAR-100",
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    train={"train.bin": 50_000},
    test={"test.bin": 10_000},
    label_bytes=2,  # coarse, fine
    classes=100,
)


def _from_batches(source: Batches) -> Images:
    batches = _find_batches(source)
    return Images(
        *_tensors(source.title, *_records(source, source.train, batches), source.classes),
        *_tensors(source.title, *_records(source, source.test, batches), source.classes),
        source.classes,
    )


def _find_batches(source: Batches) -> dict[str, bytes]:
    """File name -> content, from unpacked files or from the archive."""
    names = [*source.train, *source.test]
    for folder in _folders((source.folder,)):
        if all((folder / name).is_file() for name in names):
            return {name: (folder / name).read_bytes() for name in names}
        if (folder / source.archive).is_file():
            return _unpack(_checked(folder / source.archive, source.md5), names)
    return _unpack(_download(source, source.archive, source.md5, source.folder), names)


def _unpack(archive: Path, names: list[str]) -> dict[str, bytes]:
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


def _records(
    source: Batches, files: dict[str, int], batches: dict[str, bytes]
) -> tuple[Bytes, Bytes]:
    """Pixels (n, C, H, W) and labels (n,) of all records in ``files``."""
    width = source.label_bytes + math.prod(source.shape)
    for name, records in files.items():
        if len(batches[name]) != records * width:
            raise ValueError(
                f"{name} of {source.title} holds {len(batches[name])} bytes, expected "
                f"{records * width} ({records} records of {width} bytes): it is cut short, or not "
                "of the binary version; fetch it again"
            )
    data = np.frombuffer(b"".join(batches[name] for name in files), np.uint8).reshape(-1, width)
    pixels = data[:, source.label_bytes :].reshape(-1, *source.shape)
    return pixels, data[:, source.label_bytes - 1]


# --- what both formats share ---------------------------------------------------------------------


def _tensors(title: str, pixels: Bytes, labels: Bytes, classes: int) -> tuple[Tensor, Tensor]:
    """Inputs (n, C, H, W) in [0, 1] and targets (n,) from bytes."""
    if len(pixels) != len(labels) or len(labels) == 0 or labels.max() >= classes:
        raise ValueError(
            f"{title} has {len(pixels)} images and {len(labels)} labels up to "
            f"{labels.max(initial=0)}, expected one label below {classes} for each image; "
            "fetch its files again"
        )
    inputs = np.divide(pixels, 255, dtype=np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64))


def local(name: str, title: str) -> Path:
    """A file or folder below PEERLEARN_DATA that the library cannot fetch itself.

    Raises:
        MissingData: it is not there.
    """
    for folder in _folders(()):
        if (folder / name).exists():
            return folder / name
    raise MissingData(
        f"{title} is not on this machine: give its path, or set {VARIABLE} to a folder that holds "
        f"{name}"
    )


def _folders(own: tuple[str, ...]) -> Iterator[Path]:
    """The dataset's own folders below PEERLEARN_DATA, then that folder itself."""
    if not (named := os.environ.get(VARIABLE)):
        return
    root = Path(named).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"{VARIABLE} is {named!r}, which is no folder; name one, or unset it")
    yield from (root / name for name in own)
    yield root


def _download(source: IdxFiles | Batches, name: str, md5: str, folder: str) -> Path:
    """The path of a file in the cache, fetched if it is not there."""
    try:
        place = pooch.os_cache("peerlearn") / folder
        return Path(pooch.retrieve(source.url + name, f"md5:{md5}", fname=name, path=place))
    except OSError as error:
        raise MissingData(
            f"{source.title} is not on this machine and cannot be downloaded from {source.url} "
            f"({type(error).__name__}): set {VARIABLE} to a folder that holds {source.wanted}"
        ) from None


def _checked(path: Path, md5: str) -> Path:
    if (digest := pooch.file_hash(str(path), alg="md5")) != md5:
        raise ValueError(
            f"{path} has the MD5 {digest}, expected {md5}: it is cut short or damaged; "
            "fetch it again or remove it"
        )
    return path
