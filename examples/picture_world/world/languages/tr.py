"""Turkish: no gender, no plural after numbers; the cases are listed, not computed."""

from examples.picture_world.world.scene import Item
from examples.picture_world.world.wordings.turkish import QUESTIONS as QUESTIONS

PROMPTS: tuple[str, ...] = ("Resmi betimle.", "Resimde ne görüyorsun?", "Resimdeki her şeyi anlat.")

CLOSINGS: tuple[str, ...] = (
    "Verilen seçeneklerden doğrudan seçeneğin harfi ile cevap verin.",
    "Doğru seçeneğin harfini söyle.",
)

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

_NOUNS = {  # nominative, genitive, accusative, dative
    "fish": ("balık", "balığın", "balığı", "balığa"),
    "tree": ("ağaç", "ağacın", "ağacı", "ağaca"),
    "house": ("ev", "evin", "evi", "eve"),
    "cup": ("fincan", "fincanın", "fincanı", "fincana"),
    "key": ("anahtar", "anahtarın", "anahtarı", "anahtara"),
    "car": ("araba", "arabanın", "arabayı", "arabaya"),
    "boat": ("tekne", "teknenin", "tekneyi", "tekneye"),
    "flower": ("çiçek", "çiçeğin", "çiçeği", "çiçeğe"),
    "circle": ("daire", "dairenin", "daireyi", "daireye"),
    "square": ("kare", "karenin", "kareyi", "kareye"),
    "triangle": ("üçgen", "üçgenin", "üçgeni", "üçgene"),
    "star": ("yıldız", "yıldızın", "yıldızı", "yıldıza"),
    "heart": ("kalp", "kalbin", "kalbi", "kalbe"),
    "digit": ("rakam", "rakamın", "rakamı", "rakama"),
    "letter": ("harf", "harfin", "harfi", "harfe"),
    "face": ("yüz", "yüzün", "yüzü", "yüze"),
    "arrow": ("ok", "okun", "oku", "oka"),
    "bar": ("çubuk", "çubuğun", "çubuğu", "çubuğa"),
    "thing": ("şey", "şeyin", "şeyi", "şeye"),
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
    names = ("noun", "of_noun", "the_noun", "to_noun")
    return dict(zip(names, _NOUNS[noun], strict=True))


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
