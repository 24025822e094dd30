"""Every expectation of a split is missed where something is planted against it, and held by good records."""

from dataclasses import replace
from pathlib import Path

import pytest
from talks import LANGUAGES, LIMITS, TWO, Plant, good
from written_mixtures import write_mixture

from parrot.config import Speed
from parrot.validation.expectations import check_split
from parrot.validation.metadata import as_frame, read_measures
from parrot.validation.repeated import Repeated
from parrot.validation.totals import Totals

PLANTS: dict[str, tuple[Plant, str, str]] = {
    "nothing": (lambda records: records, "", ""),
    "few": (lambda records: records[:19], "at least 20 records", "19"),
    "no Chinese": (
        lambda records: [item for item in records if item.language == "en"],
        "share of zh: 0.1 to 1",
        "0",
    ),
    "little English": (
        lambda records: [*records[:2], *(replace(item, language="zh") for item in records[2:])],
        "share of en: 0.5 to 0.9",
        "0.025",
    ),
    "little Chinese": (
        lambda records: [*records[:1], *(item for item in records if item.language == "en")],
        "share of zh: 0.1 to 1",
        "0.0323",
    ),
    "no pictures": (
        lambda records: [replace(item, messages=TWO, images=()) for item in records[:10]] + records[10:],
        "share of records without images: 0 to 0.2",
        "0.25",
    ),
    "repeats": (
        lambda records: [*records, *(replace(item, id=f"again{item.id}") for item in records[:4])],
        "share of records that repeat an earlier one: 0 to 0.05",
        "0.0909",
    ),
    "much of one language": (
        lambda records: [replace(item, copies=1 + 30 * (item.language == "zh")) for item in records],
        "share of en: 0.5 to 0.9",
        "0.0882",
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_violation_misses_its_expectation(tmp_path: Path, name: str) -> None:
    plant, expectation, observed = PLANTS[name]
    totals = Totals()
    prepared, mixture = write_mixture(tmp_path, plant(good()))
    speed = Speed(workers=0, inference_batch_size=1, inference_processes=1)
    with Repeated() as repeated:
        for measures in read_measures(prepared, mixture, speed=speed, work=tmp_path / "work"):
            repeated.add(measures)
            totals.add(as_frame(measures))
        totals.duplicates = repeated.samples(mixture)
    findings = check_split("sft", totals.summary(LANGUAGES), LIMITS, LANGUAGES, {}, tmp_path / "docs")
    missed = {item.expectation: item.observed for item in findings if not item.passed}
    if expectation:
        assert missed[expectation] == observed
    else:
        assert missed == {}
