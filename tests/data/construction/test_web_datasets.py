"""Samples of WebDataset archives: which files belong together, and what is left out."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lucida.data.construction.tar_files import Refused
from lucida.data.construction.web_datasets import Sample, WebDatasetWriter, samples
from lucida.data.pixels import decode_all
from lucida.data.readers import read_pictures


def read(path):
    found = list(samples(path))
    refused = [one for one in found if isinstance(one, Refused)]
    return {one.key: one for one in found if isinstance(one, Sample)}, Counter(one.reason for one in refused)


def test_pictures_meet_their_captions(pair_sources, tmp_path):
    told = json.dumps({"caption": "from JSON", "split": "val"}).encode()
    several = json.dumps({"captions": ["one", "two", "one"]}).encode()
    members = [
        ("a/1.jpg", b"x"), ("a/1.txt", b" a cat \n"), ("a/1.json", told),
        ("2.png", b"y"), ("2.json", told), ("3.json", several), ("3.WEBP", b"z"),
        ("./4.jpg", b"x"), ("./4.cls", b"7"), ("./4.txt", "[1] größer".encode()), ("4.mask.png", b"m"),
        ("._5.jpg", b"?"),
    ]  # fmt: skip
    found, refused = read(pair_sources.write_tar(tmp_path / "a.tar", members))
    assert {key: sample.captions for key, sample in found.items()} == {
        "a/1": ("a cat",), "2": ("from JSON",), "3": ("one", "two"), "4": ("[1] größer",),
    }  # fmt: skip
    assert (found["2"].split, found["4"].split, found["a/1"].split) == ("validation", None, "validation")
    assert refused == {}


def test_what_is_no_sample_is_counted_by_reason(pair_sources, tmp_path):
    deep = b"[" * 100_000 + b"]" * 100_000
    members = [
        ("1.jpg", b"x"), ("2.txt", b"alone"), ("3.jpg", b"x"), ("3.png", b"x"), ("3.txt", b"two"),
        ("4.jpg", b"x"), ("4.txt", b"one"), ("4.txt", b"again"), ("5.jpg", b"x"), ("5.txt", b"\xff\xfe\x00"),
        ("6.jpg", b"x"), ("6.json", b"{broken"), ("7.jpg", b"x"), ("7.json", deep), ("8.jpg", b"x"), ("8.txt", b"  "),
        ("9.jpg", b"x"), ("9.txt", b"fine"), ("a.jpg", b"x"), ("a.txt", b"y" * 1_000_001),
        ("9.jpg", b"x"), ("9.txt", b"a key of before"), ("../b.jpg", b"x"), ("c.json", b"{}"),
    ]  # fmt: skip
    found, refused = read(pair_sources.write_tar(tmp_path / "a.tar", members))
    assert list(found) == ["9"]
    assert found["9"].captions == ("fine",)
    assert refused == {
        "a picture without a caption": 2, "a caption without a picture": 1, "a sample with several pictures": 1,
        "a key that comes twice": 2, "a caption that is not UTF-8": 1, "a JSON file that cannot be read": 2,
        "a caption above 1 MB": 1, "a name that leads out of the folder": 1,
    }  # fmt: skip


CAPTIONS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1).map(str.strip).filter(bool)


@given(st.lists(CAPTIONS, max_size=6))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_again(tmp_path, captions):
    pictures = [b"picture %d" % i for i in range(len(captions))]
    written = []
    for name in ("a.tar", "b.tar"):
        with WebDatasetWriter(tmp_path / name) as writer:
            for i, (data, caption) in enumerate(zip(pictures, captions, strict=True)):
                writer.add(f"{i:09d}", data, "jpg", caption, {"id": f"x{i}"})
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    found, refused = read(tmp_path / "a.tar")
    assert [sample.captions for sample in found.values()] == [(caption,) for caption in captions]
    assert [sample.source.stream().read() for sample in found.values()] == pictures
    assert not refused


def test_archives_are_a_source_of_pictures_like_any_other(pair_sources, tmp_path):
    """What `lucida run --pictures` reads, decoded at its place."""
    captions = [f"a picture of thing {i}" for i in range(6)]
    pair_sources.write_samples(tmp_path / "train" / "a.tar", captions)
    pair_sources.write_tar(
        tmp_path / "test" / "b.tar", [("x.jpg", pair_sources.picture(9)), ("x.txt", b"y"), ("z.jpg", b"")]
    )
    corpus = read_pictures(tmp_path)
    assert {picture.id: picture.captions for picture in corpus if picture.split == "test"} == {"test/b.tar:x": ("y",)}
    assert [row.reason for row in corpus.skipped] == ["a picture without a caption"]
    assert len(corpus) == 7
    pixels = decode_all(corpus, 32)
    assert pixels.pixels.shape == (7, 32, 32, 3)
    assert [p.captions for p in read_pictures(tmp_path / "train" / "a.tar")] == [(caption,) for caption in captions]


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    try:
        with WebDatasetWriter(tmp_path / "a.tar") as writer:
            writer.add("1", b"x", "jpg", "caption", {})
            raise RuntimeError
    except RuntimeError:
        assert list(tmp_path.iterdir()) == []
    else:
        raise AssertionError
