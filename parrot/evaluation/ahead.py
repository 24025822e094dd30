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
