"""A split's records against the contract, all of them against the expectations; a stamp if all is well."""

import hashlib
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from parrot.config import Images, Model, Speed, Validate
from parrot.data.accounting import read_balance
from parrot.data.shards import INDEX
from parrot.errors import ParrotError
from parrot.files import atomic_file, file_digest, write_json
from parrot.validation.contract import FAILURE_COLUMNS, contract, contract_failures
from parrot.validation.doubts import Doubts
from parrot.validation.drift import committed_metrics, drift
from parrot.validation.expectations import check_split
from parrot.validation.metadata import as_frame, read_measures
from parrot.validation.offline_docs import Finding
from parrot.validation.repeated import Repeated
from parrot.validation.totals import Totals

FAILURES = "contract_failures.parquet"
DOUBTS = "doubts.parquet"
DOCS = "data_docs"
SHOWN = 5
"""Failures in the message; the table holds all."""


def validate(
    languages: list[str],
    images: Images,
    validate: Validate,
    model: Model,
    speed: Speed,
    *,
    split: str,
    prepared: Path,
    mixture: Path,
    reports: Path,
    metrics: Path,
    stamp: Path,
    work: Path,
) -> dict[str, Any]:
    """Check the records that a mixture is made of, as it has them.

    Args:
        split: what the pages call them.
        prepared: folder of the prepared records of the split.
        mixture: folder of its index.
        reports: folder to write: `contract_failures.parquet`, `doubts.parquet` (near duplicates, texts in
            other languages) and `data_docs/index.html`.
        metrics: JSON to write: counts and shares, which are returned as well. Only what is returned has the
            `drift` from the last commit: files depend on the data alone.
        stamp: JSON to write if everything passes; it depends on the index and its shards alone.
        work: folder for what `speed.prepare_processes` processes find.

    Raises:
        ParrotError: something fails; lists what, and where to look.
    """
    stamp.unlink(missing_ok=True)
    schema = contract(languages, images, model.max_length)
    totals, accounts = Totals(), read_balance(mixture)
    with (
        Doubts(validate, images, accounts) as doubts,
        Repeated() as repeated,
        tqdm(desc=f"validate {split}", unit=" records") as progress,
        _FailuresWriter(reports / FAILURES) as failures,
        _FailuresWriter(reports / DOUBTS) as doubtful,
    ):
        for measures in read_measures(
            prepared, mixture, near_texts=validate.max_near_duplicate_share is not None,
            languages=validate.max_other_language_share is not None, speed=speed, work=work,
        ):  # fmt: skip
            repeated.add(measures)
            frame = as_frame(measures)
            totals.add(frame)
            failures.add(contract_failures(schema, frame))
            doubtful.add(doubts.add(frame))
            progress.update(len(frame))
        failures.add(repeated.failures(mixture))
        totals.duplicates = repeated.samples(mixture)
        doubtful.add(doubts.near(mixture))
    if not totals.records:
        raise ParrotError(f"{mixture}: a mixture of no records; correct params.yaml's `mix`")
    totals.check(accounts, mixture)
    summary = totals.summary(languages) | doubts.summary()
    findings = check_split(split, summary, validate, languages, accounts, reports / DOCS)
    doubt = {name: round(share, 4) for name, share in doubts.summary().items()}
    values = (
        totals.metrics()
        | doubt
        | {
            "contract_failures": failures.count,
            "expectations": len(findings),
            "failed_expectations": sum(not finding.passed for finding in findings),
        }
    )
    write_json(metrics, values)
    moved, how = drift(committed_metrics(metrics) or {}, values)
    print(f"validate {split}: largest change of a share since the last commit: {how}", file=sys.stderr)
    problems = _problems(failures, findings, prepared, reports)
    if validate.max_drift is not None and moved > validate.max_drift:
        problems += [
            f"the mixture is another one than in the last commit ({how}), validate.max_drift allows "
            f"{validate.max_drift:g}; if it should be, commit {metrics} and run the stage again"
        ]
    if problems:
        raise ParrotError("\n".join(problems))
    sha256 = fingerprint(prepared, mixture, totals.shards)
    write_json(stamp, {"passed": True, "records": totals.records, "sha256": sha256})
    return values | {"drift": round(moved, 4)}


def fingerprint(prepared: Path, mixture: Path, shards: Iterable[str]) -> str:
    """SHA-256 over the bytes of the index, and names and bytes of the shards that it names."""
    total = hashlib.sha256()
    files = {INDEX: mixture / INDEX} | {name: prepared / name for name in sorted(shards)}
    for name, path in files.items():
        total.update(f"{name} {file_digest(path)}\n".encode())
    return total.hexdigest()


class _FailuresWriter:
    """The table of failures, written as they are found."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.first = pd.DataFrame(columns=FAILURE_COLUMNS)
        """Those that the message shows."""
        self._schema = pa.schema([pa.field(name, pa.string()) for name in FAILURE_COLUMNS])
        self._stack = ExitStack()
        partial = self._stack.enter_context(atomic_file(path))
        self._file = self._stack.enter_context(pq.ParquetWriter(partial, self._schema, compression="none"))

    def add(self, failures: pd.DataFrame) -> None:
        if failures.empty:
            return
        if len(self.first) < SHOWN:
            self.first = failures[:SHOWN] if self.first.empty else pd.concat([self.first, failures])[:SHOWN]
        self.count += len(failures)
        table = pa.Table.from_pandas(failures, self._schema, preserve_index=False)
        self._file.write_table(table.replace_schema_metadata())

    def __enter__(self) -> "_FailuresWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _problems(failures: _FailuresWriter, findings: list[Finding], prepared: Path, reports: Path) -> list[str]:
    """One line for each failure that is shown; none if all is well."""
    missed = [finding for finding in findings if not finding.passed]
    problems = []
    if failures.count:
        problems.append(f"breaches of the contract: {failures.count}, all listed in {reports / FAILURES}:")
        problems += [
            f"  {prepared / row['shard']}: record {row['record']} of {row['source']}: {row['field']}: "
            f"{row['check']}, found {row['value']}"
            for row in failures.first.to_dict("records")
        ]
    if missed:
        problems.append(f"expectations missed: {len(missed)}, see {reports / DOCS / 'index.html'}:")
        problems += [f"  {item.expectation}; found {item.observed}" for item in missed]
    if problems:
        problems.append("correct the data or its sources, or the limits in params.yaml's `validate`")
    return problems


__all__ = ["fingerprint", "validate"]
