"""Archives of strangers: what is read, what is refused, and that any bytes at all end in one of both."""

from __future__ import annotations

import io
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.construction import tar_files
from lucida.data.construction.tar_files import Member, Refused, TarSource, read_at, safe_name, walk
from lucida.data.pictures import BadPicture


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def reasons(path: Path) -> list[str]:
    return [found.reason for found in walk(path) if isinstance(found, Refused)]


def contents(path: Path) -> dict[str, bytes]:
    return {m.name: read_at(path, m.offset, m.length) for m in walk(path) if isinstance(m, Member)}


def patched(path: Path, at: int, value: bytes) -> Path:
    """A header field overwritten, with the checksum made right again."""
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_are_found_as_tarfile_finds_them(pair_sources, tmp_path, format):
    files = {"a.jpg": b"x" * 513, "folder/" + "b" * 80 + ".txt": b"", "c.txt": b"y" * 512}
    if format != tarfile.USTAR_FORMAT:
        files |= {"long/" + "n" * 300 + ".jpg": b"z", "ümlaut.txt": b"u"}
    path = pair_sources.write_tar(tmp_path / "a.tar", files.items(), format=format)
    assert contents(path) == files
    with tarfile.open(path) as tar:
        assert [(m.name, m.offset_data, m.size) for m in tar] == [
            (m.name, m.offset, m.length) for m in walk(path) if isinstance(m, Member)
        ]
    assert reasons(path) == []


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "..\\a.jpg", "C:\\a.jpg", "c:a.jpg", "\\\\host\\a.jpg", "a\nb.jpg"],
)
def test_names_that_lead_out_are_refused(pair_sources, tmp_path, name):
    path = pair_sources.write_tar(tmp_path / "a.tar", [(name, b"x"), ("fine.jpg", b"y")])
    assert reasons(path) == ["a name that leads out of the folder"]
    assert list(contents(path)) == ["fine.jpg"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a link"), (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"), (tarfile.FIFOTYPE, "a pipe"), (b"Z", "a member of unknown kind"),
    ],
)  # fmt: skip
def test_what_is_no_file_is_refused(pair_sources, tmp_path, kind, reason):
    path = pair_sources.write_tar(tmp_path / "a.tar", [link("a.jpg", kind), ("fine.jpg", b"y")])
    assert reasons(path) == [reason]
    assert contents(path) == {"fine.jpg": b"y"}


def test_a_link_that_claims_data_does_not_hide_what_follows(pair_sources, tmp_path):
    """A size in a link's header is not followed by data; skipping so much would skip other members."""
    path = pair_sources.write_tar(tmp_path / "a.tar", [link("a", tarfile.SYMTYPE), ("fine.jpg", b"y")])
    assert contents(patched(path, 124, b"00000001000\0")) == {"fine.jpg": b"y"}


def test_a_huge_file_is_refused_and_walked_over(pair_sources, tmp_path, monkeypatch):
    monkeypatch.setattr(tar_files, "MEMBER_LIMIT", 1000)
    path = pair_sources.write_tar(tmp_path / "a.tar", [("big.jpg", b"x" * 1001), ("fine.jpg", b"y" * 1000)])
    assert len(reasons(path)) == 1
    assert list(contents(path)) == ["fine.jpg"]


@pytest.mark.parametrize("cut", [1, 511, 512, 700, 1023, 1024, 1100])
def test_a_cut_archive_gives_what_is_whole_and_says_so(pair_sources, tmp_path, cut):
    path = pair_sources.write_tar(tmp_path / "a.tar", [("a.jpg", b"x" * 100), ("b.jpg", b"y" * 600)])
    data = path.read_bytes()
    path.write_bytes(data[: 1024 + cut])
    assert list(contents(path)) == ["a.jpg"]
    assert len(reasons(path)) == 1
    assert "ends within" in reasons(path)[0]


def test_an_archive_without_its_end_is_said_to_be(pair_sources, tmp_path):
    path = pair_sources.write_tar(tmp_path / "a.tar", [("a.jpg", b"x")])
    path.write_bytes(path.read_bytes()[:1024])
    assert list(contents(path)) == ["a.jpg"]
    assert reasons(path) == ["the archive has no end mark"]


def test_a_size_below_zero_ends_the_walk(pair_sources, tmp_path):
    """Base-256 sizes may be negative; followed, they would lead back, for ever."""
    path = pair_sources.write_tar(tmp_path / "a.tar", [("a.jpg", b"x")])
    patched(path, 124, b"\xff" * 12)
    assert reasons(path) == ["the archive is damaged: a size below 0"]


def test_an_extended_header_of_many_bytes_is_not_read(tmp_path):
    """A file of 2 GB of holes on disk: a header that claims all of it must not come into memory."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2_000_000_000
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT))
    with path.open("ab") as file:
        file.truncate(512 + 2_000_000_512)
    assert reasons(path) == ["the archive is damaged: a header of many bytes"]


@pytest.mark.parametrize(
    "record", [b"99 path=a\n", b"1 path=a\n", b"x path=a\n", b"9 path=a", b"0000000000009 path=a\n"]
)
def test_a_broken_extended_header_ends_the_walk(tmp_path, record):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0") + bytes(1024))
    assert reasons(path) == ["the archive is damaged: an extended header"]


def test_an_extended_header_cannot_smuggle_a_name(pair_sources, tmp_path):
    info = tarfile.TarInfo("fine.jpg")
    info.pax_headers = {"path": "../../evil.jpg"}
    path = pair_sources.write_tar(tmp_path / "a.tar", [info], format=tarfile.PAX_FORMAT)
    assert [found.name for found in walk(path)] == ["../../evil.jpg"]
    assert reasons(path) == ["a name that leads out of the folder"]


def test_a_sparse_file_is_refused(pair_sources, tmp_path):
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": "99999999999"}
    path = pair_sources.write_tar(tmp_path / "a.tar", [info], format=tarfile.PAX_FORMAT)
    assert reasons(path) == ["a sparse file"]
    old = tmp_path / "b.tar"
    info = tarfile.TarInfo("a.jpg")
    info.type = tarfile.GNUTYPE_SPARSE
    pair_sources.write_tar(old, [info])
    assert reasons(old) == ["a sparse file, not followed"]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_archive_is_one_line(tmp_path, mode):
    path = tmp_path / "a.tar"
    with tarfile.open(path, mode) as tar:
        tar.addfile(tarfile.TarInfo("a"), io.BytesIO())
    with pytest.raises(LucidaError, match="compressed"):
        list(walk(path))


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x89PNG" + b"x" * 600])
def test_what_is_no_archive_is_one_line(tmp_path, data):
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(LucidaError, match="not a tar archive"):
        list(walk(path))


@given(
    places=st.lists(st.tuples(st.integers(0, 5119), st.integers(0, 255)), max_size=12),
    length=st.integers(0, 5120),
    right=st.booleans(),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_end(pair_sources, tmp_path, places, length, right):
    """However an archive is damaged: the walk ends, and every member lies within the file and goes forward."""
    files = [("a.jpg", b"x" * 600), ("l" * 200 + ".txt", b"y"), ("ü.txt", b"z" * 512)]
    path = pair_sources.write_tar(tmp_path / "a.tar", files, format=tarfile.PAX_FORMAT)
    data = bytearray(path.read_bytes()[: max(length, 512)])
    for place, value in places:
        if place < len(data):
            data[place] = value
    if right:  # checksums made right, so that damage goes deeper
        for block in range(0, len(data) - 511, 512):
            data[block + 148 : block + 156] = b" " * 8
            data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
    path.write_bytes(data)
    try:
        found = list(walk(path))
    except LucidaError:
        return
    members = [member for member in found if isinstance(member, Member)]
    assert len(found) <= len(data) // 512 + 1
    assert all(member.offset >= 512 and member.offset + member.length <= len(data) for member in members)
    assert all(a.offset + a.length <= b.offset for a, b in pairwise(members))
    assert all(safe_name(member.name) for member in members)


def test_a_picture_is_read_at_its_place(pair_sources, tmp_path):
    path = pair_sources.write_tar(
        tmp_path / "a.tar", [("x.bin", b"?" * 700), ("a.png", pair_sources.picture(1, kind="PNG"))]
    )
    member = [m for m in walk(path) if isinstance(m, Member)][1]
    source = TarSource(str(path), member.offset, member.length)
    assert source.open().size == (64, 48)
    path.write_bytes(path.read_bytes()[: member.offset + 10])
    with pytest.raises(BadPicture, match="ends within"):
        source.open()
