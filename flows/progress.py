"""How far a pipeline run is."""

import time
from collections.abc import Mapping

from flows.console import console
from flows.reproduce import Outcome
from parrot.pipeline.graph import GraphStage, display_name, remaining_minutes


class Progress:
    """Says how far the pipeline is and, by the pace so far, about how long it still takes."""

    def __init__(
        self, stages: Mapping[str, GraphStage], outcomes: Mapping[str, Outcome], parallel: int
    ) -> None:
        self._stages = stages
        self._outcomes = outcomes
        self._parallel = parallel
        self._began: dict[str, float] = {}
        """Those now running, and when each was started."""
        self._done = {name for name, stage in stages.items() if not stage.why}

    def start(self, name: str) -> None:
        self._began[name] = time.monotonic()
        console.stages.add(display_name(name))
        started = len(self._done) + len(self._began)
        self._say(f"{display_name(name)} ({started} of {len(self._stages)}): {self._stages[name].why}")

    def end(self, name: str) -> None:
        del self._began[name]
        console.stages.discard(display_name(name))
        self._done.add(name)
        outcome = self._outcomes[name]
        took = "" if outcome.state == "cached" else f" after {outcome.seconds:.0f} s"
        self._say(f"{display_name(name)}: {outcome.state}{took}")

    def seconds(self, name: str) -> float:
        """Since it was started."""
        return time.monotonic() - self._began[name]

    def report(self) -> None:
        self._say(", ".join(sorted(console.stages)) + " running")

    def _say(self, what: str) -> None:
        total = sum(stage.minutes for stage in self._stages.values())
        pace = self._pace()
        now = time.monotonic()
        running = {name: (now - began) / 60 for name, began in self._began.items()}
        left = remaining_minutes(self._stages, self._done, running, parallel=self._parallel, pace=pace)
        behind = sum(self._stages[name].minutes for name in self._done) + sum(
            min(minutes / pace, self._stages[name].minutes) for name, minutes in running.items()
        )
        share = f"{behind / total:.0%}" if total else "100%"
        console.line(f"━━ {what} · {share} of the pipeline done, {_duration(left)}")

    def _pace(self) -> float:
        """Minutes taken for each minute that was expected, of the stages that have really run."""
        ran = [name for name in self._done if self._outcomes[name].state == "done"]
        expected = sum(self._stages[name].minutes for name in ran)
        taken = sum(self._outcomes[name].seconds for name in ran) / 60
        # One imagined minute at the expected pace keeps the first short stages from deciding all.
        return (taken + 1) / (expected + 1)


def _duration(minutes: float) -> str:
    if minutes * 60 < 5:
        return "seconds left"
    if minutes < 1.5:
        return f"about {5 * round(minutes * 12)} s left"
    return f"about {minutes:.0f} min left"
