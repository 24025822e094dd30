"""Russian: three genders; the form of a counted noun depends on the number."""

from examples.picture_world.world.scene import Item
from examples.picture_world.world.wordings.russian import QUESTIONS as QUESTIONS

PROMPTS: tuple[str, ...] = (
    "Опиши картинку.",
    "Что ты видишь на картинке?",
    "Опиши всё, что есть на картинке.",
)

CLOSINGS: tuple[str, ...] = (
    "Ответьте буквой варианта из предложенных вариантов напрямую.",
    "Назови букву правильного варианта.",
)

ANSWERS = {
    "relation": {"left": "слева", "right": "справа", "above": "сверху", "below": "снизу"},
    "pattern": {"plain": "без узора", "striped": "в полоску", "dotted": "в горошек", "checked": "в клетку"},
    "scene": {
        "night": "ночное небо",
        "beach": "пляж",
        "snow": "снег",
        "meadow": "луг",
        "desert": "пустыня",
        "sea": "море",
    },
    "direction": {"up": "вверх", "down": "вниз", "left": "влево", "right": "вправо"},
    # agree with "выражение" and "лицо"
    "emotion": {"happy": "радостное", "sad": "грустное", "angry": "сердитое", "surprised": "удивлённое"},
}

PLACES = {
    "top left": "слева вверху",
    "top right": "справа вверху",
    "bottom left": "слева внизу",
    "bottom right": "справа внизу",
    "centre": "в центре",
    "left": "слева",
    "right": "справа",
    "top": "вверху",
    "bottom": "внизу",
}

SENTENCES = {
    "scene": "На заднем плане {scene}",
    "item": "{place} {item}",
    "group": "На картинке {items}",
    "chart": "Это столбчатая диаграмма, цвета столбиков: {colours}",
    "extremes": "Самый высокий столбик — {tallest}, самый низкий — {shortest}",
}

STOP = ". "

_NOUNS = {  # gender, nominative, genitive, genitive plural, accusative, prepositional
    "fish": ("f", "рыба", "рыбы", "рыб", "рыбу", "рыбе"),
    "tree": ("n", "дерево", "дерева", "деревьев", "дерево", "дереве"),
    "house": ("m", "дом", "дома", "домов", "дом", "доме"),
    "cup": ("f", "чашка", "чашки", "чашек", "чашку", "чашке"),
    "key": ("m", "ключ", "ключа", "ключей", "ключ", "ключе"),
    "car": ("f", "машина", "машины", "машин", "машину", "машине"),
    "boat": ("f", "лодка", "лодки", "лодок", "лодку", "лодке"),
    "flower": ("m", "цветок", "цветка", "цветков", "цветок", "цветке"),
    "circle": ("m", "круг", "круга", "кругов", "круг", "круге"),
    "square": ("m", "квадрат", "квадрата", "квадратов", "квадрат", "квадрате"),
    "triangle": ("m", "треугольник", "треугольника", "треугольников", "треугольник", "треугольнике"),
    "star": ("f", "звезда", "звезды", "звёзд", "звезду", "звезде"),
    "heart": ("n", "сердце", "сердца", "сердец", "сердце", "сердце"),
    "digit": ("f", "цифра", "цифры", "цифр", "цифру", "цифре"),
    "letter": ("f", "буква", "буквы", "букв", "букву", "букве"),
    "face": ("n", "лицо", "лица", "лиц", "лицо", "лице"),
    "arrow": ("f", "стрелка", "стрелки", "стрелок", "стрелку", "стрелке"),
    "bar": ("m", "столбик", "столбика", "столбиков", "столбик", "столбике"),
    "thing": ("n", "что-то", "чего-то", "чего-то", "что-то", "чём-то"),
}
_PRONOUNS = {"m": ("какой", "этот", "он"), "f": ("какая", "эта", "она"), "n": ("какое", "это", "оно")}
_HARD = {"m": "ый", "f": "ая", "n": "ое", "plural": "ые", "plural genitive": "ых"}
_SOFT = {"m": "ий", "f": "яя", "n": "ее", "plural": "ие", "plural genitive": "их"}
_VELAR = {"m": "ий", "f": "ая", "n": "ое", "plural": "ие", "plural genitive": "их"}
_ADJECTIVES = {
    "red": ("красн", _HARD),
    "blue": ("син", _SOFT),
    "green": ("зелён", _HARD),
    "yellow": ("жёлт", _HARD),
    "orange": ("оранжев", _HARD),
    "purple": ("фиолетов", _HARD),
    "pink": ("розов", _HARD),
    "black": ("чёрн", _HARD),
    "big": ("больш", _VELAR | {"m": "ой"}),
    "small": ("маленьк", _VELAR),
}
_NUMBERS = {
    "m": ("один", "два", "три", "четыре", "пять"),
    "f": ("одна", "две", "три", "четыре", "пять"),
    "n": ("одно", "два", "три", "четыре", "пять"),
}


def forms(noun: str) -> dict[str, str]:
    gender, nominative, genitive, genitive_plural, accusative, prepositional = _NOUNS[noun]
    return {
        **dict(zip(("which", "this", "it"), _PRONOUNS[gender], strict=True)),
        "noun": nominative,
        "the_noun": accusative,
        "on_noun": prepositional,
        "of_noun": genitive,
        "of_nouns": genitive_plural,
        "big": size("big", noun),
        "small": size("small", noun),
    }


def colour(colour: str, noun: str) -> str:
    return _adjective(colour, _NOUNS[noun][0])


def size(size: str, noun: str) -> str:
    return _adjective(size, _NOUNS[noun][0])


def name(noun: str) -> str:
    return _NOUNS[noun][1]


def number(count: int, noun: str) -> str:
    return _NUMBERS[_NOUNS[noun][0]][count - 1]


def describe(item: Item) -> str:
    noun = _NOUNS[item.noun][1]
    match item.noun:
        case "digit" | "letter":
            return f"{noun} {item.value}"
        case "face":
            return f"{ANSWERS['emotion'][item.value]} {noun}"
        case "arrow":
            return f"{noun}, указывающая {ANSWERS['direction'][item.value]}"
    return _phrase(item, item_form=_NOUNS[item.noun][0], noun=noun)


def counted(item: Item, count: int) -> str:
    gender, nominative, genitive, genitive_plural, *_ = _NOUNS[item.noun]
    if count == 1:
        form, noun = gender, nominative
    elif count < 5:
        form, noun = "plural" if gender == "f" else "plural genitive", genitive
    else:
        form, noun = "plural genitive", genitive_plural
    return f"{number(count, item.noun)} {_phrase(item, form, noun)}"


def listing(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} и {words[-1]}"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _phrase(item: Item, item_form: str, noun: str) -> str:
    pattern = ANSWERS["pattern"][item.pattern]
    return f"{_adjective(item.size, item_form)} {_adjective(item.colour, item_form)} {noun} {pattern}"


def _adjective(adjective: str, form: str) -> str:
    stem, endings = _ADJECTIVES[adjective]
    return stem + endings[form]
