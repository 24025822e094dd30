"""Bytes changed, taken out and put in."""

import random
from collections.abc import Iterator


def mutations(content: bytes, count: int) -> Iterator[bytes]:
    """Seeded; half of them near the beginning or the end, where headers and directories are."""
    for seed in range(count):
        draw = random.Random(seed)
        mutated = bytearray(content)
        for _ in range(draw.choice((1, 1, 2, 5))):
            length = max(len(mutated), 1)
            edge = min(length, 600)
            at = draw.choice(
                (draw.randrange(length), draw.randrange(edge), length - 1 - draw.randrange(edge))
            )
            match draw.randrange(5):
                case 0:
                    mutated[at : at + 1] = draw.randbytes(1)
                case 1:
                    mutated[at : at + 4] = draw.choice((b"\xff" * 4, bytes(4), b"\x80\0\0\0", b"-999"))
                case 2:
                    del mutated[at : at + draw.randrange(1, 40)]
                case 3:
                    mutated[at:at] = draw.randbytes(draw.randrange(1, 40))
                case _:
                    del mutated[max(at, 1) :]
        yield bytes(mutated)
