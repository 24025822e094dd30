"""Every record against the contract, every split against the expectations; a stamp if all is well."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from parrot.config import Validate
from parrot.data.shards import find_shards
from parrot.errors import ParrotError
from parrot.files import atomic_file, write_json
from parrot.validation.contract import FAILURE_COLUMNS, contract, contract_failures
from parrot.validation.expectations import check_splits
from parrot.validation.findings import Finding
from parrot.validation.metadata import read_metadata

SPLITS = ("align", "sft")
FAILURES = "contract_failures.parquet"
SHOWN = 5
"""Failures in the message; the table holds all."""


def validate(
    params: Validate,
    languages: list[str],
    max_length: int,
    *,
    prepared: Path,
    reports: Path,
    metrics: Path,
    stamp: Path,
) -> dict[str, Any]:
    """Check `prepared/align` and `prepared/sft`; a record may take `max_length` positions.

    Writes `reports/contract_failures.parquet`, `reports/data_docs/index.html` and `metrics`, and
    `stamp` only if everything passes. The stamp depends on the shards alone.

    Returns:
        The metrics.

    Raises:
        ParrotError: something fails; lists what, and where to look.
    """
    stamp.unlink(missing_ok=True)
    schema = contract(params, languages, max_length)
    splits: dict[str, pd.DataFrame] = {}
    failures: dict[str, pd.DataFrame] = {}
    for split in SPLITS:
        frames = []
        broken = []
        with tqdm(desc=f"validate {split}", unit=" records") as progress:
            for frame in read_metadata(prepared / split):
                frames.append(frame)
                broken.append(contract_failures(schema, frame))
                progress.update(len(frame))
        splits[split] = pd.concat(frames, ignore_index=True)
        failures[split] = pd.concat(broken, ignore_index=True)
    _write_failures(reports / FAILURES, failures)
    docs = reports / "data_docs"
    findings = check_splits(splits, params, languages, max_length, docs)
    values = {split: _metrics(splits[split], failures[split], findings, split) for split in SPLITS}
    write_json(metrics, values)
    if problems := _problems(failures, findings, reports):
        raise ParrotError("\n".join(problems))
    write_json(
        stamp,
        {
            "passed": True,
            "records": {split: len(rows) for split, rows in splits.items()},
            "sha256": fingerprint(prepared),
        },
    )
    return values


def fingerprint(prepared: Path) -> str:
    """SHA-256 over the names and bytes of all shards."""
    total = hashlib.sha256()
    for split in SPLITS:
        for shard in find_shards(prepared / split):
            with shard.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{split}/{shard.name} {content}\n".encode())
    return total.hexdigest()


def _write_failures(path: Path, failures: dict[str, pd.DataFrame]) -> None:
    rows = pd.concat([frame.assign(split=split) for split, frame in failures.items()], ignore_index=True)
    schema = pa.schema([pa.field(name, pa.string()) for name in ("split", *FAILURE_COLUMNS)])
    table = pa.Table.from_pandas(rows, schema, preserve_index=False).replace_schema_metadata()
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="none")


def _metrics(
    rows: pd.DataFrame, failures: pd.DataFrame, findings: list[Finding], split: str
) -> dict[str, Any]:
    """Counts and shares; `expectations` and `failed_expectations` as numbers, so that runs compare."""
    own = [finding for finding in findings if finding.split == split]
    weight = rows["copies"] / rows["copies"].sum()
    shares = weight.groupby(rows["language"]).sum()
    return {
        "records": len(rows),
        "contract_failures": len(failures),
        "expectations": len(own),
        "failed_expectations": sum(not finding.passed for finding in own),
        "language_share": {str(name): round(float(share), 4) for name, share in sorted(shares.items())},
        "text_only_share": round(float(weight[rows["images"] == 0].sum()), 4),
        "duplicate_share": round(float(weight[rows["duplicate"]].sum()), 4),
        "mean_text_bytes": round(float(rows["text_bytes"].mean()), 1),
        "mean_turns": round(float(rows["turns"].mean()), 2),
    }


def _problems(failures: dict[str, pd.DataFrame], findings: list[Finding], reports: Path) -> list[str]:
    """One line for each failure that is shown; none if all is well."""
    broken = [(split, row) for split, frame in failures.items() for row in frame.to_dict("records")]
    missed = [finding for finding in findings if not finding.passed]
    problems = []
    if broken:
        problems.append(f"breaches of the contract: {len(broken)}, all listed in {reports / FAILURES}:")
        problems += [
            f"  {split}/{row['shard']}: record {row['record']} of {row['source']}: {row['field']}: "
            f"{row['check']}, found {row['value']}"
            for split, row in broken[:SHOWN]
        ]
    if missed:
        problems.append(f"expectations missed: {len(missed)}, see {reports / 'data_docs' / 'index.html'}:")
        problems += [f"  {item.split}: {item.expectation}; found {item.observed}" for item in missed]
    if problems:
        problems.append("correct the data or its sources, or the limits in params.yaml's `validate`")
    return problems
