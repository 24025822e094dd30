"""Turkish: no gender, no plural after numbers; the genitive is listed, not computed."""

from examples.picture_world.world.scene import Item

PROMPTS: tuple[str, ...] = ("Resmi betimle.", "Resimde ne görüyorsun?", "Resimdeki her şeyi anlat.")

CLOSINGS: tuple[str, ...] = (
    "Verilen seçeneklerden doğrudan seçeneğin harfi ile cevap verin.",
    "Doğru seçeneğin harfini söyle.",
)

QUESTIONS = {
    "colour": "{noun} ne renk?",
    "shape": "Resimde hangi şekil var?",
    "object": "{place} ne var?",
    "count": "Resimde kaç {noun} var?",
    "relation": "{noun} {of_other_noun} neresinde?",
    "position": "{noun} nerede?",
    "size": "{noun} büyük mü, küçük mü?",
    "pattern": "{of_noun} deseni nasıl?",
    "digit": "Resimde hangi rakam var?",
    "letter": "Resimde hangi harf var?",
    "scene": "Arka planda ne var?",
    "binding": "{colour} olan şey ne?",
    "direction": "Ok hangi yönü gösteriyor?",
    "emotion": "Yüzün ifadesi nasıl?",
    "tallest": "En uzun çubuk ne renk?",
    "shortest": "En kısa çubuk ne renk?",
}

ANSWERS = {
    "relation": {"left": "solunda", "right": "sağında", "above": "üstünde", "below": "altında"},
    "pattern": {"plain": "düz", "striped": "çizgili", "dotted": "benekli", "checked": "kareli"},
    "scene": {
        "night": "gece göğü",
        "beach": "kumsal",
        "snow": "kar",
        "meadow": "çayır",
        "desert": "çöl",
        "sea": "deniz",
    },
    "direction": {"up": "yukarıyı", "down": "aşağıyı", "left": "solu", "right": "sağı"},
    "emotion": {"happy": "mutlu", "sad": "üzgün", "angry": "kızgın", "surprised": "şaşkın"},
}

PLACES = {
    "top left": "sol üstte",
    "top right": "sağ üstte",
    "bottom left": "sol altta",
    "bottom right": "sağ altta",
    "centre": "ortada",
    "left": "solda",
    "right": "sağda",
    "top": "üstte",
    "bottom": "altta",
}

SENTENCES = {
    "scene": "Arka planda {scene} var",
    "item": "{place} {item} var",
    "group": "Resimde {items} var",
    "chart": "Bu bir çubuk grafik; çubukların renkleri {colours}",
    "extremes": "En uzun çubuk {tallest}, en kısa çubuk {shortest}",
}

STOP = ". "

_NOUNS = {  # nominative, genitive
    "fish": ("balık", "balığın"),
    "tree": ("ağaç", "ağacın"),
    "house": ("ev", "evin"),
    "cup": ("fincan", "fincanın"),
    "key": ("anahtar", "anahtarın"),
    "car": ("araba", "arabanın"),
    "boat": ("tekne", "teknenin"),
    "flower": ("çiçek", "çiçeğin"),
    "circle": ("daire", "dairenin"),
    "square": ("kare", "karenin"),
    "triangle": ("üçgen", "üçgenin"),
    "star": ("yıldız", "yıldızın"),
    "heart": ("kalp", "kalbin"),
    "digit": ("rakam", "rakamın"),
    "letter": ("harf", "harfin"),
    "face": ("yüz", "yüzün"),
    "arrow": ("ok", "okun"),
    "bar": ("çubuk", "çubuğun"),
    "thing": ("şey", "şeyin"),
}
_ADJECTIVES = {
    "red": "kırmızı",
    "blue": "mavi",
    "green": "yeşil",
    "yellow": "sarı",
    "orange": "turuncu",
    "purple": "mor",
    "pink": "pembe",
    "black": "siyah",
    "big": "büyük",
    "small": "küçük",
    **ANSWERS["pattern"],
}
_NUMBERS = ("bir", "iki", "üç", "dört", "beş")


def forms(noun: str) -> dict[str, str]:
    nominative, genitive = _NOUNS[noun]
    return {"noun": nominative, "of_noun": genitive}


def colour(colour: str, noun: str) -> str:
    return _ADJECTIVES[colour]


def size(size: str, noun: str) -> str:
    return _ADJECTIVES[size]


def name(noun: str) -> str:
    return _NOUNS[noun][0]


def number(count: int, noun: str) -> str:
    return _NUMBERS[count - 1]


def describe(item: Item) -> str:
    noun = _NOUNS[item.noun][0]
    match item.noun:
        case "digit":
            return f"bir {item.value} rakamı"
        case "letter":
            return f"bir {item.value} harfi"
        case "face":
            return f"{ANSWERS['emotion'][item.value]} bir {noun}"
        case "arrow":
            return f"{ANSWERS['direction'][item.value]} gösteren bir {noun}"
    return f"{_adjectives(item)} bir {noun}"


def counted(item: Item, count: int) -> str:
    if count == 1:  # "bir" is the article, too, and then stands before the noun
        return describe(item)
    return f"{_NUMBERS[count - 1]} {_adjectives(item)} {_NOUNS[item.noun][0]}"


def listing(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} ve {words[-1]}"


def capital(text: str) -> str:
    """Turkish keeps the dot: i becomes İ."""
    return ("İ" if text[0] == "i" else text[0].upper()) + text[1:]


def _adjectives(item: Item) -> str:
    return f"{_ADJECTIVES[item.size]}, {_ADJECTIVES[item.colour]}, {_ADJECTIVES[item.pattern]}"
