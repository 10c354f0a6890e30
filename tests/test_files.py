"""Files that are replaced: the old content or the new one, and nothing beside it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from peerlearn import snapshots
from peerlearn.errors import Unwritten
from peerlearn.files import replacing
from peerlearn.record import Recorder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("before", [None, "old"])
def test_the_new_content_takes_the_place(before: str | None, durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    if before is not None:
        path.write_text(before)
    with replacing(path, durable) as scratch:
        scratch.write_text("new")
        assert path.exists() == (before is not None)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["kept.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("written", [None, "hal"])
def test_a_failure_changes_nothing(
    error: type[BaseException], before: str | None, written: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "kept.json"
    if before is not None:
        path.write_text(before)

    def fail() -> None:
        with replacing(path) as scratch:
            if written is not None:
                scratch.write_text(written)
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ([] if before is None else ["kept.json"])
    assert before is None or path.read_text() == before


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_nor_does_a_failure_after_writing(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError("no space left on device")

    path = tmp_path / "kept.json"
    path.write_text("old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="no space"), replacing(path, durable=True) as scratch:
        scratch.write_text("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["kept.json"]


@pytest.mark.parametrize("kind", [functools.partial(OSError, 28), SafetensorError])
def test_what_the_system_refuses_is_told_with_the_file(
    kind: Callable[[str], Exception], tmp_path: Path
) -> None:
    path = tmp_path / "kept.json"
    with (
        pytest.raises(Unwritten, match=f"^cannot write {path}: no space left; make room for it"),
        replacing(path),
    ):
        raise kind("no space left")


@pytest.mark.parametrize("write", [Recorder, lambda path: snapshots.save(path, {})])
def test_a_folder_that_cannot_be_is_told_with_the_file(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "folder" / "kept"
    with pytest.raises(Unwritten, match=f"^cannot write {path}: Not a directory; make room"):
        write(path)


def test_durable_content_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(
            os, step, lambda *a, step=step, real=real: (steps.append(step), real(*a))
        )
    for durable in (False, True):
        with replacing(tmp_path / "kept.json", durable) as scratch:
            scratch.write_text("new")
    assert steps == ["replace", "fsync", "replace"]
