"""What would stop an evaluation, found before a model has been trained for it."""

from collections.abc import Sequence

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.benchmark import benchmark_files, decoded, read_benchmark
from parrot.evaluation.inference.chunks import swap
from parrot.evaluation.inference.prompts import protocols


def check_ahead(params: Evaluate, languages: Sequence[str], *, seed: int) -> None:
    """Read the benchmark as `predict` will, put its questions and decode its pictures.

    Raises:
        ParrotError: a file is missing or wrong, a language has no closing line in a prompt, a picture
            cannot be decoded.
    """
    try:
        benchmark = read_benchmark(benchmark_files(params, languages))
        every = [question for questions in benchmark.values() for question in questions]
        for protocol in protocols().values():
            for questions in benchmark.values():
                protocol.ask(questions[0], picture=True)
        if params.blind == "swapped":
            swap([question.image for question in every], seed)
        for question in {question.image: question for question in reversed(every)}.values():
            decoded(question, question.image)
    except ParrotError as error:
        raise ParrotError(f"{error} (found ahead: `evaluate` would stop there after all training)") from None


def first_questions(params: Evaluate, languages: Sequence[str]) -> list[tuple[str, str, str, bytes, str]]:
    """The first question of each language, to be answered in words while a model is trained.

    Returns:
        Of each its language, the system's turn, the user's, the picture, the right answer.

    Raises:
        ParrotError: a file is missing or wrong, or a picture cannot be decoded.
    """
    protocol = protocols()["option_likelihood"]
    try:
        first = [some[0] for some in read_benchmark(benchmark_files(params, languages)).values()]
        for one in first:
            decoded(one, one.image)
    except ParrotError as error:
        raise ParrotError(f"training.evaluation.questions ({params.benchmark}): {error}") from None
    return [
        (one.language, protocol.system, protocol.ask(one, picture=True), one.image, one.options[one.answer])
        for one in first
    ]
