"""The table on the console."""

from collections.abc import Mapping
from typing import Any


def metrics_table(metrics: dict[str, Any]) -> str:
    """Shares in per cent with 95 % intervals, one line a language.

    Its words are those of the metrics: *eyes* is seeing minus blind (what the picture adds), *kit* the
    written answers as VLMEvalKit reads them.
    """
    written = metrics["written"]
    columns = {
        "letter": metrics["letter"],
        "written": written["parrot"],
        "kit": written["vlmevalkit"],
        "unreadable": metrics["unreadable"],
    }
    heads = "".join(f"{name:>11}" for name in columns)
    lines = [f"accuracy, % {'seeing':>8}{'95 %':>17}{'blind':>8}{'eyes':>8}{'95 %':>17}{heads}"]
    for name, share in metrics["accuracy"].items():
        eyes = metrics["eyes"][name]
        cells = "".join(f"{100 * column[name]:11.1f}" for column in columns.values())
        lines.append(
            f"{name:<12}{100 * share:8.1f}{_interval(metrics['interval'][name]):>17}"
            f"{100 * metrics['blind'][name]:8.1f}{100 * eyes['value']:+8.1f}{_interval(eyes):>17}{cells}"
        )
    return "\n".join([*lines, f"chance is {metrics['chance']:.1%}"])


def _interval(bounds: Mapping[str, float]) -> str:
    return f"[{100 * bounds['low']:.1f}, {100 * bounds['high']:.1f}]"
