"""Scene -> region descriptions in Visual Genome's form: short English phrases with their boxes."""

from typing import Any

from examples.picture_world.world.drawing import PICTURE_SIZE, Box, bar_box, item_box
from examples.picture_world.world.questions import Question
from examples.picture_world.world.scene import NUMBERS, Item, Scene

# One word, one meaning: an arrow that points left is not an item that is left.
_POINTING = {"up": "upward", "down": "downward", "left": "leftward", "right": "rightward"}


def regions(scene: Scene, image_id: int | None = None) -> list[dict[str, Any]]:
    """All facts of the scene; the first region is the whole picture.

    Without `image_id` (where there is no picture) the regions have no ids.
    """
    described = [((0, 0, PICTURE_SIZE, PICTURE_SIZE), _whole(scene))]
    described += [(item_box(item), _item(item)) for item in scene.items]
    described += [(bar_box(bar), f"{bar.colour} bar{_rank(scene, bar.height)}") for bar in scene.bars]
    return [_region(image_id, number, box, phrase) for number, (box, phrase) in enumerate(described)]


def grounding(scene: Scene, question: Question) -> list[int]:
    """Which of the scene's `regions` hold the answer, as Visual Genome says it of its questions."""
    if question.category in ("scene", "count"):
        return [0]
    if question.category == "chart":
        colours = [bar.colour for bar in scene.bars]
        return [1 + len(scene.items) + colours.index(question.answer)]
    return [1 + number for number, item in enumerate(scene.items) if _is_about(question, item)]


def _is_about(question: Question, item: Item) -> bool:
    match question.category:
        case "shape":
            return item.noun == question.answer
        case "object":
            return (item.noun, item.place) == (question.answer, question.detail)
        case "binding":
            return (item.noun, item.colour) == (question.answer, question.detail)
        case _:
            return item.noun == question.noun


def _region(image_id: int | None, number: int, box: Box, phrase: str) -> dict[str, Any]:
    x, y, width, height = box
    ids = {} if image_id is None else {"region_id": 10 * image_id + number, "image_id": image_id}
    return ids | {
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "phrase": phrase,
    }


def _whole(scene: Scene) -> str:
    if scene.bars:
        return "chart"
    if scene.group:
        return f"{NUMBERS[len(scene.group) - 1]} {scene.group[0].noun} {scene.background}"
    return f"things {scene.background}"


def _item(item: Item) -> str:
    if not item.value:
        return f"{item.size} {item.colour} {item.pattern} {item.noun} {item.place}"
    said = _POINTING[item.value] if item.noun == "arrow" else item.value.lower()
    return f"{item.noun} {said} {item.place}"


def _rank(scene: Scene, height: int) -> str:
    heights = [bar.height for bar in scene.bars]
    return " tallest" if height == max(heights) else " shortest" if height == min(heights) else ""
