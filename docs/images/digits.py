"""Draws digits.png, the picture of the README: ``python docs/images/digits.py runs/digits``."""

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib import image

from peerlearn import record
from peerlearn.report import figures, style


def picture(drawing: style.Drawing) -> np.ndarray:
    """One of the report's figures as pixels, (height, width, 3)."""
    file = io.BytesIO()
    with style.styled():
        drawing.figure.savefig(file, dpi=160, facecolor="white")
    return image.imread(io.BytesIO(file.getvalue()))[..., :3]


def main(folder: str) -> None:
    drawings = {d.name: d for d in figures.draw(record.read_all(folder))}
    both = [picture(drawings[name]) for name in ("graph", "rounds")]
    side_by_side = np.concatenate(both, axis=1)
    out = Path(__file__).with_suffix(".png")
    image.imsave(out, side_by_side)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
