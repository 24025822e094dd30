"""Russian: three genders; the form of a counted noun depends on the number."""

from examples.picture_world.world.scene import Item

PROMPTS: tuple[str, ...] = (
    "Опиши картинку.",
    "Что ты видишь на картинке?",
    "Опиши всё, что есть на картинке.",
)

CLOSINGS: tuple[str, ...] = (
    "Ответьте буквой варианта из предложенных вариантов напрямую.",
    "Назови букву правильного варианта.",
)

QUESTIONS = {
    "colour": "Какого цвета {noun}?",
    "shape": "Какая фигура есть на картинке?",
    "object": "Что находится {place}?",
    "count": "Сколько на картинке {of_nouns}?",
    "relation": "Где находится {noun} относительно {of_other_noun}?",
    "position": "Где находится {noun}?",
    "size": "{noun} {big} или {small}?",
    "pattern": "Какой узор у {of_noun}?",
    "digit": "Какая цифра есть на картинке?",
    "letter": "Какая буква есть на картинке?",
    "scene": "Что на заднем плане?",
    "binding": "Что здесь {colour}?",
    "direction": "Куда указывает стрелка?",
    "emotion": "Какое выражение у лица?",
    "tallest": "Какого цвета самый высокий столбик?",
    "shortest": "Какого цвета самый низкий столбик?",
}

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

_NOUNS = {  # gender, nominative, genitive, genitive plural
    "fish": ("f", "рыба", "рыбы", "рыб"),
    "tree": ("n", "дерево", "дерева", "деревьев"),
    "house": ("m", "дом", "дома", "домов"),
    "cup": ("f", "чашка", "чашки", "чашек"),
    "key": ("m", "ключ", "ключа", "ключей"),
    "car": ("f", "машина", "машины", "машин"),
    "boat": ("f", "лодка", "лодки", "лодок"),
    "flower": ("m", "цветок", "цветка", "цветков"),
    "circle": ("m", "круг", "круга", "кругов"),
    "square": ("m", "квадрат", "квадрата", "квадратов"),
    "triangle": ("m", "треугольник", "треугольника", "треугольников"),
    "star": ("f", "звезда", "звезды", "звёзд"),
    "heart": ("n", "сердце", "сердца", "сердец"),
    "digit": ("f", "цифра", "цифры", "цифр"),
    "letter": ("f", "буква", "буквы", "букв"),
    "face": ("n", "лицо", "лица", "лиц"),
    "arrow": ("f", "стрелка", "стрелки", "стрелок"),
    "bar": ("m", "столбик", "столбика", "столбиков"),
    "thing": ("n", "что-то", "чего-то", "чего-то"),
}
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
    _, nominative, genitive, genitive_plural = _NOUNS[noun]
    return {
        "noun": nominative,
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
    gender, nominative, genitive, genitive_plural = _NOUNS[item.noun]
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
