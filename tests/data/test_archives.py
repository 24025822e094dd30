"""Archives of all kinds, broken ones and links: each is read, or it is said what is wrong with it."""

import bz2
import gzip
import lzma
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from archives_made import raw_zip, reason, write_folder, write_tar
from small_sources import picture, write_zip

from parrot.data.images import ImageStore
from parrot.data.images.zips import whole_member
from parrot.data.rejects import kind
from parrot.errors import ParrotError


@pytest.mark.parametrize(("suffix", "mode"), [("gz", "w:gz"), ("bz2", "w:bz2"), ("xz", "w:xz")])
def test_compressed_tars(suffix: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"train/{i}.jpg": picture(i) for i in range(300)}
    path = write_tar(tmp_path / f"images.tar.{suffix}", members, mode)
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    store = ImageStore(path)
    for number in reversed(range(300)):
        assert store.read(f"{number}.jpg") == picture(number)
    assert not list(room.iterdir())  # nothing is left, even if we are killed now
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ParrotError, match=r"a compressed archive that is broken or ends early"):
        ImageStore(path)


def test_a_compressed_tar_that_finds_no_room(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow beyond a limit."""
    path = write_tar(tmp_path / "images.tar.gz", {"a.bin": bytes(5 << 20)}, "w:gz")
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "from parrot.data.images import ImageStore\nfrom parrot.errors import ParrotError\n"
        "try: ImageStore(sys.argv[1])\nexcept ParrotError as error: print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert f"{path}: cannot be unpacked in " in printed.stdout
    assert "set TMPDIR to a folder with more room" in printed.stdout


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(b"no tar", mtime=0), r"a compressed archive, but no whole tar"),
        (bz2.compress(picture(1)), r"a compressed archive, but no whole tar"),
        (lzma.compress(b""), r"a compressed archive, but no whole tar \(empty file\)"),
        (b"<!doctype html><title>Quota exceeded</title>", r"a web page \(HTML\), but no whole tar"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "a zstd archive, but no whole tar"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "a 7-Zip archive, but"),
        (b"Rar!\x1a\7\1\0" + bytes(600), "a RAR archive, but"),
        (b"PK\3\4" + bytes(600), "a zip archive that is broken"),
        (b"", "an empty file, but"),
    ],
)
def test_what_is_no_archive_is_named(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(ParrotError, match=rf"images: {sentence}.*fetch it again"):
        ImageStore(tmp_path / "images")


def with_header(member: bytes, at: int, field: bytes) -> bytes:
    """A tar's header with another field, and a checksum that fits."""
    header = bytearray(member)
    header[at : at + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("place", [0, 1024])
def test_a_tar_with_a_negative_size_does_not_go_in_circles(place: int, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "images.tar", {"a.jpg": b"a" * 300, "b.jpg": b"b" * 300, "c.jpg": b"c"})
    whole = path.read_bytes()
    broken = with_header(whole[place : place + 512], 124, (-1024).to_bytes(12, "big", signed=True))
    path.write_bytes(whole[:place] + broken + whole[place + 512 :])
    with pytest.raises(ParrotError, match=r"a tar, but no whole tar"):
        ImageStore(path)


@pytest.mark.parametrize("end", [700, 1024 + 100, 1024 + 512 + 100])
def test_a_tar_that_ends_early(end: int, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "images.tar", dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), b"x" * 300))
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(ParrotError, match=r"a tar, but no whole tar"):
        ImageStore(path)


def test_a_tar_with_a_broken_header_in_the_middle(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "images.tar", dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), b"x" * 300))
    whole = bytearray(path.read_bytes())
    whole[1030] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(ParrotError, match=r"no whole tar \(broken after 1024 bytes: bad checksum\)"):
        ImageStore(path)


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"x.jpg": picture(1)}).read_bytes()
    store = ImageStore(write_tar(tmp_path / "images.tar", {"a.jpg": picture(2), "z.zip": inner}))
    assert store.read("a.jpg") == picture(2)


def test_an_encrypted_zip(tmp_path: Path) -> None:
    path = raw_zip(tmp_path / "images.zip", {b"a.jpg": picture(1)}, flags=1)
    assert "a.jpg in" in (said := reason(ImageStore(path), "a.jpg"))
    assert "is encrypted; unpack it with its password" in said


def test_a_zip_that_ends_early(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.jpg": picture(1)})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ParrotError, match=r"a zip archive that is broken \(.*\); fetch it again"):
        ImageStore(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_members_are_read_however_they_are_packed(method: int, tmp_path: Path) -> None:
    """Also of a zip behind something else, such as the program that unpacks it."""
    path = tmp_path / "images.zip"
    path.write_bytes(b"a program" * 50)
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("a.jpg", picture(1))
        archive.writestr("b.jpg", picture(2))
    store = ImageStore(path)
    assert [store.read(f"{name}.jpg") for name in "bab"] == [picture(2), picture(1), picture(2)]
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        found = [whole_member(file.fileno(), info, 1 << 20) for info in archive.infolist()]
    assert found == ([None, None] if method == zipfile.ZIP_LZMA else [picture(1), picture(2)])


def test_zip64(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "images.zip", "w") as archive,
        archive.open("a.jpg", "w", force_zip64=True) as file,
    ):
        file.write(picture(1))
    assert ImageStore(tmp_path / "images.zip").read("a.jpg") == picture(1)


def test_pictures_linked_into_a_shared_cache(tmp_path: Path) -> None:
    """As DVC links them, file by file, and as the Hub's cache does, relative to the link."""
    cache = write_folder(tmp_path / "cache/files/md5", {"ab/cdef": picture(1)})
    folder = write_folder(tmp_path / "images", {"b.jpg": picture(2)})
    (folder / "a.jpg").symlink_to(cache / "ab/cdef")
    hub = write_folder(tmp_path / "hub", {"blobs/0123": picture(3)})
    (hub / "snapshots/main/sub").mkdir(parents=True)
    (hub / "snapshots/main/sub/c.jpg").symlink_to("../../../blobs/0123")
    (tmp_path / "whole").symlink_to(folder)
    assert ImageStore(folder).read("a.jpg") == picture(1)
    assert ImageStore(hub / "snapshots/main").read("sub/c.jpg") == picture(3)
    assert ImageStore(tmp_path / "whole").read("b.jpg") == picture(2)


def test_a_link_to_nothing_says_what_is_missing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", {"b.jpg": picture(2)})
    (folder / "a.jpg").symlink_to(tmp_path / "cache/gone")
    found = reason(ImageStore(folder), "a.jpg")
    assert found == f"missing image: {folder / 'a.jpg'} is a link to {tmp_path / 'cache/gone'}, " \
                    f"which is not there; fetch it"  # fmt: skip


def test_what_is_no_file_is_never_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", {"b.jpg": picture(2)})
    (folder / "folder.jpg").mkdir()
    (folder / "null.jpg").symlink_to("/dev/zero")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(folder / "pipe.jpg")  # reading it would wait for ever
    for name in ("folder.jpg", "null.jpg", "circle.jpg", "pipe.jpg"):
        assert kind(reason(ImageStore(folder), name)) in ("missing image", "unreadable image")
