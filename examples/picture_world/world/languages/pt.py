"""Portuguese (Brazilian): two genders, adjectives after the noun agree in gender and number."""

from examples.picture_world.world.scene import Item
from examples.picture_world.world.wordings.portuguese import QUESTIONS as QUESTIONS

PROMPTS: tuple[str, ...] = (
    "Descreva a imagem.",
    "O que você vê na imagem?",
    "Descreva tudo o que há na imagem.",
)

CLOSINGS: tuple[str, ...] = (
    "Responda diretamente com a letra da opção das escolhas dadas.",
    "Dê a letra da opção certa.",
)

ANSWERS = {
    "relation": {"left": "à esquerda", "right": "à direita", "above": "acima", "below": "abaixo"},
    # agree with "a estampa"
    "pattern": {"plain": "lisa", "striped": "listrada", "dotted": "de bolinhas", "checked": "xadrez"},
    "scene": {
        "night": "o céu noturno",
        "beach": "uma praia",
        "snow": "neve",
        "meadow": "um gramado",
        "desert": "um deserto",
        "sea": "o mar",
    },
    "direction": {
        "up": "para cima",
        "down": "para baixo",
        "left": "para a esquerda",
        "right": "para a direita",
    },
    "emotion": {"happy": "alegria", "sad": "tristeza", "angry": "raiva", "surprised": "surpresa"},
}

PLACES = {
    "top left": "em cima à esquerda",
    "top right": "em cima à direita",
    "bottom left": "embaixo à esquerda",
    "bottom right": "embaixo à direita",
    "centre": "no centro",
    "left": "à esquerda",
    "right": "à direita",
    "top": "em cima",
    "bottom": "embaixo",
}

SENTENCES = {
    "scene": "Ao fundo se vê {scene}",
    "item": "{place} há {item}",
    "group": "Na imagem há {items}",
    "chart": "Este é um gráfico com barras destas cores: {colours}",
    "extremes": "A barra mais alta é {tallest} e a mais baixa é {shortest}",
}

STOP = ". "

_NOUNS = {  # gender, singular, plural
    "fish": ("m", "peixe", "peixes"),
    "tree": ("f", "árvore", "árvores"),
    "house": ("f", "casa", "casas"),
    "cup": ("f", "caneca", "canecas"),
    "key": ("f", "chave", "chaves"),
    "car": ("m", "carro", "carros"),
    "boat": ("m", "barco", "barcos"),
    "flower": ("f", "flor", "flores"),
    "circle": ("m", "círculo", "círculos"),
    "square": ("m", "quadrado", "quadrados"),
    "triangle": ("m", "triângulo", "triângulos"),
    "star": ("f", "estrela", "estrelas"),
    "heart": ("m", "coração", "corações"),
    "digit": ("m", "número", "números"),
    "letter": ("f", "letra", "letras"),
    "face": ("m", "rosto", "rostos"),
    "arrow": ("f", "seta", "setas"),
    "bar": ("f", "barra", "barras"),
    "thing": ("m", "objeto", "objetos"),
}
_ADJECTIVES = {  # masculine, feminine, masculine plural, feminine plural
    "red": ("vermelho", "vermelha", "vermelhos", "vermelhas"),
    "blue": ("azul", "azul", "azuis", "azuis"),
    "green": ("verde", "verde", "verdes", "verdes"),
    "yellow": ("amarelo", "amarela", "amarelos", "amarelas"),
    "orange": ("laranja",) * 4,
    "purple": ("roxo", "roxa", "roxos", "roxas"),
    "pink": ("rosa",) * 4,
    "black": ("preto", "preta", "pretos", "pretas"),
    "big": ("grande", "grande", "grandes", "grandes"),
    "small": ("pequeno", "pequena", "pequenos", "pequenas"),
    "plain": ("liso", "lisa", "lisos", "lisas"),
    "striped": ("listrado", "listrada", "listrados", "listradas"),
    "dotted": ("de bolinhas",) * 4,
    "checked": ("xadrez",) * 4,
}
_NUMBERS = {"m": ("um", "dois", "três", "quatro", "cinco"), "f": ("uma", "duas", "três", "quatro", "cinco")}


def forms(noun: str) -> dict[str, str]:
    gender, singular, plural = _NOUNS[noun]
    masculine = gender == "m"
    return {
        "the_noun": f"{'o' if masculine else 'a'} {singular}",
        "of_noun": f"{'do' if masculine else 'da'} {singular}",
        "to_noun": f"{'ao' if masculine else 'à'} {singular}",
        "in_noun": f"{'no' if masculine else 'na'} {singular}",
        "nouns": plural,
        "the_nouns": f"{'os' if masculine else 'as'} {plural}",
        "how_many": "quantos" if masculine else "quantas",
        "small": _agreeing("small", noun),
    }


def colour(colour: str, noun: str) -> str:
    return _agreeing(colour, noun)


def size(size: str, noun: str) -> str:
    return _agreeing(size, noun)


def name(noun: str) -> str:
    return f"{number(1, noun)} {_NOUNS[noun][1]}"


def number(count: int, noun: str) -> str:
    return _NUMBERS[_NOUNS[noun][0]][count - 1]


def describe(item: Item) -> str:
    named = name(item.noun)
    match item.noun:
        case "digit" | "letter":
            return f"{named} {item.value}"
        case "face":
            return f"{named} que mostra {ANSWERS['emotion'][item.value]}"
        case "arrow":
            return f"{named} que aponta {ANSWERS['direction'][item.value]}"
    return counted(item, 1)


def counted(item: Item, count: int) -> str:
    word = _NOUNS[item.noun][1 if count == 1 else 2]
    size, colour, pattern = (
        _agreeing(value, item.noun, plural=count > 1) for value in (item.size, item.colour, item.pattern)
    )
    return f"{number(count, item.noun)} {word} {size}, {colour} e {pattern}"


def listing(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} e {words[-1]}"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _agreeing(adjective: str, noun: str, *, plural: bool = False) -> str:
    return _ADJECTIVES[adjective][(_NOUNS[noun][0] == "f") + 2 * plural]
