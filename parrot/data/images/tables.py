"""Pictures in a Parquet file, as the Hub's data sets have them: columns of {"bytes", "path"}."""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from parrot.data.images.names import Names
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError

_NAMES = ("utf-8", "strict")


class NoPictures(ParrotError):
    """A Parquet file that may be whole, but from which no picture can be had by its name."""


def open_table(path: Path, folder: str = "") -> Callable[[str], bytes]:
    """The pictures of all columns of pictures, by their `path`; row groups are read one by one.

    Raises:
        NoPictures: it has no such column, or no picture has a name.
        ParrotError: it is no whole Parquet file.
    """
    try:
        file = pq.ParquetFile(path, memory_map=True)
        columns = [field.name for field in file.schema_arrow if _holds_pictures(field.type)]
        if not columns:
            found = ", ".join(file.schema_arrow.names)
            raise NoPictures(f"{path}: no column holds {{bytes, path}}, as pictures do; found are {found}")
        places: dict[str, tuple[int, str, int]] = {}
        repeated: Counter[str] = Counter()
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, [f"{column}.path" for column in columns])
            for column in columns:
                for row, picture in enumerate(names[column].to_pylist()):
                    if picture and (name := picture["path"]):
                        repeated[name] += name in places
                        places.setdefault(name, (group, column, row))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ParrotError(
            f"{path}: not readable as Parquet ({' '.join(str(error).split())[:200]}); fetch it again"
        ) from None
    if not places:
        raise NoPictures(
            f"{path}: its pictures have no names; read them as a source's `path`, with their rows"
        )
    names_of = Names(places, _NAMES, folder)

    @lru_cache(maxsize=2)
    def column_of(group: int, column: str) -> pa.ChunkedArray:
        return file.read_row_group(group, [f"{column}.bytes"])[column]

    def load(name: str) -> bytes:
        if (stored := names_of.find(name)) is None:
            near = names_of.near(name)
            raise Rejected(
                "image", f"missing image: {path} has no {name}" + (f", but {near}" if near else "")
            )
        if repeated[stored]:
            raise Rejected("image", f"ambiguous image: {path} has {name} {repeated[stored] + 1} times")
        group, column, row = places[stored]
        try:
            encoded = column_of(group, column)[row].as_py()["bytes"]
        except (pa.ArrowException, OSError) as error:
            raise Rejected("image", f"unreadable image: {name} in {path}: {error}") from None
        if encoded is None:
            raise Rejected("image", f"missing image: {path} names {name}, without its bytes")
        return bytes(encoded)

    return load


def _holds_pictures(type_: pa.DataType) -> bool:
    if not pa.types.is_struct(type_):
        return False
    fields = {type_.field(number).name: type_.field(number).type for number in range(type_.num_fields)}
    binary = fields.get("bytes")
    return (
        "path" in fields
        and binary is not None
        and (pa.types.is_binary(binary) or pa.types.is_large_binary(binary))
    )
