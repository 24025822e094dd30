"""`parrot compare`: which differences between two evaluations of the same questions are more than luck."""

import re
import tempfile
from pathlib import Path
from typing import Any

from parrot.errors import ParrotError
from parrot.evaluation.comparison import compare_report
from parrot.evaluation.comparison.differences import Comparison, compare_evaluations
from parrot.evaluation.samples import FOLDER, Evaluation, read_evaluation
from parrot.evaluation.scoring.statistics import CONFIDENCE, RESAMPLES, SEED, Estimate
from parrot.files import write_json

_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})")


def compare(a: str, b: str, run: str, output: Path | None) -> list[Comparison]:
    """Print a table of A minus B; write it to `output` as JSON, with a plot (.png) beside it.

    Args:
        a: an evaluation folder, or an MLflow run (32 hexadecimal digits, `runs:/` before them or not).
        b: the same.
        run: which of the answers, such as `seeing`.

    Raises:
        ParrotError: an evaluation cannot be read, the two did not ask the same in the same way, or
            `output` does not end in .json.
    """
    if output and output.suffix != ".json":
        raise ParrotError(f"--output {output}: must end in .json; the plot gets the same name with .png")
    first, second = load(a), load(b)
    comparisons = compare_evaluations(first, second, run)
    print(compare_report.table(first.name, second.name, run, comparisons))
    if output:
        result = {
            "a": first.name,
            "b": second.name,
            "run": run,
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "seed": SEED,
            "settings": first.settings,
            "comparisons": [_tree(comparison) for comparison in comparisons],
        }
        write_json(output, result)
        compare_report.write_plot(output.with_suffix(".png"), comparisons)
    return comparisons


def load(source: str) -> Evaluation:
    """Read an evaluation folder, or that of an MLflow run."""
    if Path(source).is_dir():
        return read_evaluation(Path(source))
    known = _RUN.fullmatch(source)
    if known is None:
        raise ParrotError(
            f"{source}: neither a folder nor an MLflow run; name an evaluation folder that `parrot evaluate` "
            f"wrote, or runs:/ID with the 32 hexadecimal digits of a run"
        )
    from parrot.tracking import fetch_artifact

    with tempfile.TemporaryDirectory() as folder:
        return read_evaluation(fetch_artifact(known[1], FOLDER, Path(folder)), source)


def _tree(comparison: Comparison) -> dict[str, Any]:
    """As JSON, with the fields of the estimates by name."""
    return {
        name: value._asdict() if isinstance(value, Estimate) else value
        for name, value in vars(comparison).items()
    }
