"""What a file is that was taken for a picture is said in words."""

import base64

import pytest
from drawn_pictures import drawing, encoded
from PIL import features

from parrot.data.images import decode_within
from parrot.data.rejects import Rejected
from parrot.model.image_decoding import decode_image
from parrot.model.image_kinds import kind_of_file


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (bytes(5000), "a file of zeros"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "a web page (HTML)"),
        (b"<?xml version='1.0'?><!-- x --><html xmlns='x'>", "a web page (HTML)"),
        (b"<html><svg/></html>", "a web page (HTML)"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "a drawing (SVG)"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML text"),
        (b'{"error": 403}', "a JSON text"),
        (b"not found\n", "a text"),
        ("找不到".encode() * 400, "a text"),
        (base64.b64encode(bytes(100)), "a picture written as text (base64)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video (MP4)"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"\xff\x0a\0\0", "a JPEG XL picture"),
        (b"%PDF-1.7", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
        (b"8BPS\0\1", "a Photoshop file (PSD)"),
        (b"PK\3\4", "a zip archive"),
        (b"\x00\x01\x02\xff", "no picture of a known kind"),
    ],
)
def test_what_is_no_picture_is_named(content: bytes, kind: str) -> None:
    assert kind_of_file(content).startswith(kind)
    with pytest.raises(Rejected) as error:
        decode_within(content, 1)
    assert error.value.reason.startswith(f"unreadable image: {kind}")
    assert error.value.reason.endswith("; taken are AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF and WEBP")


def test_a_machine_without_avif_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(drawing(), "AVIF")
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(ValueError, match="an AVIF picture, which Pillow was built without"):
        decode_image(content[:20])
