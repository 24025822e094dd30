import io
import os

from flows.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def follow(console: Console, text: bytes, stage: str = "align") -> list[str]:
    read, write = os.pipe()
    os.write(write, text)
    os.close(write)
    try:
        return list(console.follow(read, stage))
    finally:
        os.close(read)


def test_lines_of_one_stage_pass_and_dvcs_advice_does_not() -> None:
    stream = io.StringIO()
    lines = follow(Console(stream), "émile\nUpdating lock file 'dvc.lock'\nend\n".encode())
    assert stream.getvalue() == "émile\nend\n"
    assert lines[1].startswith("Updating"), "the caller still sees what is not shown"


def test_a_bar_alone_on_a_terminal_is_redrawn_in_place() -> None:
    stream = Terminal()
    follow(Console(stream), b"\r 1/2\r 2/2\r done\nnext\n")
    assert stream.getvalue().split("\r\x1b[K") == ["", " 1/2", " 2/2", " done\nnext\n"]


def test_stages_in_parallel_are_told_apart_and_their_bars_are_few() -> None:
    stream = Terminal()
    console = Console(stream)
    console.stages |= {"vision", "language"}
    follow(console, b"\r1/3\r2/3\r3/3\nsaved\n", "vision")
    assert stream.getvalue() == "[vision] 1/3\n[vision] 3/3\n[vision] saved\n"


def test_a_password_in_another_programs_words_is_hidden() -> None:
    stream = io.StringIO()
    follow(Console(stream), b"ERROR: failed to connect to https://me:hush@store.example.org/x\n")
    assert stream.getvalue() == "ERROR: failed to connect to https://***@store.example.org/x\n"
