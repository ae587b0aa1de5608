"""Where objects of a scene may lie: at random, each hiding only a small part of those below it."""

from __future__ import annotations

import numpy as np

from lucida.data.truth import Box

HIDDEN = 0.25
"""At most this share of an object lies under later ones."""

_TRIES = 24  # places tried for an object before there is no room for it


class Room:
    """The boxes placed so far; a new one may hide only a small part of each."""

    def __init__(self, size: int):
        self.size = size
        self.boxes: list[tuple[int, int, int, int, float]] = []  # x, y, right, bottom, pixels that may still be hidden

    def place(self, width: int, height: int, fill: float, generator: np.random.Generator) -> Box | None:
        """A random free place for a box of that size; None if none was found."""
        corners = generator.integers((self.size - width + 1, self.size - height + 1), size=(_TRIES, 2)).tolist()
        for x, y in corners:
            hidden = [_overlap(x, y, x + width, y + height, other) for other in self.boxes]
            # An object is no larger than its box: what is hidden of it is at most the overlap of the boxes.
            if sum(hidden) > HIDDEN * width * height:
                continue
            left = [(*other[:4], other[4] - part) for part, other in zip(hidden, self.boxes, strict=True)]
            if all(other[4] >= 0 for other in left):
                self.boxes = left
                box = Box(x, y, width, height)
                self.occupy(box, fill)
                return box
        return None

    def occupy(self, box: Box, fill: float) -> None:
        """Add an object of which the share ``fill`` of its box is visible."""
        x, y, width, height = int(box.x), int(box.y), int(box.width), int(box.height)
        self.boxes.append((x, y, x + width, y + height, HIDDEN * fill * width * height))


def _overlap(x: int, y: int, right: int, bottom: int, box: tuple[int, int, int, int, float]) -> int:
    across, down = min(right, box[2]) - max(x, box[0]), min(bottom, box[3]) - max(y, box[1])
    return across * down if across > 0 and down > 0 else 0
