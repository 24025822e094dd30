"""How often the gate is wrong, and what it finds: `python -m benchmarks.gate`.

Pairs of models answer simulated questions, and the gate's own code (`assess` and `decide`) judges them. A
question is answered rightly if a sum of normal deviates stays below a bar: how hard the question is for
anyone, how hard for anyone in this language, for this model, and for this model in this language. So
languages are right and wrong together, and so are models; how much is printed. Each question has a picture of
its own, as nearly all of the demonstration have. Gains are those of the models, not of the questions drawn.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import NormalDist, median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parrot.config_publishing import Gate
from parrot.evaluation.comparison.noninferiority import assess
from parrot.publishing.gate import decide

LANGUAGES = 6
SHARED, ANYWHERE = 0.85, 0.75
"""Of the variance, what all models share; of that and of the rest, what a question has in all languages."""
ALPHA = 0.05
SEED = 20240602

Answers = NDArray[np.bool_]
"""[languages × questions]: which are right."""


class Size(NamedTuple):
    """A benchmark, and what models know of it."""

    name: str
    questions: int
    """In each language."""
    accuracy: float
    margin: float


MMMB = Size("MMMB, 6 × 2,000", 2000, 0.70, 0.02)
DEMO = Size("demonstration, 6 × 300", 300, 0.90, 0.03)


def scenarios(size: Size) -> dict[str, Sequence[float]]:
    """Name -> the points by which the challenger is better, in each language."""
    margin = 100 * size.margin
    return {
        "equal": [0] * 6,
        "−3 in one language, equal in five": [-3, *[0] * 5],
        "−3 in one language, +2 in five": [-3, *[2] * 5],
        f"−{margin:g} (the margin) in one, +3 in five": [-margin, *[3] * 5],
        "+1 in all": [1] * 6,
        "+2 in all": [2] * 6,
        "+3 in all": [3] * 6,
    }


def simulate(
    size: Size, gains: Sequence[float], pairs: int, seed: int = SEED
) -> Iterator[tuple[Answers, Answers]]:
    """What challenger and champion answer rightly."""
    draw = np.random.default_rng(seed)

    def deviates(share: float) -> NDArray[np.float64]:
        """Of variance `share`, correlated between languages."""
        anywhere = draw.standard_normal(size.questions)
        here = draw.standard_normal((LANGUAGES, size.questions))
        found: NDArray[np.float64] = (
            np.sqrt(share * ANYWHERE) * anywhere + np.sqrt(share * (1 - ANYWHERE)) * here
        )
        return found

    bars = [[NormalDist().inv_cdf(size.accuracy + gain / 100)] for gain in gains]
    for _ in range(pairs):
        hard = deviates(SHARED)
        yield (
            (hard + deviates(1 - SHARED) < bars).ravel(),
            (hard + deviates(1 - SHARED) < NormalDist().inv_cdf(size.accuracy)).ravel(),
        )


def measure(size: Size, pairs: int) -> None:
    """Print the decisions of each scenario, and what the benchmark can tell."""
    config = Gate(run="seeing", margin=size.margin, alpha=ALPHA)
    languages = np.repeat(np.arange(LANGUAGES), size.questions)
    clusters = np.tile(np.arange(size.questions), LANGUAGES)
    print(f"\n{size.name} questions, accuracy {size.accuracy:.0%}, margin {100 * size.margin:g} points\n")
    print("| challenger − champion | PROMOTE | HOLD | REJECT | first language not passed |")
    print("|---|---:|---:|---:|---:|")
    overall, single, alike, together = [], [], [], []
    for name, gains in scenarios(size).items():
        decisions: Counter[str] = Counter()
        stopped = 0
        for challenger, champion in simulate(size, gains, pairs):
            found = assess(
                challenger, champion, languages, clusters, margin=config.margin, alpha=config.alpha
            )
            decisions[decide(found, config)[0]] += 1
            stopped += found[1].finding != "good"
            if name == "equal":
                overall.append(found[0].smallest_difference)
                single += [one.smallest_difference for one in found[1:]]
                alike.append(float((challenger == champion).mean()))
                difference = (challenger.astype(float) - champion).reshape(LANGUAGES, -1)
                together.append(float(np.corrcoef(difference)[0, 1]))
        shares = [decisions[decision] / pairs for decision in ("PROMOTE", "HOLD", "REJECT")]
        print(
            f"| {name} | {' | '.join(f'{share:.1%}' for share in [*shares, stopped / pairs])} |", flush=True
        )
    print(
        f"\nTwo equal models agree in {median(alike):.0%} of the answers; their differences in two languages "
        f"correlate by {median(together):.2f}. Told in 80 % of cases: {100 * median(overall):.1f} points "
        f"overall, {100 * median(single):.1f} in a language."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="How often the gate is wrong, and what it finds.")
    parser.add_argument("--pairs", type=int, default=1000, help="of models, in each scenario")
    args = parser.parse_args()
    began = time.perf_counter()
    for size in (DEMO, MMMB):
        measure(size, args.pairs)
    print(f"\n{args.pairs:,} pairs of models in each line; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
