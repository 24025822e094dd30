"""Pictures are found under the names that data files give, in archives and folders as others make them."""

import os
import sys
import tarfile
import unicodedata
from pathlib import Path

import pytest
from archives_made import raw_zip, reason, write, write_folder, write_tar
from small_sources import picture

from parrot.data.images import ImageStore
from parrot.data.rejects import kind
from parrot.errors import ParrotError


@pytest.mark.parametrize("how", ["folder", "zip", "tar"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_names_in_another_unicode_form(how: str, stored: str, asked: str, tmp_path: Path) -> None:
    names = ["árvore.jpg", "fotoğraf/ünlü.jpg", "개/가.jpg"]
    members = {unicodedata.normalize(stored, name): picture(i) for i, name in enumerate(names)}
    store = ImageStore(write(tmp_path / "images", how, members))
    for number, name in enumerate(names):
        assert store.read(unicodedata.normalize(asked, name)) == picture(number)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("图片.jpg", "utf-8"),
        ("图片.jpg", "gbk"),
        ("写真/一.jpg", "shift_jis"),
        ("사진.jpg", "euc_kr"),
        ("Картина.jpg", "cp866"),
        ("Картина.jpg", "cp1251"),
        ("görüntü.jpg", "cp850"),
        ("görüntü.jpg", "cp1254"),
        ("صورة.jpg", "cp1256"),
        ("árvore.jpg", "utf-8"),
    ],
)
def test_names_whose_encoding_nobody_noted(name: str, encoding: str, tmp_path: Path) -> None:
    written = name.encode(encoding)
    store = ImageStore(raw_zip(tmp_path / "images.zip", {written: picture(1), b"other.jpg": picture(2)}))
    assert store.read(name) == picture(1)
    assert store.read("other.jpg") == picture(2)
    tar = write_tar(tmp_path / "images.tar", {name: picture(1)}, encoding=encoding, format=tarfile.GNU_FORMAT)
    assert ImageStore(tar).read(name) == picture(1)
    if sys.platform == "linux":  # where names of files are bytes
        folder = tmp_path / "images"
        write_folder(folder, {os.fsdecode(written): picture(1)})
        assert ImageStore(folder).read(name) == picture(1)


def test_a_zip_from_macos(tmp_path: Path) -> None:
    """Names in NFD and UTF-8 without the flag that says so, a folder on top, and what the Finder adds."""
    name = unicodedata.normalize("NFD", "Fotos/ção.jpg").encode()
    path = raw_zip(tmp_path / "Fotos.zip", {name: picture(1), b"__MACOSX/Fotos/._c.jpg": b"fork"})
    assert ImageStore(path).read("ção.jpg") == picture(1)


def test_a_zip_from_windows_with_its_own_separators(tmp_path: Path) -> None:
    path = raw_zip(tmp_path / "images.zip", {b"train\\a.jpg": picture(1), b"val\\a.jpg": picture(2)})
    assert ImageStore(path).read("val/a.jpg") == picture(2)


TOP = {
    "train2017/a.jpg": picture(1),
    "train2017/sub/b.jpg": picture(2),
    "__MACOSX/train2017/._a.jpg": b"fork",
}


@pytest.mark.parametrize("how", ["zip", "tar"])
def test_a_folder_on_top_is_found_where_it_is_the_only_one(how: str, tmp_path: Path) -> None:
    store = ImageStore(write(tmp_path / "images", how, TOP))
    for name in ("a.jpg", "train2017/a.jpg"):
        assert store.read(name) == picture(1)
    assert store.read("sub/b.jpg") == picture(2)
    deep = {f"data/coco/{name}": content for name, content in TOP.items() if "__" not in name}
    store = ImageStore(write(tmp_path / "deep", how, deep))
    for name in ("a.jpg", "train2017/a.jpg", "coco/train2017/a.jpg", "data/coco/train2017/a.jpg"):
        assert store.read(name) == picture(1)


@pytest.mark.parametrize("how", ["folder", "zip", "tar"])
def test_of_several_folders_one_is_named(how: str, tmp_path: Path) -> None:
    members = {"train2017/a.jpg": picture(1), "val2017/b.jpg": picture(2)}
    path = write(tmp_path / "images", how, members)
    found = reason(ImageStore(path), "b.jpg")
    assert (
        found == f"missing image: {path} has no b.jpg, but val2017/b.jpg; `images: {path}/val2017` finds it"
    )
    assert ImageStore(path / "val2017").read("b.jpg") == picture(2)
    assert kind(reason(ImageStore(path / "val2017"), "../train2017/a.jpg")) == "unsafe path"
    with pytest.raises(ParrotError, match="not found"):
        ImageStore(path / "none")


@pytest.mark.parametrize("how", ["folder", "zip", "tar"])
def test_a_name_in_other_cases_is_named_and_not_taken(how: str, tmp_path: Path) -> None:
    path = write(tmp_path / "images", how, {"sub/A.JPG": picture(1), "b.jpg": picture(2)})
    if how == "folder" and (path / "B.jpg").exists():
        pytest.skip("this file system does not tell cases apart")
    assert reason(ImageStore(path), "sub/a.jpg") == f"missing image: {path} has no sub/a.jpg, but sub/A.JPG"
    assert reason(ImageStore(path), "c.jpg") == f"missing image: {path} has no c.jpg"


@pytest.mark.parametrize("how", ["folder", "tar"])
def test_a_name_that_is_no_unicode_is_named_so_that_it_can_be_written(how: str, tmp_path: Path) -> None:
    try:
        path = write(tmp_path / "images", how, {"b\udce9/1.jpg": picture(1)})
    except OSError:
        pytest.skip("this file system takes no such names")
    found = reason(ImageStore(path), "c/1.jpg" if how == "tar" else "1.jpg")
    assert "but b\\udce9/1.jpg" in found
    found.encode()
