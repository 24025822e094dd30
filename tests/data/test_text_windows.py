"""ASCII takes a shorter way to the same windows."""

from hypothesis import given, settings
from hypothesis import strategies as st

from parrot.data.text_windows import WINDOW, mixed, normalized, window_hashes

ASCII = st.text(st.one_of(st.characters(max_codepoint=127), st.sampled_from("ABH.):_ ")), max_size=60)


@given(text=ASCII)
@settings(max_examples=300, deadline=None)
def test_ascii_is_normalized_as_other_text_is(text: str) -> None:
    [whole] = normalized([text])
    assert normalized([text + "é"]) == [whole + "é".encode()]


def test_what_is_no_part_of_what_is_said_goes() -> None:
    assert normalized(
        ["Which? (A) the Cuckoo; B. the_heron C: 9", "ＡＢＣ ﬁ", "FAA. 1"]  # no letter of an option
    ) == [b"whichthecuckootheheron9", b"abcfi", b"faa1"]


@given(texts=st.lists(st.text(max_size=12) | ASCII, max_size=6))
@settings(max_examples=300, deadline=None)
def test_texts_together_are_normalized_as_each_alone(texts: list[str]) -> None:
    assert normalized(texts) == [one for text in texts for one in normalized([text])]


@given(texts=st.lists(st.binary(max_size=20), max_size=6))
@settings(max_examples=100, deadline=None)
def test_windows_stay_within_their_text(texts: list[bytes]) -> None:
    expected = [
        (int.from_bytes(text[start : start + WINDOW], "little"), owner)
        for owner, text in enumerate(texts)
        for start in range(len(text) - WINDOW + 1)
    ]
    hashes, owners = window_hashes(texts)
    assert owners.tolist() == [owner for _, owner in expected]
    for found, (window, _) in zip(hashes, expected, strict=True):
        assert found == mixed(hashes[:0].__class__((1,), hashes.dtype, window.to_bytes(8, "little")))[0]
