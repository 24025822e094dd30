"""Broken and hostile archives: what is whole in them is read, what is not is named, nothing leads out."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checked import kinds_at, look_through, write_records
from small_sources import conversation, picture, write_zip

from parrot.data.images import ImageStore
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError

GOOD = {"0.jpg": picture(0, (40, 40)), "2.jpg": picture(2, (40, 40))}


def tar_with(odd: tarfile.TarInfo | None, content: bytes = b"") -> bytes:
    """A tar of the good pictures with an odd member between them."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, good in GOOD.items():
            info = tarfile.TarInfo(name)
            info.size = len(good)
            archive.addfile(info, io.BytesIO(good))
            if odd is not None and name == "0.jpg":
                archive.addfile(odd, io.BytesIO(content))
    return file.getvalue()


def special(kind: bytes, target: str = "") -> bytes:
    info = tarfile.TarInfo("1.jpg")
    info.type, info.linkname = kind, target
    info.devmajor, info.devminor = 1, 5  # /dev/zero
    return tar_with(info)


def zip_with(write: Callable[[zipfile.ZipFile], None], flags: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, good in GOOD.items():
            archive.writestr(name, good)
        write(archive)
    whole = bytearray(file.getvalue())
    for signature, name_at, flags_at in ((b"PK\3\4", 30, 6), (b"PK\1\2", 46, 8)):
        at = whole.find(signature)
        while at >= 0:
            if whole[at + name_at : at + name_at + 5] == b"1.jpg":
                whole[at + flags_at] |= flags
            at = whole.find(signature, at + 4)
    return bytes(whole)


def twice(archive: zipfile.ZipFile) -> None:
    archive.writestr("1.jpg", picture(1))
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("1.jpg", picture(2))


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("1.jpg")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


def unknown_method(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("1.jpg")
    archive.writestr(info, picture(1))
    archive.filelist[-1].compress_type = 97


def wrong_size(archive: zipfile.ZipFile) -> None:
    archive.writestr("1.jpg", picture(1))
    archive.filelist[-1].CRC ^= 1


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("1.jpg", bytes(257 << 20), zipfile.ZIP_DEFLATED, compresslevel=1)


def plain(archive: zipfile.ZipFile) -> None:
    archive.writestr("1.jpg", picture(1))


MEMBERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a zip with an encrypted member": (lambda: zip_with(plain, flags=1), "unreadable image"),
    "a zip with a link": (lambda: zip_with(link), "unsafe path"),
    "a zip packed by an unknown method": (lambda: zip_with(unknown_method), "unreadable image"),
    "a zip with two members of a name": (lambda: zip_with(twice), "ambiguous image"),
    "a zip with a wrong checksum": (lambda: zip_with(wrong_size), "unreadable image"),
    "a zip with a bomb": (lambda: zip_with(bomb), "image too large"),
    "a zip without the member": (lambda: zip_with(lambda archive: None), "missing image"),
    "a zip with a folder of that name": (lambda: zip_with(lambda a: a.mkdir("1.jpg")), "missing image"),
    "a tar with a symlink out": (lambda: special(tarfile.SYMTYPE, "../../etc/passwd"), "unsafe path"),
    "a tar with a hard link": (lambda: special(tarfile.LNKTYPE, "0.jpg"), "unsafe path"),
    "a tar with a device node": (lambda: special(tarfile.CHRTYPE), "unsafe path"),
    "a tar with a block device": (lambda: special(tarfile.BLKTYPE), "unsafe path"),
    "a tar with a pipe": (lambda: special(tarfile.FIFOTYPE), "unsafe path"),
    "a tar with a folder of that name": (lambda: special(tarfile.DIRTYPE), "missing image"),
    "a tar with an empty member": (lambda: tar_with(tarfile.TarInfo("1.jpg")), "unreadable image"),
    "a tar with a member above it": (lambda: tar_with(tarfile.TarInfo("../1.jpg")), "missing image"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_an_odd_member_is_named_and_those_around_it_are_read(name: str, tmp_path: Path) -> None:
    make, reason = MEMBERS[name]
    path = write_records(tmp_path, conversation(1))
    (tmp_path / "images").write_bytes(make())
    read, broken = look_through(path, tmp_path / "images")
    assert (read, kinds_at(broken)) == (3, [(1, "image", reason)])


def table(pictures: dict[str | None, bytes | None]) -> bytes:
    file = io.BytesIO()
    rows = [{"bytes": content, "path": name} for name, content in pictures.items()]
    pq.write_table(pa.table({"image": rows, "label": list(range(len(rows)))}), file, row_group_size=2)
    return file.getvalue()


WHOLE: dict[str, Callable[[], bytes]] = {
    "a zip without its end": lambda: zip_with(plain)[:-30],
    "a zip without its beginning": lambda: zip_with(plain)[100:],
    "a tar that ends early": lambda: special(tarfile.DIRTYPE)[:1300],
    "a tar that ends between two members": lambda: tar_with(None)[: tar_with(None).index(b"2.jpg")],
    "a tar of zeros in the middle": lambda: tar_with(None)[:512] + bytes(100),
    "a Parquet file that ends early": lambda: table({"1.jpg": picture(1)})[:-20],
    "a Parquet file of pictures without names": lambda: table({None: picture(1)}),
    "a web page": lambda: b"<!doctype html><title>Quota exceeded</title>",
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_archive_that_is_not_whole_is_a_sentence(name: str, tmp_path: Path) -> None:
    path = write_records(tmp_path, conversation(1))
    (tmp_path / "images").write_bytes(WHOLE[name]())
    try:
        look_through(path, tmp_path / "images")
    except ParrotError as error:
        assert str(tmp_path / "images") in str(error)
    else:
        assert "beginning" in name  # zip's own readers find the members of such a file, and so do we


def test_a_zip64_whose_end_counts_more_members_than_the_older_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        (tmp_path / "images.zip").write_bytes(zip_with(plain))
    assert b"PK\x06\x06" in (tmp_path / "images.zip").read_bytes()
    assert ImageStore(tmp_path / "images.zip").read("1.jpg") == picture(1)


def test_pictures_in_a_parquet_file(tmp_path: Path) -> None:
    """As the Hub's data sets have them; in any order, and found in any Unicode form."""
    pictures = {f"sub/{number}.jpg": picture(number) for number in range(5)} | {"árvore.jpg": picture(9)}
    (tmp_path / "train.parquet").write_bytes(table({**pictures, "empty.jpg": None}))
    store = ImageStore(tmp_path / "train.parquet")
    for name in reversed(pictures):
        assert store.read(name) == pictures[name]
    assert store.read("a\u0301rvore.jpg") == picture(9)
    assert ImageStore(tmp_path / "train.parquet" / "sub").read("3.jpg") == picture(3)
    with pytest.raises(Rejected, match=r"missing image: .* has no 3.jpg, but sub/3.jpg"):
        store.read("3.jpg")
    with pytest.raises(Rejected, match=r"missing image: .* names empty.jpg, without its bytes"):
        store.read("empty.jpg")


def test_a_name_that_a_parquet_file_has_twice_is_refused(tmp_path: Path) -> None:
    rows = [{"bytes": picture(number), "path": "1.jpg"} for number in range(3)]
    pq.write_table(pa.table({"image": rows}), tmp_path / "train.parquet")
    with pytest.raises(Rejected, match=r"ambiguous image: .* has 1.jpg 3 times"):
        ImageStore(tmp_path / "train.parquet").read("1.jpg")


def test_a_folder_of_archives(tmp_path: Path) -> None:
    """Shards of WebDataset, a zip in parts, the Hub's Parquet files: read without unpacking."""
    folder = tmp_path / "shards"
    write_zip(folder / "part-1.zip", {"a/1.jpg": picture(1), "x.jpg": picture(7)})
    (folder / "00000.tar").write_bytes(tar_with(None))
    (folder / "train.parquet").write_bytes(table({"5.jpg": picture(5), "x.jpg": picture(8)}))
    (folder / "own.jpg").write_bytes(picture(9))
    (folder / "rows.parquet").write_bytes(table({None: picture(6)}))
    pq.write_table(pa.table({"image": ["1.jpg"]}), folder / "annotations.parquet")
    store = ImageStore(folder)
    for name, number in {
        "a/1.jpg": 1,
        "2.jpg": 2,
        "5.jpg": 5,
        "own.jpg": 9,
        "train.parquet/x.jpg": 8,
    }.items():
        assert store.read(name) == (GOOD[name] if name in GOOD else picture(number))
    with pytest.raises(Rejected, match=r"ambiguous image: x.jpg is another one in each of part-1.zip, train"):
        store.read("x.jpg")
    with pytest.raises(Rejected, match=r"missing image: .*shards has no none.jpg"):
        store.read("none.jpg")


def test_links_of_a_folder_lead_where_the_user_put_them_and_names_do_not(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(picture(3))
    path = write_records(tmp_path, conversation(1) | {"image": "away/../../secret.jpg"})
    folder = tmp_path / "images"
    folder.mkdir()
    for name, content in GOOD.items():
        (folder / name).write_bytes(content)
    (folder / "away").symlink_to(tmp_path)
    assert kinds_at(look_through(path, folder)[1]) == [(1, "image", "unsafe path")]
