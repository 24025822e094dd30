"""A member of a zip archive, read at once: zipfile takes longer to open one than to read it."""

import os
import struct
import zipfile
import zlib

_HEADER = 30
_NAMES = struct.Struct("<2H")
"""Lengths of name and extra field, at the end of a member's own header."""


def whole_member(descriptor: int, info: zipfile.ZipInfo, most: int) -> bytes | None:
    """The content of an ordinary member of no more bytes than `most`, whose checksum is right.

    None of any other, be it broken, encrypted, too large or packed in another way: zipfile says why.
    """
    packed = info.compress_type == zipfile.ZIP_DEFLATED
    if not packed and info.compress_type != zipfile.ZIP_STORED:
        return None
    if max(info.file_size, info.compress_size) > most or info.flag_bits & 1:
        return None
    header = os.pread(descriptor, _HEADER, info.header_offset)
    if len(header) < _HEADER or not header.startswith(b"PK\3\4"):
        return None
    start = info.header_offset + _HEADER + sum(_NAMES.unpack_from(header, _HEADER - _NAMES.size))
    content = os.pread(descriptor, info.compress_size, start)
    if packed:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, info.file_size + 1)
        except zlib.error:
            return None
    right = len(content) == info.file_size and zlib.crc32(content) == info.CRC
    return content if right else None
