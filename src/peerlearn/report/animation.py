"""Animations: the frames of one figure, in few colors, as a GIF."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ..files import replacing, writing

LAST_FRAME_MS = 2000
MAX_BYTES = 2_000_000
FRAME_DPI = 120


class Animation(NamedTuple):
    """A GIF with its name (of the file), its title and what is seen on it, in words."""

    name: str
    gif: bytes
    title: str
    caption: str

    def save(self, folder: Path) -> str:
        """Write ``NAME.gif``.

        Returns:
            An address for a page that holds all of it.
        """
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{self.name}.gif") as scratch:
            scratch.write_bytes(self.gif)
        return f"data:image/gif;base64,{base64.b64encode(self.gif).decode()}"


class Film:
    """Takes frames of a figure, which is laid out as it is for the first one.

    Args:
        figure: what changes from frame to frame.
        colors: (colors, 3) from 0 to 1, those that frames have: at most 256.
    """

    def __init__(self, figure: Figure, colors: NDArray[Any]) -> None:
        figure.set_dpi(FRAME_DPI)
        self._figure, self._canvas = figure, FigureCanvasAgg(figure)
        self._palette = Image.new("P", (1, 1))
        self._palette.putpalette(np.rint(255 * colors).astype(np.uint8).tobytes())
        self._frames: list[Image.Image] = []

    def take(self) -> None:
        """A frame of the figure as it looks now."""
        self._canvas.draw()
        self._figure.set_layout_engine("none")
        pixels = np.ascontiguousarray(np.asarray(self._canvas.buffer_rgba())[..., :3])
        frame = Image.fromarray(pixels)
        self._frames.append(frame.quantize(palette=self._palette, dither=Image.Dither.NONE))

    def gif(self, frame_ms: int) -> bytes:
        """All frames; every second of them up to the last while they exceed MAX_BYTES."""
        return _gif(self._frames, frame_ms)


def _gif(frames: list[Image.Image], frame_ms: int) -> bytes:
    first, *rest = frames
    durations = [frame_ms] * len(rest) + [LAST_FRAME_MS]
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    fits = len(file.getvalue()) <= MAX_BYTES or not rest
    return file.getvalue() if fits else _gif(frames[::-2][::-1], frame_ms)
