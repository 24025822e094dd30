"""Reading and writing checkpoints tensor by tensor, so that none is ever in memory as a whole."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from parrot.conversion.layout import TensorPlan
from parrot.errors import ParrotError
from parrot.files import write_json

SHARD_BYTES = 2 * 2**30
SHOWN = 12
"""Names of each kind of problem that an error lists."""
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")


class Checkpoint:
    """The tensors of a folder: safetensors or `.bin`, in one file or in shards with an index.

    Nothing but headers is read until a tensor is asked for; `.bin` files are mapped, not loaded, and
    never unpickled (`weights_only=True`).
    """

    def __init__(self, folder: Path) -> None:
        """Read the headers.

        Raises:
            ParrotError: there is no checkpoint, or a file of it is missing or broken.
        """
        self._readers: dict[str, Callable[[], torch.Tensor]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file in _files(folder):
            if not file.exists():
                raise ParrotError(f"{file}: named in the checkpoint's index, but missing")
            (self._open_safetensors if file.suffix == ".safetensors" else self._open_bin)(file)

    def add(self, other: "Checkpoint", prefix: str, renamed: str) -> None:
        """Take the other's tensors whose names begin with `prefix`, which becomes `renamed`."""
        for name in other.shapes:
            if name.startswith(prefix):
                self.shapes[renamed + name.removeprefix(prefix)] = other.shapes[name]
                self._readers[renamed + name.removeprefix(prefix)] = other._readers[name]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._readers[name]()

    def _open_safetensors(self, file: Path) -> None:
        try:
            opened: Any = safe_open(file, framework="pt")
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except Exception as error:  # its own error, and whatever a header makes Python raise
            raise ParrotError(f"{file}: not a safetensors file ({error})") from None
        self.shapes |= shapes
        for name in shapes:
            self._readers[name] = lambda name=name: opened.get_tensor(name)  # type: ignore[misc]

    def _open_bin(self, file: Path) -> None:
        try:
            tensors = _load_bin(file)
        except Exception as error:  # unpickling broken bytes raises anything
            reason = str(error).strip().partition("\n")[0]
            raise ParrotError(f"{file}: not a file of tensors alone ({reason})") from None
        for name, tensor in tensors.items():
            self.shapes[name] = tuple(tensor.shape)
            self._readers[name] = lambda tensor=tensor: tensor  # type: ignore[misc]


def _load_bin(file: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # torch's format from before 1.6 cannot be mapped
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    return tensors


def _files(folder: Path) -> list[Path]:
    for index in _INDEXES:
        if (folder / index).exists():
            try:
                names = set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values())
            except (json.JSONDecodeError, KeyError, AttributeError) as error:
                raise ParrotError(f"{folder / index}: not an index of a checkpoint ({error})") from None
            if outside := sorted(name for name in names if Path(name).name != name):
                raise ParrotError(f"{folder / index}: '{outside[0]}' is outside the folder")
            return [folder / name for name in sorted(names)]
    for whole in _WHOLE:
        if (folder / whole).exists():
            return [folder / whole]
    raise ParrotError(f"{folder}: no checkpoint there (one of {', '.join((*_INDEXES, *_WHOLE))})")


def check(
    tensors: Sequence[TensorPlan], source: Checkpoint, where: Path, ignored: Callable[[str], bool]
) -> None:
    """Compare names and shapes with what the tensors are made of, before anything is read.

    Raises:
        ParrotError: naming what is missing, misshapen or left over.
    """
    expected = {name: tensor.source_shape for tensor in tensors for name in tensor.sources}
    missing = [f"{name} {list(shape)}" for name, shape in expected.items() if name not in source.shapes]
    misshapen = [
        f"{name}: expected {list(shape)}, found {list(source.shapes[name])}"
        for name, shape in expected.items()
        if source.shapes.get(name, shape) != shape
    ]
    unexpected = [name for name in source.shapes if name not in expected and not ignored(name)]
    lines: list[str] = []
    for title, names in (("missing", missing), ("misshapen", misshapen), ("unexpected", unexpected)):
        lines += [f"{title}:", *(f"  {name}" for name in names[:SHOWN])] if names else []
        lines += [f"  … and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    if lines:
        raise ParrotError(
            f"{where}: the tensors do not fit its config.json; nothing was written\n" + "\n".join(lines)
        )


def write(
    tensors: Sequence[TensorPlan], source: Checkpoint, folder: Path, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write the tensors as safetensors, a shard in memory at a time."""
    shards = _shards(tensors, shard_bytes)
    weight_map: dict[str, str] = {}
    total = 0
    with tqdm(total=len(tensors), desc="convert", unit=" tensors") as bar:
        for number, shard in enumerate(shards, start=1):
            part = "" if len(shards) == 1 else f"-{number:05}-of-{len(shards):05}"
            name = f"model{part}.safetensors"
            made = {}
            for tensor in shard:
                made[tensor.name] = _made(tensor, source)
                bar.update()
            save_file(made, folder / name, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(made, name)
            total += sum(tensor.nbytes for tensor in made.values())
    if len(shards) > 1:
        index: dict[str, Any] = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index)


def _shards(tensors: Iterable[TensorPlan], limit: int) -> list[list[TensorPlan]]:
    shards: list[list[TensorPlan]] = [[]]
    size = 0
    for tensor in tensors:
        # Four bytes an element, as the widest dtype in use takes: an upper bound, without reading any.
        needed = 4 * torch.Size(tensor.shape).numel()
        if shards[-1] and size + needed > limit:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += needed
    return shards


def _made(tensor: TensorPlan, source: Checkpoint) -> torch.Tensor:
    parts = [source[name] for name in tensor.sources]
    made = parts[0] if len(parts) == 1 else torch.cat(parts, dim=tensor.dim)
    if tensor.part:
        made = made.narrow(tensor.dim, *tensor.part)
    if missing := tensor.shape[0] - made.shape[0]:
        # Rows for tokens that the source does not have: the image's, which is never looked up.
        made = torch.cat([made, made.new_zeros(missing, *made.shape[1:])])
    return made.contiguous().clone()
