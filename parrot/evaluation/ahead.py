"""What would stop an evaluation, found before a model has been trained for it."""

from collections.abc import Sequence

from parrot.config import Evaluate
from parrot.data.images import decode
from parrot.errors import ParrotError
from parrot.evaluation.inference.benchmark import read_benchmark
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.inference.shares import swap
from parrot.evaluation.report.written import kit_files


def check_ahead(params: Evaluate, languages: Sequence[str], *, seed: int) -> None:
    """Read the benchmark as `evaluate` will, put its questions and decode its pictures.

    Raises:
        ParrotError: a file is missing or wrong, a language has no closing line in a prompt, a picture
            cannot be decoded.
    """
    try:
        benchmark = read_benchmark(params, languages)
        kit_files(params, languages)
        for protocol in protocols().values():
            for language, questions in benchmark.items():
                protocol.ask(questions[0], language, picture=True)
        if params.blind == "swapped":
            swap([question.image for questions in benchmark.values() for question in questions], seed)
        seen: set[bytes] = set()
        for language, questions in benchmark.items():
            for question in questions:
                if question.image not in seen:
                    seen.add(question.image)
                    _decode(language, question.index, question.image)
    except ParrotError as error:
        raise ParrotError(f"{error} (found ahead: `evaluate` would stop there after all training)") from None


def _decode(language: str, index: int, image: bytes) -> None:
    try:
        decode(image)
    except ParrotError as error:
        raise ParrotError(f"question {index} in '{language}', column 'image': {error}") from None
