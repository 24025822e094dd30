"""What became of an expectation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One expectation that was checked."""

    split: str
    expectation: str
    """What is expected, in words."""
    passed: bool
    observed: str
