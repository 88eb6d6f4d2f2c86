"""The digits bundled with scikit-learn: 1,797 of real handwriting, 8x8x1, ten classes; nothing to download."""

import hashlib
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.sources.base import Source


class DigitsSource(Source):
    kind = "digits"
    name = "digits"

    def digest(self) -> str:
        return hashlib.sha256(self._images.tobytes() + self.labels.tobytes()).hexdigest()

    @property
    def class_names(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    @cached_property
    def names(self) -> list[str]:
        return [f"{index:04d}" for index in range(len(self._images))]

    @property
    def labels(self) -> NDArray[np.int64]:
        return self._bundle[1]

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self._images[index])

    @property
    def _images(self) -> NDArray[np.uint8]:
        return self._bundle[0]

    @cached_property
    def _bundle(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        from sklearn.datasets import load_digits  # a slow import, needed here only

        levels, labels = load_digits(return_X_y=True)
        # 17 levels of ink, 0 to 16, spread over 0 to 255.
        images = np.round(levels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        return images, labels.astype(np.int64)
