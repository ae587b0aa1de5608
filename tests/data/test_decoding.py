"""Pictures as people keep them: every odd kind is read as a person would see it, or refused with a short reason."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from lucida.data.decoding import PIXEL_LIMIT, FileSource, decode
from lucida.data.pictures import BadPicture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green, blue, white: no turn or mirror image looks the same."""
    picture = Image.new("RGB", (2, 2))
    picture.putdata([RED, GREEN, BLUE, WHITE])
    return picture.resize((width, height), Image.Resampling.NEAREST)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes, **options: int) -> np.ndarray:
    picture, _ = decode(io.BytesIO(data), **options)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def assert_quarters(pixels: np.ndarray, tolerance: int = 6) -> None:
    height, width, _ = pixels.shape
    corners = [pixels[y, x].astype(int) for y in (4, height - 5) for x in (4, width - 5)]
    for seen, expected in zip(corners, (RED, GREEN, BLUE, WHITE), strict=True):
        assert np.abs(seen - expected).max() <= tolerance, (seen, expected)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
        ("JPEG2000", {}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_common_formats(kind, options):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    assert_quarters(decoded(encoded(quarters(), kind, **options)))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {}), ("MPO", {"quality": 95, "subsampling": 0})],
)
def test_an_animation_shows_its_first_frame(kind, options):
    others = [Image.new("RGB", (64, 48), colour) for colour in (BLUE, GREEN)]
    data = encoded(quarters(), kind, save_all=True, append_images=others, **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert_quarters(decoded(data))


def test_cmyk_and_palette():
    assert_quarters(decoded(encoded(quarters().convert("CMYK"), "JPEG", quality=95, subsampling=0)), tolerance=12)
    assert_quarters(decoded(encoded(quarters().convert("P", palette=Image.Palette.ADAPTIVE), "PNG")))
    assert set(np.unique(decoded(encoded(quarters().convert("1"), "PNG")))) == {0, 255}


def test_16_bit_grey_is_scaled_and_not_clipped():
    grey = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(8, axis=0)
    for kind in ("PNG", "TIFF"):
        pixels = decoded(encoded(Image.fromarray(grey), kind))
        assert np.abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    portable = b"P5 256 1 65535\n" + grey[:1].astype(">u2").tobytes()
    assert np.abs(decoded(portable)[0, :, 1].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("kind", ["PPM", "PNG"])
def test_16_bit_rgb_is_scaled_and_not_clipped(kind):
    ramp = np.linspace(0, 65535, 256).astype(">u2")
    row = np.stack([ramp, ramp[::-1], ramp], axis=-1).tobytes()
    data = b"P6 256 1 65535\n" + row if kind == "PPM" else png_by_hand((256, 1, 16, 2, 0, 0, 0), b"\0" + row)
    pixels = decoded(data)
    assert np.abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    assert np.abs(pixels[0, :, 1].astype(int) - np.arange(256)[::-1]).max() <= 1


@pytest.mark.parametrize("top", [1.0, 255.0, 1e6])
def test_floating_point_grey_fills_the_range(top):
    values = np.linspace(0, top, 256, dtype=np.float32)[None].repeat(8, axis=0)
    pixels = decoded(encoded(Image.fromarray(values), "TIFF"))
    assert np.abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_what_is_transparent_shows_white():
    picture = quarters().convert("RGBA")
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, 32, 24))
    alpha.paste(128, (32, 0, 64, 24))
    picture.putalpha(alpha)
    pixels = decoded(encoded(picture, "PNG"))
    assert pixels[4, 4].tolist() == list(WHITE)
    assert np.abs(pixels[4, 60].astype(int) - (127, 255, 127)).max() <= 1
    assert pixels[40, 4].tolist() == list(BLUE)
    grey = Image.merge("LA", (Image.new("L", (8, 8), 10), Image.new("L", (8, 8), 0)))
    assert (decoded(encoded(grey, "PNG")) == 255).all()
    palette = quarters().convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    palette.info["transparency"] = palette.getpixel((4, 4))
    assert decoded(encoded(palette, "PNG"))[4, 4].tolist() == list(WHITE)
    assert decoded(encoded(palette, "GIF"))[4, 4].tolist() == list(WHITE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_picture_stands_upright(orientation, kind):
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's transpositions that undo the turn
    picture = quarters()
    if orientation > 1:
        picture = picture.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    upright, stored = decode(io.BytesIO(encoded(picture, kind, exif=exif, **options)))
    assert_quarters(np.asarray(upright))
    assert stored == upright.size == (64, 48)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_metadata_that_are_damaged_do_not_matter():
    data = encoded(quarters(), "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert_quarters(decoded(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_a_truncated_picture_is_bad(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    for share in (0.02, 0.3, 0.7):
        with pytest.raises(BadPicture) as caught:
            decoded(data[: int(len(data) * share)])
        assert 0 < len(str(caught.value)) < 160
        assert "0x" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damaged_bytes_give_pixels_or_a_bad_picture_and_nothing_else(kind):
    generator = np.random.default_rng(1)
    data = np.frombuffer(encoded(quarters(), kind), np.uint8)
    for _ in range(60):
        damaged = data.copy()
        places = generator.integers(0, len(data), 4)
        damaged[places] = generator.integers(0, 256, 4)
        with suppress(BadPicture):
            assert decoded(damaged.tobytes()).ndim == 3


def test_files_that_are_no_pictures(tmp_path):
    cases = {"empty.png": b"", "text.png": b"not a picture", "page.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}
    reasons = {}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadPicture) as caught:
            FileSource(str(tmp_path / name)).open()
        reasons[name] = str(caught.value)
    assert reasons["empty.png"] == "the file is empty"
    assert reasons["text.png"] == reasons["page.jpg"] == "not a picture in a format that can be read"
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    for name in ("folder.png", "pipe.png", "missing.png"):
        with pytest.raises(BadPicture, match="no such file"):
            FileSource(str(tmp_path / name)).open()


def huge_jpeg(side: int, **options: object) -> bytes:
    """A small file of a huge, empty picture."""
    return encoded(Image.new("L", (side, side)), "JPEG", quality=1, **options)


def png_by_hand(header: tuple[int, ...], rows: bytes) -> bytes:
    """A PNG of a kind that Pillow does not write."""
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", struct.pack(">IIBBBBB", *header)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return data


def test_a_huge_picture_is_refused_before_it_is_decoded():
    tracemalloc.start()
    with pytest.raises(BadPicture, match="30000 x 30000 pixels: more than the limit of 89 million"):
        decoded(png_by_hand((30_000, 30_000, 8, 0, 0, 0, 0), b""))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    assert Image.MAX_IMAGE_PIXELS  # Pillow's own guard is back


def test_a_huge_jpeg_is_decoded_smaller(monkeypatch):
    monkeypatch.setattr("lucida.data.decoding.PIXEL_LIMIT", 100_000)
    data = encoded(quarters(1000, 900), "JPEG", quality=95, subsampling=0)
    picture, stored = decode(io.BytesIO(data))
    assert stored == (1000, 900)
    assert picture.size == (250, 225)  # a quarter: a half would be 225,000 pixels
    assert_quarters(np.asarray(picture))
    assert decode(io.BytesIO(data), at_least=200)[0].size == (250, 225)  # the limit matters more than the wish
    with pytest.raises(BadPicture, match="1000 x 900 pixels"):  # held in memory as a whole, whatever comes out
        decoded(encoded(quarters(1000, 900), "JPEG", progressive=True))


def test_30_000_by_30_000_as_jpeg():
    assert PIXEL_LIMIT < 30_000**2
    header = bytearray(huge_jpeg(64))
    at = header.index(b"\xff\xc0")
    header[at + 5 : at + 9] = (30_000).to_bytes(2, "big") * 2
    picture, stored = decode(io.BytesIO(bytes(header)))  # at 1/4: 56 million pixels; what is missing stays grey
    assert picture.size == (7500, 7500)
    assert stored == (30_000, 30_000)


def test_a_jpeg_shrinks_on_request_and_tells_its_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(quarters(800, 400), "JPEG", quality=95, exif=exif)
    picture, stored = decode(io.BytesIO(data), at_least=50)
    assert stored == (400, 800)
    assert picture.size == (100, 200)
    assert decode(io.BytesIO(data), at_least=300)[0].size == (400, 800)


def test_sources_are_small_and_tell_contents_apart(tmp_path: Path):
    path = tmp_path / "a.png"
    quarters().save(path)
    source = FileSource(str(path))
    assert len(pickle.dumps(source)) < 500
    assert pickle.loads(pickle.dumps(source)).open().size == (64, 48)
    before = source.content_key()
    assert before == FileSource(str(path)).content_key()
    quarters(65).save(path)
    assert source.content_key() != before
    path.unlink()
    assert source.content_key()
