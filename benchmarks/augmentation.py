"""Batched augmentation against loops over Pillow: pictures a second in one run, with equal views asserted.

    python benchmarks/augmentation.py [--out docs/results/benchmarks/augmentation.json]

All are given the same numbers, one thread each; views are asserted to be equal to those of one transform, and alike (by
the median) to those of several, which blur what they resample again. Two loops stand beside the batch: Pillow
operation by operation, as augmentation pipelines are usually written, which resamples up to three times; and Pillow
with everything that moves pixels in one affine transform, the best that can be done picture by picture.

What bounds it. A view reads four neighbours and writes one value for each of its 3·S² numbers and then multiplies each
colour by a 3 x 3 matrix: some 30 operations a number, 1.5 million for S = 128, about half a millisecond on a core that
finishes three a nanosecond. Pillow does the same arithmetic on bytes in fixed point, so one operation that moves pixels
costs about the same there, and a mirror alone or a crop alone less; the batch gains where several become one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.core.seeds import stream
from lucida.data.picture_augmentation import DRAWS, PRESETS, Drawn, PictureAugmentation

PICTURES, SIZE, REPEATS = 256, 128, 7
BILINEAR = Image.Resampling.BILINEAR
_NAMES = [field.name for field in fields(Drawn)]


def smooth_pictures() -> Tensor:
    """Colourful, without sharp edges: what two ways of resampling make of them can be compared."""
    rough = torch.rand(PICTURES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(rough, (SIZE, SIZE), mode="bicubic", align_corners=False)
    return (fine.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class PillowLoop:
    """The same views of one picture after another.

    Args:
        augmentation: what is done.
        drawn: the numbers of each view.
    """

    def __init__(self, augmentation: PictureAugmentation, drawn: Tensor):
        self.augmentation = augmentation
        numbers = Drawn(*drawn.unbind(dim=1))
        self.maps = augmentation.maps(numbers).double().numpy()
        self.drawn = [SimpleNamespace(**dict(zip(_NAMES, row, strict=True))) for row in drawn.double().tolist()]

    def operations(self, pixels: np.ndarray) -> np.ndarray:
        """A turn, a scale, a crop and a mirror one after another, then the colours."""
        views = []
        for picture, row in zip(pixels, self.drawn, strict=True):
            views.append(np.array(self._recoloured(self._moved(Image.fromarray(picture), row), row)))
        return np.stack(views)

    def one_transform(self, pixels: np.ndarray) -> np.ndarray:
        """One affine transform, then the colours."""
        views = []
        for picture, row, ((a, b, c), (d, e, f)) in zip(pixels, self.drawn, self.maps, strict=True):
            half = SIZE / 2
            corner = (a, b, half * (c + 1 - a - b), d, e, half * (f + 1 - d - e))
            image = Image.fromarray(picture)
            if self._moves:
                image = image.transform((SIZE, SIZE), Image.Transform.AFFINE, corner, BILINEAR)
            views.append(np.array(self._recoloured(image, row)))
        return np.stack(views)

    @property
    def _moves(self) -> bool:
        own = self.augmentation
        return bool(own.rotate or own.scale != (1.0, 1.0) or own.crop < 1 or own.flip)

    def _moved(self, image: Image.Image, row: SimpleNamespace) -> Image.Image:
        own = self.augmentation
        if own.rotate:
            image = image.rotate((2 * row.angle - 1) * own.rotate, BILINEAR)
        if own.scale != (1.0, 1.0):
            low, high = own.scale
            zoom = low * (high / low) ** row.scale
            rest = SIZE / 2 * (1 - 1 / zoom)
            image = image.transform(
                (SIZE, SIZE), Image.Transform.AFFINE, (1 / zoom, 0, rest, 0, 1 / zoom, rest), BILINEAR
            )
        if own.crop < 1:
            side = SIZE * (own.crop + (1 - own.crop) * row.crop)
            left, top = row.across * (SIZE - side), row.down * (SIZE - side)
            image = image.resize((SIZE, SIZE), BILINEAR, box=(left, top, left + side, top + side))
        return ImageOps.mirror(image) if row.mirror < own.flip else image

    def _recoloured(self, image: Image.Image, row: SimpleNamespace) -> Image.Image:
        own = self.augmentation
        for width, number, enhance in (
            (own.brightness, row.brightness, ImageEnhance.Brightness),
            (own.contrast, row.contrast, ImageEnhance.Contrast),
            (own.saturation, row.saturation, ImageEnhance.Color),
        ):
            if width:
                image = enhance(image).enhance(1 + width * (2 * number - 1))
        if own.hue:
            turned = np.array(image.convert("HSV"))
            turned[..., 0] += np.array(round((2 * row.hue - 1) * own.hue / 360 * 255) % 256, np.uint8)
            image = Image.fromarray(turned, "HSV").convert("RGB")
        return image


def check(augmentation: PictureAugmentation, pixels: Tensor, drawn: Tensor) -> None:
    """Equal views where Pillow has a picture at all; hue is left out, which Pillow turns in another space.

    Where contrast is changed, the black that Pillow pads with moves the mean that it is stretched around, so only the
    median can be equal there.
    """
    augmentation = replace(augmentation, hue=0.0)
    ours = augmentation.view(pixels, drawn).numpy().astype(int)
    whole = np.full(pixels.shape, 255, np.uint8)
    plain = PillowLoop(replace(augmentation, brightness=0.0, contrast=0.0, saturation=0.0), drawn)
    inside = plain.one_transform(whole).min(axis=-1) == 255
    loop = PillowLoop(augmentation, drawn)
    difference = np.abs(ours - loop.one_transform(pixels.numpy()).astype(int))[inside]
    if augmentation.contrast:
        assert np.median(difference) <= 4, f"views differ by {np.median(difference)} levels"
    else:
        assert difference.max() <= 3, f"views differ by {difference.max()} levels"
    several = np.abs(ours - loop.operations(pixels.numpy()).astype(int))[inside]
    assert np.median(several) <= 4, f"views differ by {np.median(several)} levels from several operations"


def main() -> None:
    """Measure each preset, assert equal views, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/augmentation.json"))
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    pixels = smooth_pictures()
    drawn = torch.from_numpy(stream(0, "benchmark").random((PICTURES, DRAWS), np.float32))
    results = Results()
    for name, augmentation in PRESETS.items():
        check(augmentation, pixels, drawn)
        loop = PillowLoop(augmentation, drawn)
        ways: dict[str, Callable[[], object]] = {
            "batched": partial(augmentation.view, pixels, drawn),
            "Pillow, operation by operation": partial(loop.operations, pixels.numpy()),
            "Pillow, one transform": partial(loop.one_transform, pixels.numpy()),
        }
        taken = _in_turns(ways)
        for way, seconds in taken.items():
            results.add(f"{name}/{way}/pictures a second", _spread(PICTURES / seconds))
        for way in list(ways)[1:]:
            results.add(f"{name}/times faster than {way}", _spread(taken[way] / taken["batched"]))
        told = [f"{way} {PICTURES / np.median(seconds):6.0f}/s" for way, seconds in taken.items()]
        print(f"{name:8} " + "   ".join(told), flush=True)
    results.details = {
        "interval": "smallest and largest of the repeats",
        "pictures": PICTURES,
        "size": SIZE,
        "threads": torch.get_num_threads(),
        "environment": environment(seed=0),
    }
    results.save(out)


def _in_turns(ways: dict[str, Callable[[], object]]) -> dict[str, np.ndarray]:
    """Seconds of each way, in turns; the first turn warms up."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(REPEATS + 1):
        for way, call in ways.items():
            began = time.perf_counter()
            call()
            if repeat:
                taken[way].append(time.perf_counter() - began)
    return {way: np.array(seconds) for way, seconds in taken.items()}


def _spread(values: np.ndarray) -> Metric:
    return Metric(float(np.median(values)), (float(values.min()), float(values.max())), len(values))


if __name__ == "__main__":
    main()
