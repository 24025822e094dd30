"""What a file is that was taken for a picture and is none, in words; self-contained."""

import re

_BEGINNINGS = {
    b"\xff\xd8\xff": "a broken JPEG",
    b"\x89PNG": "a broken PNG",
    b"GIF8": "a broken GIF",
    b"II*\0": "a broken TIFF",
    b"MM\0*": "a broken TIFF",
    b"BM": "a broken BMP",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\x01\0": "an icon (ICO)",
    b"8BPS": "a Photoshop file (PSD)",
    b"qoif": "a QOI picture",
    b"DDS ": "a DDS texture",
    b"%PDF": "a PDF",
    b"%!PS": "a PostScript file",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x1a\x45\xdf\xa3": "a video (Matroska or WebM)",
    b"version https://git-lfs": "a Git LFS pointer in place of the picture (`git lfs pull` fetches it)",
}
_BRANDS = {
    b"avif": "a broken AVIF",
    b"avis": "a broken AVIF",
    **dict.fromkeys(
        (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "a HEIC picture"
    ),
}
_RIFF = {b"WEBP": "a broken WebP", b"AVI ": "a video (AVI)", b"WAVE": "a sound (WAV)"}
_TEXTS = {
    r"(?s)(?=<).*?<(!doctype html|html|head|body)": "a web page (HTML)",
    r"(?s)(?=<).*?<svg": "a drawing (SVG)",
    r"<": "an XML text, perhaps a server's error",
    r"[{\[]": "a JSON text, perhaps a server's error",
    r"data:|[A-Za-z0-9+/]{64}": "a picture written as text (base64)",
}
"""The first pattern that a text begins with says what it is."""


def kind_of_file(content: bytes) -> str:
    """Such as "a web page (HTML)", judged by how the file begins."""
    if not content:
        return "an empty file"
    if not any(content[:4096]):
        return "a file of zeros, as a broken download leaves it"
    for beginning, kind in _BEGINNINGS.items():
        if content.startswith(beginning):
            return kind
    if content[:4] == b"RIFF" and content[8:12] in _RIFF:
        return _RIFF[content[8:12]]
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "a video (MP4)")
    return _kind_of_text(content[:1024]) or "no picture of a known kind"


def _kind_of_text(beginning: bytes) -> str | None:
    text = beginning.decode("utf-8", errors="ignore").lstrip("\N{ZERO WIDTH NO-BREAK SPACE} \t\r\n")
    if not text or not all(character.isprintable() or character.isspace() for character in text):
        return None
    found = (kind for pattern, kind in _TEXTS.items() if re.match(pattern, text, re.IGNORECASE))
    return next(found, "a text")
