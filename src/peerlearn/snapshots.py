"""What is kept of a run to be drawn: small tensors of each evaluation, and what lies behind.

In a run's folder ``snapshots/`` holds ``scene.safetensors`` and one ``<round>.safetensors`` for
each evaluation, where the task has something to draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from .files import replacing, writing

FOLDER = "snapshots"


def scene_path(folder: Path) -> Path:
    return folder / FOLDER / "scene.safetensors"


def path(folder: Path, round: int) -> Path:
    return folder / FOLDER / f"{round:08d}.safetensors"


def save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file, whole or not at all."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch:
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, scratch)


def scene(folder: Path) -> dict[str, Tensor]:
    """What lies behind the snapshots of a run; empty where there are none."""
    return load_file(scene_path(folder)) if scene_path(folder).exists() else {}


def rounds(folder: Path) -> list[int]:
    """After which rounds there are snapshots, ascending."""
    return sorted(int(p.stem) for p in (folder / FOLDER).glob("[0-9]*.safetensors"))


def load(folder: Path, round: int) -> dict[str, Tensor]:
    """name -> (A, ...) of the networks after a round."""
    return load_file(path(folder, round))
