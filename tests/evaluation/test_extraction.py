"""What our own reader takes an answer for, in six languages; what it leaves unread; what always holds."""

import csv
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parrot.evaluation.extraction.extract import extract_answer
from parrot.evaluation.extraction.patterns import plain
from parrot.evaluation.scoring import vlmevalkit
from parrot.evaluation.scoring.score import EXTRACTORS

REFERENCE = Path(__file__).parents[2] / "../shared/reference/scoring"
COLOURS = {"A": "red", "B": "blue", "C": "green", "D": "white"}


@pytest.mark.parametrize(
    "answer",
    [
        # a letter alone
        "B", "b", "Ｂ", "ｂ", "Ⓑ", "(B)", "（B）", "B.", "B。", "B)", "[B]", "**B**", "`B`", "### B", "«B»",
        "<b>B</b>", "\\boxed{B}", "$\\boxed{\\text{B}}$", " \u200bB\u200f\n", "В", "Б", "б", "ب", "بـ", "(ب)",
        # a statement
        "Answer:B", "The answer is b", "The correct answer is **B**.", "Final answer: (B)", "Option B",
        "option b", "The letter is b", "B is correct", "It must be B.",
        "The answer is definitely B.", "I choose B because it is bright",
        "答案是B", "答案：B", "选B", "我选择B选项。", "正确答案是 B。", "选项B", "B是正确的",
        "选B，因为A不对",
        "A resposta é B", "A resposta correta é a letra B.", "Resposta: b)", "É a letra B", "A opção B",
        "A alternativa correta é a B", "Cevap B'dir", "Cevap: B", "Doğru cevap B şıkkıdır.", "B seçeneği",
        "Yanıt B!", "Ответ: Б", "Ответ: B", "Ответ: В", "Правильный ответ — В.", "Я выбираю вариант B",
        "الإجابة هي ب", "الجواب: ب", "الخيار B هو الصحيح", "الإِجابة الصحيحة هي B.", "الخيار (ب)",
        # text
        "blue", "BLUE.", "\"Blue\"", "I think it is blue.", "The answer is blue", "Not red but blue.",
        "Not A or C, but B.", "Not a red but blue",
        # both
        "B. blue", "B) blue", "B: blue", "B - blue", "B، blue", "b) blue", "blue (B)", "**B. blue**",
        "Blue, so B.",
        # and among more
        "A close look shows that it must be B", "A is incorrect. B is correct.",
        "The answer is B, not A, although C looks close.", "B. Unlike A and C, this one is blue.",
        "Option A shows a cat, option C a dog. The answer is B.", "A is large and C is small.\n\nB",
        "B\n\nA cat is seen beside it.", "A cat is seen beside it.\nblue",
        "A red ball lies beside it, but the answer is B.",
    ],
)  # fmt: skip
def test_read_as_b(answer: str) -> None:
    assert extract_answer(answer, COLOURS) == "B"


@pytest.mark.parametrize(
    "answer",
    [
        # nothing
        "", " ", "nan", "F", "Z", "I cannot see it.", "AB", "ABCD", "B-52", "N/A", "U.S.A.", "25 °C",
        "In D.C.",
        # two
        "A B C D", "A, B", "A/B", "A or B", "A ou B", "A или B", "The answer is A or B", "red, blue",
        "answer: a or b",
        "The answer is A. The answer is B.", "A\nB",
        # a contradiction
        "B. red", "B (red)", "blue (A)", "The answer is B: red", "B\n\nred",
        # no option, but a word
        "A big box", "A clearly visible box", "А это дом",
        "A small shape can be seen", "A caixa grande", "В комнате", "Ответ: В комнате", "O gato",
        "a cat", "The answer is a big box",
        # inside words
        "bored", "dark-red", "reddish", "Redirected blueprint",
        # denied
        "Not B", "It is not blue", "It is not A or B",
        "It is not a blue", "B is wrong", "(B) is wrong", "B: incorrect", "A) red is incorrect",
        "B değil", "não é B", "не B", "ليس B", "不是B",
        # no answer
        "Failed to obtain answer via API. B", "I can't process this file. B",
    ],
)  # fmt: skip
def test_left_unread(answer: str) -> None:
    assert extract_answer(answer, COLOURS) is None


@pytest.mark.parametrize(
    ("answer", "options", "letter"),
    [
        ("A red box", {"A": "lamp", "B": "red box"}, "B"),
        ("A red box", {"A": "red box", "B": "lamp"}, "A"),
        ("A dog", {"A": "A dog", "B": "A cat"}, "A"),
        ("It is dark red.", {"A": "red", "B": "dark red"}, "B"),
        ("Vitamin C", {"A": "Vitamin A", "B": "Vitamin C", "C": "Vitamin B"}, "B"),
        ("It is vitamin C", {"A": "vitamin A", "B": "vitamin C", "C": "vitamin B"}, "B"),
        ("None", {"A": "None", "B": "One"}, "A"),
        ("NA", {"A": "NA", "B": "no"}, "A"),
        ("7", {"A": "17", "B": "7"}, "B"),
        ("There are 17.", {"A": "17", "B": "7"}, "A"),
        ("It is 1.5", {"A": "5", "B": "1"}, None),
        ("-3", {"A": "3", "B": "4"}, None),
        ("It is -3", {"A": "3", "B": "-3"}, "B"),
        ("3 or 4", {"A": "3", "B": "4"}, None),
        ("图中是红色的。", {"A": "红色", "B": "蓝色"}, "A"),
        ("不是红色", {"A": "红色", "B": "蓝色"}, None),
        ("不是", {"A": "是", "B": "否"}, None),
        ("是的，图中有猫。", {"A": "是", "B": "否"}, "A"),
        ("没有", {"A": "有", "B": "没有"}, "B"),
        ("EVET", {"A": "Hayır", "B": "Evet"}, "B"),
        ("HAYIR", {"A": "Hayır", "B": "Evet"}, "A"),
        ("İKİ KÖPEK", {"A": "iki köpek", "B": "bir kedi"}, "A"),
        ("kırmızı değil", {"A": "kırmızı", "B": "mavi"}, None),
        ("тёмно-синий", {"A": "синий", "B": "тёмно-синий"}, "B"),
        ("Cor: não", {"A": "Sim", "B": "Não"}, "B"),
        ("No, there is none.", {"A": "Yes", "B": "No"}, "B"),
        ("B", {"A": "B", "B": "A"}, "B"),
        ("b", {"A": "b", "B": "a"}, "A"),
        ("red", {"A": "red", "B": "red"}, None),
        ("Red", {"A": "red", "B": "Red"}, "B"),
        ("C", {"A": "red", "C": "blue"}, "C"),
        ("B", {"A": "red", "C": "blue"}, None),
        ("د", {"A": "1", "B": "2", "C": "3", "D": "4"}, "D"),
        ("I think so", {letter: f"thing {letter}" for letter in "ABCDEFGHI"}, None),
        ("Option I", {letter: f"thing {letter}" for letter in "ABCDEFGHI"}, "I"),
    ],
)
def test_what_the_options_decide(answer: str, options: dict[str, str], letter: str | None) -> None:
    assert extract_answer(answer, options) == letter


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the scoring reference is not beside this checkout")
def test_our_reader_finds_another_option_than_the_kit_only_where_the_kit_is_known_to_err() -> None:
    differing = set()
    for name in sorted(path.name for path in (REFERENCE / "tsv").glob("*.tsv")):
        with (REFERENCE / "tsv" / name).open(encoding="utf-8", newline="") as file:
            questions = {row["index"]: row for row in csv.DictReader(file, delimiter="\t")}
        with (REFERENCE / "pred" / name).open(encoding="utf-8", newline="") as file:
            answers = list(csv.DictReader(file, delimiter="\t"))
        for row in answers:
            texts = questions[row["index"]]
            options = {letter: texts[letter] for letter in "ABCD" if texts[letter]}
            ours, kits = (
                extract_answer(row["prediction"], options),
                vlmevalkit.extract_answer(row["prediction"], options),
            )
            if ours and kits and kits != "Z" and ours != kits:
                differing.add(row["prediction"])
    # It reads D out of "definitely", and A out of the option's text.
    assert differing == {"The answer is definitely Çivi çakmak", "B، A dog"}


PUNCTUATION = " .,:;!?()[]{}*#-'\"/\\\n\t。，"


def test_an_answer_that_repeats_itself_without_end_is_read_in_no_time() -> None:
    options = {"A": "red", "B": "dark red", "C": "blue"}
    began = time.process_time()
    assert extract_answer("dark red " * 5000, options) == "B"
    assert extract_answer("B " * 5000, options) == "B"
    assert extract_answer("not " * 5000, options) is None
    assert time.process_time() - began < 5


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PIECES = [
    *"ABCDabcdZ", *"АБВСабвс", *"أبجد", *PUNCTUATION, "　", "Ａ", "ｂ", "\u200f", "\0",
    "answer", " is ", "The ", "not ", "or ", "答案是", "选", "不", "Ответ", "не ", "resposta", " é ", "cevap",
    "değil", "الإجابة", "هي", "red", "blue", "7", "1.5", "İ", "ß", "e\u0301", "\U0001f600", "<b>",
    "Failed to obtain answer via API",
]  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.text(max_size=20),
)
OPTIONS = st.lists(TEXTS.filter(bool), min_size=1, max_size=6).flatmap(
    lambda texts: st.permutations(LETTERS[:8]).map(
        lambda letters: dict(sorted(zip(letters, texts, strict=False)))
    )
)


@given(answer=TEXTS, options=OPTIONS)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_every_reader_finds_an_available_option_or_none_and_always_the_same(
    answer: str, options: dict[str, str]
) -> None:
    for read in EXTRACTORS.values():
        given_options = dict(options)
        found = read(answer, options)
        assert found is None or found in options or (found == "Z" and read is not extract_answer)
        assert read(answer, options) == found
        assert options == given_options


@given(options=OPTIONS, data=st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_bare_option_letter_is_always_read(options: dict[str, str], data: st.DataObject) -> None:
    letter = data.draw(st.sampled_from(sorted(options)))
    for read in EXTRACTORS.values():
        assert read(letter, options) == letter
    for wrapped in (f"({letter})", f"**{letter}**", f"{letter}。", f" {letter}.\n", f"「{letter}」"):
        assert extract_answer(wrapped, options) == letter


@given(options=OPTIONS, data=st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_an_exact_option_text_is_always_read(options: dict[str, str], data: st.DataObject) -> None:
    letter = data.draw(st.sampled_from(sorted(options)))
    text = options[letter]
    if [option.strip() for option in options.values()].count(text.strip()) == 1:
        found = extract_answer(text, options)
        assert found == letter or re.sub(r"\W", "", plain(text)) == found  # the text is a bare letter
