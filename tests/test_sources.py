"""Sources: the readers on small files, the search order, and every error on the way."""

import gzip
import hashlib
import io
import os
import struct
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

import peerlearn as pl
from peerlearn.data import SOURCES, MissingData, Source, binary_batches, files, idx, load, sources
from peerlearn.data.binary_batches import BinaryBatches
from peerlearn.data.idx import IdxFiles

NAMES = list(idx.MNIST.md5)
DATA = os.environ.get(files.VARIABLE)  # before the fixture below hides it
RETRIEVE = pooch.retrieve


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch):
    """No folder of the caller's, no cache, no network; datasets read before are forgotten."""

    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.delenv(files.VARIABLE, raising=False)
    monkeypatch.setattr(pooch, "retrieve", unreachable)
    for source in SOURCES.values():
        source.load.cache_clear()


def pack(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def idx_contents() -> dict[str, bytes]:
    """A dataset of 6 training and 4 test images; image k is filled with the byte k."""
    contents = {}
    for part, count in (("train", 6), ("t10k", 4)):
        numbers = np.arange(count)
        pixels = np.broadcast_to(numbers[:, None, None], (count, 28, 28))
        contents[f"{part}-images-idx3-ubyte"] = pack(pixels)
        contents[f"{part}-labels-idx1-ubyte"] = pack(numbers)
    return contents


def write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def zipped(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in contents.items()}


@pytest.fixture
def small_idx(monkeypatch) -> IdxFiles:
    """MNIST's description with the checksums of the small files."""
    digests = {name[:-3]: md5(content) for name, content in zipped(idx_contents()).items()}
    monkeypatch.setattr(idx, "MNIST", replace(idx.MNIST, md5=digests))
    return idx.MNIST


def batch(records: int, label_bytes: int) -> bytes:
    """Records k with the label k; red, green and blue planes are filled with k, 100, 200."""
    planes = np.repeat(np.array([[0, 100, 200]]), records, axis=0)
    planes[:, 0] = np.arange(records)
    labels = np.zeros((records, label_bytes), int)
    labels[:, -1] = np.arange(records)
    return np.hstack([labels, np.repeat(planes, 1024, axis=1)]).astype(np.uint8).tobytes()


SMALL_BATCHES = {
    "CIFAR10": {**{f"data_batch_{k}.bin": 2 for k in range(1, 6)}, "test_batch.bin": 3},
    "CIFAR100": {"train.bin": 10, "test.bin": 3},
}


@pytest.fixture(params=SMALL_BATCHES)
def small_batches(request, monkeypatch) -> tuple[BinaryBatches, dict[str, bytes]]:
    """A CIFAR description with few records per file, and those files."""
    source = getattr(binary_batches, request.param)
    counts = SMALL_BATCHES[request.param]
    small = replace(
        source,
        train={name: counts[name] for name in source.train},
        test={name: counts[name] for name in source.test},
    )
    monkeypatch.setattr(binary_batches, request.param, small)
    return small, {name: batch(n, small.label_bytes) for name, n in counts.items()}


def load_batches(source: BinaryBatches) -> sources.Images:
    return load(source.title.lower().replace("-", ""))


def tar_of(folder: str, contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


# --- digits and the registry ---------------------------------------------------------------------


def test_digits_is_whole_scaled_and_stratified():
    images = load("digits")
    assert images.train_inputs.shape == (1437, 1, 8, 8)
    assert images.test_inputs.shape == (360, 1, 8, 8)
    assert images.train_inputs.dtype == torch.float32
    assert images.train_targets.dtype == images.test_targets.dtype == torch.int64
    assert (images.train_inputs.min(), images.train_inputs.max()) == (0, 1)
    assert images.classes == 10
    counts = torch.bincount(images.test_targets)
    assert counts.min() >= 34
    assert counts.max() <= 38


def test_digits_is_split_alike_under_one_seed_and_otherwise_under_another():
    first = sources.digits(0)
    sources.digits.cache_clear()
    assert torch.equal(first.train_inputs, sources.digits(0).train_inputs)
    assert not torch.equal(first.test_inputs, sources.digits(1).test_inputs)


def test_normalization_of_digits_is_that_of_its_training_pixels():
    pixels = load("digits").train_inputs
    assert SOURCES["digits"].mean == pytest.approx((float(pixels.mean()),), abs=5e-5)
    assert SOURCES["digits"].deviation == pytest.approx((float(pixels.std()),), abs=5e-5)
    normal = SOURCES["digits"].normalized(pixels)
    assert (float(normal.mean()), float(normal.std())) == pytest.approx((0, 1), abs=2e-4)


def test_every_source_has_its_normalization():
    for name, source in SOURCES.items():
        channels = 3 if name.startswith("cifar") else 1
        assert len(source.mean) == len(source.deviation) == channels


def test_a_dataset_is_known_by_being_listed(monkeypatch):
    inputs, targets = torch.full((6, 2, 8, 8), 0.5), torch.arange(6) % 3
    mine = Source(lambda: sources.Images(inputs, targets, inputs, targets, 3), (0.5, 0), (1, 2))
    monkeypatch.setitem(SOURCES, "mine", mine)
    held = pl.tasks.images("mine", agents=2)
    stream = pl.tasks.image_stream("mine", agents=2, pool="train")
    for task, test in ((held, held.test), (stream, stream.data.test(seed=0, round=0))):
        assert task.describe()["model"] == "dinno_cnn"
        assert test[0][0, :, 0, 0].tolist() == [0, 0.25]
        assert task.models(0)[0](inputs).shape == (6, 3)


def test_a_dataset_is_read_once():
    assert load("digits") is load("digits")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"dataset 'fashion-mnist'; did you mean 'fashion_mnist'"):
        load("fashion-mnist")


@pytest.mark.parametrize("name", [n for n in SOURCES if n != "digits"])
def test_without_file_and_network_one_sentence_says_which_files_go_where(name):
    source = getattr(binary_batches if name.startswith("cifar") else idx, name.upper())
    names = source.md5 if isinstance(source, IdxFiles) else {**source.train, **source.test}
    with pytest.raises(MissingData, match="set PEERLEARN_DATA to a folder that holds") as error:
        load(name)
    assert all(file in str(error.value) for file in names)
    assert "\n" not in str(error.value)


def test_a_data_folder_that_is_none_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="nowhere', which is no folder"):
        load("mnist")


# --- idx files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "."])
def test_zipped_idx_files_are_found(small_idx, monkeypatch, tmp_path, folder):
    write(tmp_path / folder, zipped(idx_contents()))
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    check_small_idx(load("mnist"))


@pytest.mark.parametrize(("below", "named"), [("mnist", "."), ("mnist", "mnist")])
def test_plain_idx_files_are_found_in_a_folder_of_their_name(monkeypatch, tmp_path, below, named):
    write(tmp_path / below, idx_contents())
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / named))
    check_small_idx(load("mnist"))


def check_small_idx(images: sources.Images) -> None:
    assert images.train_inputs.shape == (6, 1, 28, 28)
    assert images.test_targets.tolist() == [0, 1, 2, 3]
    assert torch.equal(images.train_inputs[5], torch.full((1, 28, 28), 5 / 255))
    assert images.train_inputs.dtype == torch.float32
    assert images.train_targets.dtype == torch.int64


def test_another_dataset_of_the_same_file_names_is_not_taken(small_idx, monkeypatch, tmp_path):
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    write(tmp_path, {**zipped(idx_contents()), **idx_contents()})
    assert load("mnist").train_inputs.shape == (6, 1, 28, 28)
    with pytest.raises(MissingData, match="Fashion-MNIST is not on this machine"):
        load("fashion_mnist")


def test_a_damaged_zipped_file_is_refused(small_idx, monkeypatch, tmp_path):
    contents = zipped(idx_contents())
    contents[f"{NAMES[2]}.gz"] = contents[f"{NAMES[2]}.gz"][:-9]
    write(tmp_path / "mnist", contents)
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz has the MD5 .*, expected"):
        load("mnist")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"", "no idx file"),
        ("a", b"\0\0\x08\x03\0\0", "no idx file"),
        ("a", b"\0\0\x08", "no idx file"),
        ("a", b"\0\0\x08\0", "an array of 0 dimensions, expected 2"),
        ("a", pack(np.zeros(4)), "an array of 1 dimensions, expected 2"),
        ("a", b"\x89PNG\r\n\x1a\n" * 9, "no idx file"),
        ("a", b"\0\0\x0d" + pack(np.zeros((2, 2)))[3:], "no idx file"),
        ("a", pack(np.zeros((5, 3)))[:-1], "holds 14 bytes after its header, which promises 15"),
        ("a", pack(np.zeros((5, 3))) + b"x", "holds 16 bytes after its header, which promises 15"),
        ("a.gz", gzip.compress(pack(np.zeros(100)), mtime=0)[:-4], "no complete gzip file"),
        ("a.gz", pack(np.zeros(100)), "no complete gzip file"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path, name, content, message):
    write(tmp_path, {name: content})
    with pytest.raises(ValueError, match=message):
        idx.read_idx(tmp_path / name, axes=2)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(7,), (3, 2), (2, 3, 4)])
def test_idx_files_are_read_as_written(tmp_path, suffix, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    content = pack(array)
    write(tmp_path, {f"a{suffix}": gzip.compress(content) if suffix else content})
    assert np.array_equal(idx.read_idx(tmp_path / f"a{suffix}", len(shape)), array)


def test_test_images_of_another_size_are_refused(monkeypatch, tmp_path):
    write(tmp_path / "mnist", {**idx_contents(), NAMES[2]: pack(np.zeros((6, 14, 56)))})
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=r"MNIST: the training images are .*, the test images"):
        load("mnist")


@pytest.mark.parametrize("labels", [np.arange(5), np.arange(6) + 5, np.zeros(0)])
def test_labels_that_do_not_fit_the_images_are_refused(monkeypatch, tmp_path, labels):
    write(tmp_path / "mnist", {**idx_contents(), NAMES[1]: pack(labels)})
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match="expected one label below 10 for each image"):
        load("mnist")


# --- binary batches ------------------------------------------------------------------------------


def check_small_batches(images: sources.Images) -> None:
    assert images.train_inputs.shape == (10, 3, 32, 32)
    assert images.test_targets.tolist() == [0, 1, 2]
    assert images.test_inputs[2, :, 31, 7].tolist() == pytest.approx(
        [2 / 255, 100 / 255, 200 / 255]
    )


@pytest.mark.parametrize("inside", [False, True])
def test_unpacked_batches_are_found(small_batches, monkeypatch, tmp_path, inside):
    source, contents = small_batches
    write(tmp_path / source.folders[0], contents)
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / source.folders[0] if inside else tmp_path))
    check_small_batches(load_batches(source))


def test_an_archive_of_batches_is_read(small_batches, monkeypatch, tmp_path):
    source, contents = small_batches
    archive = tar_of(source.folders[0], {"batches.meta.txt": b"airplane\n", **contents})
    write(tmp_path, {source.archive: archive})
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match="has the MD5"):
        load_batches(source)
    monkeypatch.setattr(pooch, "file_hash", lambda path, alg: source.md5)
    check_small_batches(load_batches(source))


def test_an_archive_without_its_batches_is_refused(small_batches, monkeypatch, tmp_path):
    source, contents = small_batches
    lost = next(iter(source.test))
    write(tmp_path, {source.archive: tar_of("x", {n: c for n, c in contents.items() if n != lost})})
    with pytest.raises(ValueError, match=f"does not hold {lost}; fetch it again"):
        binary_batches.unpack(tmp_path / source.archive, list(contents))


def test_batches_cut_short_are_refused(small_batches, monkeypatch, tmp_path):
    source, contents = small_batches
    name = list(source.train)[-1]
    write(tmp_path / source.folders[0], {**contents, name: contents[name][:-1]})
    monkeypatch.setenv(files.VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=rf"{name} of {source.title} holds \d+ bytes, expected"):
        load_batches(source)


# --- downloads -----------------------------------------------------------------------------------


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    """A folder served over http, and downloads allowed; the cache is in tmp_path."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "retrieve", RETRIEVE)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_missing_files_are_downloaded_once_and_kept(small_idx, monkeypatch, tmp_path, mirror):
    folder, url = mirror
    write(folder, zipped(idx_contents()))
    monkeypatch.setattr(idx, "MNIST", replace(small_idx, url=url))
    check_small_idx(load("mnist"))
    for file in folder.iterdir():
        file.unlink()
    sources.mnist.cache_clear()
    check_small_idx(load("mnist"))
    kept = {file.name for file in (tmp_path / "cache/peerlearn/mnist").iterdir()}
    assert kept == {f"{name}.gz" for name in NAMES}


def test_a_damaged_download_is_refused_and_not_kept(small_idx, monkeypatch, tmp_path, mirror):
    folder, url = mirror
    write(folder, {name: content[:-1] for name, content in zipped(idx_contents()).items()})
    monkeypatch.setattr(idx, "MNIST", replace(small_idx, url=url))
    with pytest.raises(ValueError, match="does not match the known hash"):
        load("mnist")
    assert not list((tmp_path / "cache/peerlearn/mnist").iterdir())


def test_a_file_the_mirror_does_not_have_is_missing_data(small_idx, monkeypatch, mirror):
    monkeypatch.setattr(idx, "MNIST", replace(small_idx, url=mirror[1]))
    with pytest.raises(MissingData, match=r"cannot be downloaded from http://127.* \(HTTPError\)"):
        load("mnist")


# --- the real files, where they are --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("mnist", 60_000, 10_000),
        ("fashion_mnist", 60_000, 10_000),
        ("cifar10", 50_000, 10_000),
        ("cifar100", 50_000, 10_000),
    ],
)
def test_the_official_files_have_their_published_pixels(monkeypatch, name, train, test):
    if DATA:
        monkeypatch.setenv(files.VARIABLE, DATA)
    try:
        images = load(name)
    except MissingData:
        pytest.skip(f"{name} is not in the folder named by {files.VARIABLE}")
    assert (len(images.train_inputs), len(images.test_inputs)) == (train, test)
    assert torch.equal(images.test_targets.unique(), torch.arange(images.classes))
    source = SOURCES[name]
    pixels = images.train_inputs.transpose(0, 1).flatten(1)  # (C, n H W)
    assert pixels.mean(dim=1).tolist() == pytest.approx(source.mean, abs=2e-4)
    assert pixels.std(dim=1).tolist() == pytest.approx(source.deviation, abs=2e-4)
