"""Stage one's file, broken in a few hundred ways: a sentence, or the same numbers in other bytes."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from parrot.errors import ParrotError
from parrot.training.align import ALIGNED_FILE, load_aligned

MUTATIONS = 400


class Model:
    """What stage two needs to know of a model here: which module stage one trains."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.projector = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4))

    def aligned(self) -> nn.Module:
        return self.projector


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Flip, cut, repeat or replace; two times in three within the header, which says what the rest is."""
    header = 8 + int.from_bytes(content[:8], "little")
    place = draw.randrange(header if draw.random() < 0.66 else len(content))
    kind = draw.randrange(5)
    if kind == 0:
        return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content[:place] + content[place : place + draw.randrange(1, 40)] * 2 + content[place:]
    if kind == 3:
        return content[:place] + draw.randbytes(draw.randrange(1, 16)) + content[place:]
    end = place + draw.randrange(1, 40)
    return content[:place] + content[end:]


def test_a_broken_file_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / ALIGNED_FILE
    model: Any = Model()
    save_file(model.aligned().state_dict(), file, metadata={"format": "pt"})
    content = file.read_bytes()
    refused = 0
    for seed in range(MUTATIONS):
        file.write_bytes(mutate(content, random.Random(seed)))
        try:
            load_aligned(model, file)
        except ParrotError as error:
            refused += 1
            assert str(error).startswith(f"{file}: not what stage one makes for this model"), seed
        assert all(tensor.isfinite().all() for tensor in model.aligned().state_dict().values()), seed
    assert refused > MUTATIONS / 2


@pytest.mark.parametrize("what", ["nothing", "a folder", "an empty file", "whole numbers", "infinity"])
def test_what_stands_in_its_place_is_named(tmp_path: Path, what: str) -> None:
    file = tmp_path / ALIGNED_FILE
    model: Any = Model()
    tensors = model.aligned().state_dict()
    if what == "a folder":
        file.mkdir()
    elif what == "an empty file":
        file.touch()
    elif what == "whole numbers":
        save_file({name: tensor.int() for name, tensor in tensors.items()}, file)
    elif what == "infinity":
        save_file({name: tensor / 0 for name, tensor in tensors.items()}, file)
    with pytest.raises(ParrotError, match="not what stage one makes for this model"):
        load_aligned(model, file)
    shutil.rmtree(tmp_path, ignore_errors=True)
