"""Chinese: measure words, no inflection."""

from examples.picture_world.world.scene import Item
from examples.picture_world.world.wordings.chinese import QUESTIONS as QUESTIONS

PROMPTS: tuple[str, ...] = ("请描述这张图片。", "图中有什么？", "请描述图中的所有内容。")

CLOSINGS: tuple[str, ...] = (
    "请直接用给定选项中的选项字母回答。",
    "请给出正确选项的字母。",
)

ANSWERS = {
    "relation": {"left": "左边", "right": "右边", "above": "上面", "below": "下面"},
    "pattern": {"plain": "没有图案", "striped": "条纹", "dotted": "圆点", "checked": "格子"},
    "scene": {
        "night": "夜空",
        "beach": "沙滩",
        "snow": "雪地",
        "meadow": "草地",
        "desert": "沙漠",
        "sea": "大海",
    },
    "direction": {"up": "上方", "down": "下方", "left": "左方", "right": "右方"},
    "emotion": {"happy": "高兴", "sad": "难过", "angry": "生气", "surprised": "惊讶"},
}

PLACES = {
    "top left": "左上角",
    "top right": "右上角",
    "bottom left": "左下角",
    "bottom right": "右下角",
    "centre": "正中间",
    "left": "左边",
    "right": "右边",
    "top": "上面",
    "bottom": "下面",
}

SENTENCES = {
    "scene": "背景是{scene}",
    "item": "{place}有{item}",
    "group": "图中有{items}",
    "chart": "这是一张柱状图，柱子的颜色有{colours}",
    "extremes": "最高的柱子是{tallest}的，最矮的是{shortest}的",
}

STOP = "。"

_NOUNS = {  # noun and measure word
    "fish": ("鱼", "条"),
    "tree": ("树", "棵"),
    "house": ("房子", "座"),
    "cup": ("杯子", "个"),
    "key": ("钥匙", "把"),
    "car": ("汽车", "辆"),
    "boat": ("船", "艘"),
    "flower": ("花", "朵"),
    "circle": ("圆形", "个"),
    "square": ("正方形", "个"),
    "triangle": ("三角形", "个"),
    "star": ("五角星", "个"),
    "heart": ("爱心", "颗"),
    "digit": ("数字", "个"),
    "letter": ("字母", "个"),
    "face": ("脸", "张"),
    "arrow": ("箭头", "个"),
    "bar": ("柱子", "根"),
    "thing": ("东西", "个"),
}
_COLOURS = {
    "red": "红色",
    "blue": "蓝色",
    "green": "绿色",
    "yellow": "黄色",
    "orange": "橙色",
    "purple": "紫色",
    "pink": "粉色",
    "black": "黑色",
}
_PATTERNS = {"plain": "没有图案", "striped": "带条纹", "dotted": "带圆点", "checked": "带格子"}
_NUMBERS = ("一", "两", "三", "四", "五")


def forms(noun: str) -> dict[str, str]:
    word, measure = _NOUNS[noun]
    return {"noun": word, "measure": measure}


def colour(colour: str, noun: str) -> str:
    return _COLOURS[colour]


def size(size: str, noun: str) -> str:
    return "大的" if size == "big" else "小的"


def name(noun: str) -> str:
    return _NOUNS[noun][0]


def number(count: int, noun: str) -> str:
    return _NUMBERS[count - 1] + _NOUNS[noun][1]


def describe(item: Item) -> str:
    return counted(item, 1)


def counted(item: Item, count: int) -> str:
    word, measure = _NOUNS[item.noun]
    match item.noun:
        case "digit" | "letter":
            described = f"{word}{item.value}"
        case "face":
            described = f"{word}，表情{ANSWERS['emotion'][item.value]}"
        case "arrow":
            described = f"指向{ANSWERS['direction'][item.value]}的{word}"
        case _:
            size = "大" if item.size == "big" else "小"
            described = f"{_PATTERNS[item.pattern]}的{_COLOURS[item.colour]}{size}{word}"
    return f"{_NUMBERS[count - 1]}{measure}{described}"


def listing(words: list[str]) -> str:
    return f"{'、'.join(words[:-1])}和{words[-1]}"


def capital(text: str) -> str:
    return text
