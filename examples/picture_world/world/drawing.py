"""Scene -> picture -> JPEG.

The bytes must be the same on every x86-64 CPU: bitmaps are put together from integers only, and the
encoder is libjpeg-turbo's integer DCT, which gives the same result with and without SIMD.
"""

from functools import cache
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw

from examples.picture_world.world.icons import glyph, icon
from examples.picture_world.world.scene import Bar, Item, Scene

PICTURE_SIZE = 64

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

_BIG, _SMALL = 22, 11
_DARK, _LIGHT = (20, 20, 20), (255, 255, 255)
_PAINT: dict[str, Colour] = {
    "red": (215, 25, 30),
    "blue": (25, 70, 215),
    "green": (20, 135, 45),
    "yellow": (245, 215, 20),
    "orange": (250, 130, 10),
    "purple": (125, 40, 170),
    "pink": (250, 130, 190),
    "black": (30, 30, 30),
    "": _LIGHT,  # marks
}
_DARK_PAINT = frozenset({"blue", "green", "purple", "black"})
_CHART_PAPER = (245, 245, 240)

# Where an item may start, by third of the axis (low, middle, high). A small one stays inside a
# 16-pixel patch, and a big one covers no patch of its layout's other places by more than 30 %.
# Hardly any jitter: with a few pixels of it, a tower of this size needs far longer to learn the nouns.
_STARTS = {"big": ((0,), (21,), (42,)), "small": ((2,), (20, 33), (51,))}


def item_box(item: Item) -> Box:
    """Where the item is drawn."""
    column = 0 if "left" in item.place else 2 if "right" in item.place else 1
    row = 0 if "top" in item.place else 2 if "bottom" in item.place else 1
    starts = _STARTS[item.size]
    x, y = (starts[i][jitter % len(starts[i])] for i, jitter in zip((column, row), item.jitter, strict=True))
    side = _BIG if item.size == "big" else _SMALL
    return x, y, side, side


def bar_box(bar: Bar) -> Box:
    """Where the bar is drawn: in a quarter of the width, standing on the lower edge."""
    return 16 * bar.column + 2, PICTURE_SIZE - bar.height, 12, bar.height


def draw_picture(scene: Scene) -> Image.Image:
    """The RGB picture of the scene, 64 × 64 pixels."""
    if scene.bars:
        return _chart(scene.bars)
    picture = _background(scene.background, scene.variant).copy()
    night = scene.background == "night"
    for item in scene.items:
        sprite, mask = _sprite(item.noun, item.value, item.colour, item.size, item.pattern, item.shade, night)
        x, y, _, _ = item_box(item)
        picture.paste(sprite, (x - 1, y - 1), mask)
    return picture


def encode(picture: Image.Image) -> bytes:
    """The picture as a JPEG with full colour resolution; fitted Huffman tables save a fifth of its size."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=60, subsampling=0, optimize=True)
    return buffer.getvalue()


def _chart(bars: tuple[Bar, ...]) -> Image.Image:
    picture = Image.new("RGB", (PICTURE_SIZE, PICTURE_SIZE), _CHART_PAPER)
    draw = ImageDraw.Draw(picture)
    for y in range(15, PICTURE_SIZE, 16):
        draw.line((0, y, PICTURE_SIZE - 1, y), (205, 205, 200))
    for bar in bars:
        x, y, width, height = bar_box(bar)
        draw.rectangle((x, y, x + width - 1, y + height - 1), _PAINT[bar.colour], _DARK)
    return picture


@cache
def _sprite(
    noun: str, value: str, colour: str, size: str, pattern: str, shade: int, night: bool
) -> tuple[Image.Image, Image.Image]:
    """RGB picture and mask of an item, with an outline of one pixel around it."""
    scale = 2 if size == "big" else 1
    rows = _centred(glyph(value, 3), _BIG) if noun in ("digit", "letter") else icon(value or noun, scale)
    side = len(rows) + 2
    cells = ["." * side, *(f".{row}." for row in rows), "." * side]
    paint = tuple(max(0, channel - 14 * shade) for channel in _PAINT[colour])
    detail = _LIGHT if colour in _DARK_PAINT else _DARK
    outline = _LIGHT if night else _DARK
    pixels, mask = bytearray(), bytearray()
    for y in range(side):
        for x in range(side):
            cell = cells[y][x]
            inside = cell != "."
            if cell == "#":
                pixel = _LIGHT if _is_gap(pattern, x - 1, y - 1) else paint
            else:
                pixel = detail if inside else outline
            pixels += bytes(pixel)
            mask.append(255 if inside or _touches(cells, x, y) else 0)
    return Image.frombytes("RGB", (side, side), bytes(pixels)), Image.frombytes(
        "L", (side, side), bytes(mask)
    )


def _is_gap(pattern: str, x: int, y: int) -> bool:
    """Whether the pattern leaves this pixel white."""
    match pattern:
        case "striped":
            return y % 4 >= 2
        case "dotted":
            return x % 5 in (1, 2) and y % 5 in (1, 2)
        case "checked":
            return (x // 3 + y // 3) % 2 == 1
        case _:
            return False


def _touches(cells: list[str], x: int, y: int) -> bool:
    """Whether one of the four neighbours belongs to the item."""
    side = len(cells)
    neighbours = ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1))
    return any(0 <= i < side and 0 <= j < side and cells[j][i] != "." for i, j in neighbours)


def _centred(rows: list[str], side: int) -> list[str]:
    rows = [row.center(side, ".") for row in rows]
    above = (side - len(rows)) // 2
    return ["." * side] * above + rows + ["." * side] * (side - len(rows) - above)


@cache
def _background(name: str, variant: int) -> Image.Image:
    rng = Random(f"background {name} {variant}")
    picture = Image.new("RGB", (PICTURE_SIZE, PICTURE_SIZE))
    draw = ImageDraw.Draw(picture)
    horizon = rng.randint(24, 38)
    sky, ground = _LAND[name]
    draw.rectangle((0, 0, 63, horizon - 1), sky)
    draw.rectangle((0, horizon, 63, 63), ground)
    if name == "beach":
        draw.rectangle((0, horizon - 10, 63, horizon - 1), (95, 165, 215))
    for _ in range(16):
        x, y = rng.randrange(PICTURE_SIZE), rng.randrange(PICTURE_SIZE)
        _speck(draw, name, x, y, in_sky=y < horizon)
    return picture


_LAND: dict[str, tuple[Colour, Colour]] = {
    "night": ((20, 25, 70), (40, 45, 60)),
    "beach": ((175, 220, 245), (240, 220, 170)),
    "snow": ((190, 200, 215), (250, 250, 255)),
    "meadow": ((175, 220, 245), (140, 205, 110)),
    "desert": ((250, 225, 175), (225, 165, 95)),
    "sea": ((110, 175, 220), (70, 135, 195)),
}


def _speck(draw: ImageDraw.ImageDraw, name: str, x: int, y: int, *, in_sky: bool) -> None:
    """One small mark that is typical of the background: a star, a flake, a blade of grass, a wave …"""
    match name:
        case "night" if in_sky:
            draw.point((x, y), (255, 255, 200))
        case "snow":
            draw.rectangle((x, y, x + 1, y + 1), _LIGHT if in_sky else (225, 230, 240))
        case "meadow" if not in_sky:
            draw.line((x, y, x, y + 2), (95, 165, 75))
        case "desert" if not in_sky:
            draw.line((x, y, x + 5, y), (200, 140, 75))
        case "beach" if not in_sky:
            draw.point((x, y), (200, 175, 120))
        case "sea":
            draw.line((x, y, x + 3, y), (165, 210, 240))
        case _:
            pass
