"""Batched views of photographs: each operation equals its plain twin, one picture at a time, and so do all together."""

import colorsys
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import map_coordinates

from lucida.core.errors import LucidaError
from lucida.data.picture_augmentation import DRAWS, PRESETS, Drawn, PictureAugmentation, draws

SIZE = 24
COLUMN = {field.name: i for i, field in enumerate(fields(Drawn))}


def smooth_pictures(n, size=SIZE, seed=0):
    """Colourful, without edges so sharp that half a pixel is a different colour."""
    rough = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(rough, (size, size), mode="bicubic", align_corners=False)
    return (fine.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


PIXELS = smooth_pictures(5)


def numbers(n=5, seed=1, **fixed):
    rows = np.stack([draws(np.random.default_rng([seed, i])) for i in range(n)])
    for name, value in fixed.items():
        rows[:, COLUMN[name]] = value
    return torch.from_numpy(rows)


def place_in_picture(augmentation, row, x, y, size, source):
    """The plain twin of the affine map: one operation after another, from a place of the view back to the picture.

    Places are pixels from the centre.
    """
    x, y = x * source / size, y * source / size
    if row[COLUMN["mirror"]] < augmentation.flip:
        x = -x
    side = augmentation.crop + (1 - augmentation.crop) * row[COLUMN["crop"]]
    room = (1 - side) * source / 2
    x = x * side + (2 * row[COLUMN["across"]] - 1) * room
    y = y * side + (2 * row[COLUMN["down"]] - 1) * room
    low, high = augmentation.scale
    zoom = low * (high / low) ** row[COLUMN["scale"]]
    x, y = x / zoom, y / zoom
    turn = np.deg2rad((2 * row[COLUMN["angle"]] - 1) * augmentation.rotate)
    return x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)


def moved_one_by_one(augmentation, pixels, rows, size=None):
    source = pixels.shape[1]
    size = size or source
    down, across = np.mgrid[:size, :size] + 0.5 - size / 2
    views = []
    for picture, row in zip(pixels.numpy().astype(float), rows.numpy().astype(float), strict=True):
        x, y = place_in_picture(augmentation, row, across, down, size, source)
        places = [y + source / 2 - 0.5, x + source / 2 - 0.5]
        mode = {"reflection": "reflect", "border": "nearest"}[augmentation.padding]
        views.append(np.stack([map_coordinates(picture[..., c], places, order=1, mode=mode) for c in range(3)], -1))
    return np.stack(views)


def difference(views, expected):
    return np.abs(views.numpy().astype(float) - np.asarray(expected, float))


@pytest.mark.parametrize("padding", ["reflection", "border"])
@pytest.mark.parametrize(
    "settings_",
    [
        {"rotate": 90.0},
        {"scale": (0.5, 2.0)},
        {"crop": 0.4},
        {"flip": 0.5},
        {"rotate": 40.0, "scale": (0.6, 1.8), "crop": 0.5, "flip": 0.5},
    ],
    ids=lambda one: "+".join(one),
)
def test_one_map_equals_the_operations_one_after_another(settings_, padding):
    augmentation = PictureAugmentation(**settings_, padding=padding)
    rows = numbers()
    assert difference(augmentation.view(PIXELS, rows), moved_one_by_one(augmentation, PIXELS, rows)).max() <= 1


def test_views_may_be_larger_or_smaller_than_pictures():
    rows = numbers()
    larger = PictureAugmentation(rotate=20, crop=0.6, size=2 * SIZE)
    assert difference(larger.view(PIXELS, rows), moved_one_by_one(larger, PIXELS, rows, 2 * SIZE)).max() <= 1
    smaller = PictureAugmentation(size=SIZE // 2).view(PIXELS, rows)
    resized = [Image.fromarray(p).resize((SIZE // 2,) * 2, Image.Resampling.BILINEAR) for p in PIXELS.numpy()]
    assert difference(smaller, np.stack(resized)).max() <= 1


def test_turns_mirrors_and_crops_are_those_of_pillow():
    rows = numbers(angle=0.75, mirror=0.2, crop=0.0, across=0.5, down=0.5)
    pictures = [Image.fromarray(p) for p in PIXELS.numpy()]
    turned = np.stack([p.rotate(15, Image.Resampling.BILINEAR) for p in pictures])  # counter-clockwise
    down, across = np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2
    inside = down**2 + across**2 < (SIZE / 2 - 1) ** 2
    assert difference(PictureAugmentation(rotate=30).view(PIXELS, rows), turned)[:, inside].max() <= 2
    mirrored = np.stack([ImageOps.mirror(p) for p in pictures])
    assert (PictureAugmentation(flip=0.3).view(PIXELS, rows).numpy() == mirrored).all()
    assert (PictureAugmentation(flip=0.1).view(PIXELS, rows) == PIXELS).all()
    window = (SIZE / 4, SIZE / 4, 3 * SIZE / 4, 3 * SIZE / 4)
    cropped = np.stack([p.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=window) for p in pictures])
    seen = PictureAugmentation(crop=0.5).view(PIXELS, rows)
    assert difference(seen, cropped)[:, 1:-1, 1:-1].max() <= 1  # Pillow does not look beyond the window


@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("drawn", [0.0, 0.3, 0.99])
def test_colours_change_as_pillow_changes_them(name, enhance, drawn):
    views = PictureAugmentation(**{name: 0.6}).view(PIXELS, numbers(**{name: drawn}))
    factor = 1 + 0.6 * (2 * drawn - 1)
    expected = np.stack([enhance(Image.fromarray(p)).enhance(factor) for p in PIXELS.numpy()])
    assert difference(views, expected).max() <= 2  # Pillow rounds in between


def test_hue_turns_the_colours_of_yiq():
    views = PictureAugmentation(hue=90).view(PIXELS, numbers(hue=0.75))
    for picture, view in zip(PIXELS.numpy(), views.numpy(), strict=True):
        for colour, seen in zip(picture.reshape(-1, 3)[::37] / 255, view.reshape(-1, 3)[::37], strict=True):
            y, i, q = colorsys.rgb_to_yiq(*colour.tolist())
            turned = complex(i, q) * np.exp(1j * np.pi / 4)
            expected = 255 * np.array(colorsys.yiq_to_rgb(y, turned.real, turned.imag))  # clipped to [0, 1]
            assert np.abs(seen - expected).max() <= 3  # the library's NTSC numbers have two digits


def test_colour_operations_together_are_their_sequence():
    rows = numbers(seed=5)
    together = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.3, "hue": 15.0}
    pixels = (PIXELS // 2 + 64).to(torch.uint8)  # away from the ends: nothing is clipped in between
    one_by_one = pixels
    for name, width in together.items():
        one_by_one = PictureAugmentation(**{name: width}).view(one_by_one, rows)
    assert difference(PictureAugmentation(**together).view(pixels, rows), one_by_one).max() <= 3


@given(seed=st.integers(0, 2**31), hue=st.floats(0, 180))
@settings(max_examples=20, deadline=None)
def test_greys_stay_grey(seed, hue):
    grey = PIXELS[..., :1].expand(-1, -1, -1, 3).contiguous()
    augmentation = PictureAugmentation(rotate=30, saturation=1, hue=hue, brightness=0.5, contrast=0.5)
    views = augmentation(grey, torch.Generator().manual_seed(seed)).int()
    assert (views.amax(-1) - views.amin(-1)).max() <= 1


def test_cutout_takes_a_square_and_nothing_else():
    rows = numbers(cut_across=0.5, cut_down=0.5)
    views = PictureAugmentation(cutout=0.5).view(PIXELS, rows)
    inside = slice(SIZE // 4, 3 * SIZE // 4)
    mean = PIXELS.float().mean(dim=(1, 2)).round()[:, None, None]
    assert (views[:, inside, inside].float() - mean).abs().max() <= 1
    kept = views.clone()
    kept[:, inside, inside] = PIXELS[:, inside, inside]
    assert (kept == PIXELS).all()


def test_nothing_switched_on_changes_nothing():
    assert (PictureAugmentation()(PIXELS, torch.Generator().manual_seed(0)) == PIXELS).all()


def test_a_view_depends_on_its_own_numbers_alone():
    many, rows = smooth_pictures(40), numbers(40)
    whole = PRESETS["all"].view(many, rows)
    for i in (0, 17, 39):
        assert difference(PRESETS["all"].view(many[i : i + 1], rows[i : i + 1]), whole[i : i + 1].numpy()).max() <= 1
    assert len({view.numpy().tobytes() for view in PRESETS["all"].view(many[:1].expand(40, -1, -1, -1), rows)}) == 40


@pytest.mark.parametrize("name", PRESETS)
def test_a_generator_gives_the_same_views_again(name):
    first, again, other = (PRESETS[name](PIXELS, torch.Generator().manual_seed(seed)) for seed in (4, 4, 7))
    assert (first == again).all()
    assert (first != other).any()
    assert first.dtype == torch.uint8
    assert first.shape == PIXELS.shape


def test_presets_alone_do_what_all_does_together():
    for name, alone in PRESETS.items():
        changed = {k: v for k, v in vars(alone).items() if v != getattr(PictureAugmentation(), k)}
        assert changed, name
        assert changed.items() <= vars(PRESETS["all"]).items()


def test_parameters_fill_their_range_evenly():
    rows = torch.from_numpy(np.random.default_rng(0).random((4000, DRAWS), np.float32))
    black = torch.zeros(4000, 2, 2, 3, dtype=torch.uint8)
    black[:, :, 0] = 255
    mirrored = (PictureAugmentation(flip=0.3).view(black, rows)[:, 0, 0, 0] == 0).float().mean()
    assert abs(float(mirrored) - 0.3) < 0.03
    grey = torch.full((4000, 2, 2, 3), 100, dtype=torch.uint8)
    level = PictureAugmentation(brightness=0.4).view(grey, rows)[:, 0, 0, 0].float()
    assert 59 <= level.min() < 62
    assert 138 < level.max() <= 140
    assert abs(float(level.mean()) - 100) < 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotate": -1}, "rotate cannot be -1"),
        ({"scale": (2.0, 1.0)}, r"scale cannot be \(2.0, 1.0\)"),
        ({"scale": (0.0, 1.0)}, "scale cannot be"),
        ({"crop": 0}, "crop cannot be 0"),
        ({"flip": 1.5}, "flip cannot be 1.5"),
        ({"hue": 181}, "hue cannot be 181"),
        ({"padding": "zeros"}, "padding cannot be 'zeros'"),
        ({"size": 0}, "size cannot be 0"),
        ({"saturation": float("nan")}, "saturation cannot be nan"),
    ],
)
def test_settings_out_of_range_are_named(options, message):
    with pytest.raises(LucidaError, match=message):
        PictureAugmentation(**options)


def test_other_pixels_are_refused():
    generator = torch.Generator()
    with pytest.raises(LucidaError, match="must be uint8"):
        PRESETS["all"](PIXELS.float(), generator)
    with pytest.raises(LucidaError, match="must be squares, not 24 x 12"):
        PRESETS["all"](PIXELS[:, :12], generator)
    with pytest.raises(LucidaError, match=r"5 views take numbers \[5, 12\], not \[1, 12\]"):
        PRESETS["all"].view(PIXELS, numbers(1))
