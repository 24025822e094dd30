"""Arabic: two genders, a dual, plurals of things that agree as feminine singular.

Numbers from three to ten take the gender opposite to the noun's. Unvocalised, except for the
accusative's tanwin that is written.
"""

from examples.picture_world.world.scene import Item
from examples.picture_world.world.wordings.arabic import QUESTIONS as QUESTIONS

PROMPTS: tuple[str, ...] = ("صف الصورة.", "ماذا ترى في الصورة؟", "صف كل ما في الصورة.")

CLOSINGS: tuple[str, ...] = (
    "أجب مباشرةً بحرف الخيار من الاختيارات المعطاة.",
    "اذكر حرف الخيار الصحيح.",
)

ANSWERS = {
    "relation": {
        "left": "على اليسار",
        "right": "على اليمين",
        "above": "في الأعلى",
        "below": "في الأسفل",
    },
    # agree with "النقش"
    "pattern": {"plain": "سادة", "striped": "مخطط", "dotted": "منقط", "checked": "مربعات"},
    "scene": {
        "night": "سماء الليل",
        "beach": "شاطئ",
        "snow": "ثلج",
        "meadow": "مرج",
        "desert": "صحراء",
        "sea": "بحر",
    },
    "direction": {"up": "إلى الأعلى", "down": "إلى الأسفل", "left": "إلى اليسار", "right": "إلى اليمين"},
    # indefinite accusative after "يبدو", "ترى" and "يظهر"
    "emotion": {"happy": "سعيدًا", "sad": "حزينًا", "angry": "غاضبًا", "surprised": "متفاجئًا"},
}

PLACES = {
    "top left": "في أعلى اليسار",
    "top right": "في أعلى اليمين",
    "bottom left": "في أسفل اليسار",
    "bottom right": "في أسفل اليمين",
    "centre": "في الوسط",
    "left": "على اليسار",
    "right": "على اليمين",
    "top": "في الأعلى",
    "bottom": "في الأسفل",
}

SENTENCES = {
    "scene": "في الخلفية {scene}",
    "item": "{place} {item}",
    "group": "في الصورة {items}",
    "chart": "هذا رسم بياني بأعمدة ألوانها {colours}",
    "extremes": "لون أطول عمود {tallest} ولون أقصر عمود {shortest}",
}

STOP = ". "

_NOUNS = {  # gender, singular, dual, plural, accusative (after "كم")
    "fish": ("f", "سمكة", "سمكتان", "سمكات", "سمكة"),
    "tree": ("f", "شجرة", "شجرتان", "شجرات", "شجرة"),
    "house": ("m", "بيت", "بيتان", "بيوت", "بيتًا"),
    "cup": ("m", "كوب", "كوبان", "أكواب", "كوبًا"),
    "key": ("m", "مفتاح", "مفتاحان", "مفاتيح", "مفتاحًا"),
    "car": ("f", "سيارة", "سيارتان", "سيارات", "سيارة"),
    "boat": ("m", "قارب", "قاربان", "قوارب", "قاربًا"),
    "flower": ("f", "زهرة", "زهرتان", "زهرات", "زهرة"),
    "circle": ("f", "دائرة", "دائرتان", "دوائر", "دائرة"),
    "square": ("m", "مربع", "مربعان", "مربعات", "مربعًا"),
    "triangle": ("m", "مثلث", "مثلثان", "مثلثات", "مثلثًا"),
    "star": ("f", "نجمة", "نجمتان", "نجمات", "نجمة"),
    "heart": ("m", "قلب", "قلبان", "قلوب", "قلبًا"),
    "digit": ("m", "رقم", "رقمان", "أرقام", "رقمًا"),
    "letter": ("m", "حرف", "حرفان", "حروف", "حرفًا"),
    "face": ("m", "وجه", "وجهان", "وجوه", "وجهًا"),
    "arrow": ("m", "سهم", "سهمان", "أسهم", "سهمًا"),
    "bar": ("m", "عمود", "عمودان", "أعمدة", "عمودًا"),
    "thing": ("m", "شيء", "شيئان", "أشياء", "شيئًا"),
}
_ADJECTIVES = {  # masculine, feminine, masculine dual, feminine dual
    "red": ("أحمر", "حمراء", "أحمران", "حمراوان"),
    "blue": ("أزرق", "زرقاء", "أزرقان", "زرقاوان"),
    "green": ("أخضر", "خضراء", "أخضران", "خضراوان"),
    "yellow": ("أصفر", "صفراء", "أصفران", "صفراوان"),
    "orange": ("برتقالي", "برتقالية", "برتقاليان", "برتقاليتان"),
    "purple": ("بنفسجي", "بنفسجية", "بنفسجيان", "بنفسجيتان"),
    "pink": ("وردي", "وردية", "ورديان", "ورديتان"),
    "black": ("أسود", "سوداء", "أسودان", "سوداوان"),
    "big": ("كبير", "كبيرة", "كبيران", "كبيرتان"),
    "small": ("صغير", "صغيرة", "صغيران", "صغيرتان"),
    "plain": ("سادة",) * 4,
    "striped": ("مخطط", "مخططة", "مخططان", "مخططتان"),
    "dotted": ("منقط", "منقطة", "منقطان", "منقطتان"),
    "checked": ("بمربعات",) * 4,
}
_NUMBERS = {"m": ("ثلاثة", "أربعة", "خمسة"), "f": ("ثلاث", "أربع", "خمس")}
_FACES = {"happy": "سعيد", "sad": "حزين", "angry": "غاضب", "surprised": "متفاجئ"}


def forms(noun: str) -> dict[str, str]:
    _, singular, _, plural, accusative = _NOUNS[noun]
    return {
        "the_noun": f"ال{singular}",
        "the_nouns": f"ال{plural}",
        "counted_noun": accusative,
        "big": size("big", noun),
        "small": size("small", noun),
    }


def colour(colour: str, noun: str) -> str:
    """An answer about a colour agrees with "اللون" (masculine); `thing` is asked for with the article."""
    return f"ال{_ADJECTIVES[colour][0]}" if noun == "thing" else _ADJECTIVES[colour][0]


def size(size: str, noun: str) -> str:
    return _agreeing(size, noun, 1)


def name(noun: str) -> str:
    return _NOUNS[noun][1]


def number(count: int, noun: str) -> str:
    """The counted noun itself, since one and two are not said without it."""
    gender, singular, dual, plural, _ = _NOUNS[noun]
    if count == 1:
        return f"{singular} {'واحد' if gender == 'm' else 'واحدة'}"
    return dual if count == 2 else f"{_NUMBERS[gender][count - 3]} {plural}"


def describe(item: Item) -> str:
    noun = _NOUNS[item.noun][1]
    match item.noun:
        case "digit" | "letter":
            return f"ال{noun} {item.value}"
        case "face":
            return f"{noun} {_FACES[item.value]}"
        case "arrow":
            return f"{noun} يشير {ANSWERS['direction'][item.value]}"
    return f"{noun} {_adjectives(item, 1)}"


def counted(item: Item, count: int) -> str:
    return f"{number(count, item.noun)} {_adjectives(item, count)}"


def listing(words: list[str]) -> str:
    return " و".join(words)


def capital(text: str) -> str:
    return text


def _adjectives(item: Item, count: int) -> str:
    return " ".join(_agreeing(value, item.noun, count) for value in (item.size, item.colour, item.pattern))


def _agreeing(adjective: str, noun: str, count: int) -> str:
    feminine = _NOUNS[noun][0] == "f"
    masculine_one, feminine_one, masculine_two, feminine_two = _ADJECTIVES[adjective]
    if count == 1:
        return feminine_one if feminine else masculine_one
    if count == 2:
        return feminine_two if feminine else masculine_two
    return feminine_one
