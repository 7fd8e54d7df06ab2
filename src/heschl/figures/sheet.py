"""A picture whose pixels are the canvas' own."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage


class Sheet(AxesImage):
    """Bytes (row, column, 4) that fill axes of as many pixels, laid down as they are.

    Matplotlib would resample them onto the same pixels, which takes it longer than all else in a figure. On a canvas of
    another size, or of vectors, it does.
    """

    def __init__(self, axes: Axes, picture: np.ndarray) -> None:
        rows, columns = picture.shape[:2]
        super().__init__(axes, extent=(0, columns, rows, 0), interpolation="none", origin="upper")
        self.set_data(picture)
        axes.add_image(self)

    def make_image(self, renderer: Any, magnification: float = 1.0, unsampled: bool = False) -> Any:
        assert self.axes is not None
        picture, box = np.asarray(self.get_array()), self.axes.bbox
        far = np.abs([box.height - picture.shape[0], box.width - picture.shape[1]]).max()
        if unsampled or magnification != 1 or far > 1:
            return super().make_image(renderer, magnification, unsampled)
        return picture[::-1], round(box.x0), round(box.y0), None  # rows from below
