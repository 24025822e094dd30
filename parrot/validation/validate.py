"""A split's records against the contract, all of them against the expectations; a stamp if all is well."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from parrot.config import Images, Model, Validate
from parrot.data.shards import INDEX
from parrot.errors import ParrotError
from parrot.files import atomic_file, write_json
from parrot.validation.contract import FAILURE_COLUMNS, contract, contract_failures
from parrot.validation.expectations import check_split
from parrot.validation.metadata import read_metadata
from parrot.validation.offline_docs import Finding

FAILURES = "contract_failures.parquet"
DOCS = "data_docs"
SHOWN = 5
"""Failures in the message; the table holds all."""


def validate(
    languages: list[str],
    images: Images,
    validate: Validate,
    model: Model,
    *,
    split: str,
    prepared: Path,
    mixture: Path,
    reports: Path,
    metrics: Path,
    stamp: Path,
) -> dict[str, Any]:
    """Check the records that a mixture is made of, as it has them.

    Args:
        split: what the pages call them.
        prepared: folder of the prepared records of the split.
        mixture: folder of its index.
        reports: folder to write: `contract_failures.parquet`, and `data_docs/index.html`.
        metrics: JSON to write: counts and shares, which are returned as well.
        stamp: JSON to write if everything passes; it depends on the index and its shards alone.

    Raises:
        ParrotError: something fails; lists what, and where to look.
    """
    stamp.unlink(missing_ok=True)
    schema = contract(languages, images, model.max_length)
    frames, broken = [], []
    with tqdm(desc=f"validate {split}", unit=" records") as progress:
        for frame in read_metadata(prepared, mixture):
            frames.append(frame)
            broken.append(contract_failures(schema, frame))
            progress.update(len(frame))
    if not frames:
        raise ParrotError(f"{mixture}: a mixture of no records; correct params.yaml's `mix`")
    rows, failures = pd.concat(frames, ignore_index=True), pd.concat(broken, ignore_index=True)
    _write_failures(reports / FAILURES, failures)
    findings = check_split(split, rows, validate, languages, reports / DOCS)
    values = _metrics(rows, failures, findings)
    write_json(metrics, values)
    if problems := _problems(failures, findings, prepared, reports):
        raise ParrotError("\n".join(problems))
    sha256 = fingerprint(prepared, mixture, rows["shard"])
    write_json(stamp, {"passed": True, "records": len(rows), "sha256": sha256})
    return values


def fingerprint(prepared: Path, mixture: Path, shards: pd.Series) -> str:
    """SHA-256 over the bytes of the index, and names and bytes of the shards that it names."""
    total = hashlib.sha256()
    files = {INDEX: mixture / INDEX} | {name: prepared / name for name in sorted(shards.unique())}
    for name, path in files.items():
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{name} {content}\n".encode())
    return total.hexdigest()


def _write_failures(path: Path, failures: pd.DataFrame) -> None:
    schema = pa.schema([pa.field(name, pa.string()) for name in FAILURE_COLUMNS])
    table = pa.Table.from_pandas(failures, schema, preserve_index=False).replace_schema_metadata()
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="none")


def _metrics(rows: pd.DataFrame, failures: pd.DataFrame, findings: list[Finding]) -> dict[str, Any]:
    """Counts and shares; `expectations` and `failed_expectations` as numbers, so that runs compare."""
    weight = rows["copies"] / rows["copies"].sum()
    shares = weight.groupby(rows["language"]).sum()
    return {
        "records": len(rows),
        "contract_failures": len(failures),
        "expectations": len(findings),
        "failed_expectations": sum(not finding.passed for finding in findings),
        "language_share": {str(name): round(float(share), 4) for name, share in sorted(shares.items())},
        "text_only_share": round(float(weight[rows["images"] == 0].sum()), 4),
        "duplicate_share": round(float(weight[rows["duplicate"]].sum()), 4),
        "mean_text_bytes": round(float(rows["text_bytes"].mean()), 1),
        "mean_turns": round(float(rows["turns"].mean()), 2),
    }


def _problems(failures: pd.DataFrame, findings: list[Finding], prepared: Path, reports: Path) -> list[str]:
    """One line for each failure that is shown; none if all is well."""
    missed = [finding for finding in findings if not finding.passed]
    problems = []
    if len(failures):
        problems.append(f"breaches of the contract: {len(failures)}, all listed in {reports / FAILURES}:")
        problems += [
            f"  {prepared / row['shard']}: record {row['record']} of {row['source']}: {row['field']}: "
            f"{row['check']}, found {row['value']}"
            for row in failures[:SHOWN].to_dict("records")
        ]
    if missed:
        problems.append(f"expectations missed: {len(missed)}, see {reports / DOCS / 'index.html'}:")
        problems += [f"  {item.expectation}; found {item.observed}" for item in missed]
    if problems:
        problems.append("correct the data or its sources, or the limits in params.yaml's `validate`")
    return problems


__all__ = ["fingerprint", "validate"]
