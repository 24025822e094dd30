"""What is expected of a split as a whole, in Great Expectations, with Data Docs to look at.

The data set that it checks has one row, which sums the split up: memory does not grow with the records.
"""

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

from parrot.config import Validate
from parrot.data.accounting import Account
from parrot.files import atomic_directory
from parrot.validation.doubts import NEAR_DUPLICATES, NEAR_PICTURES, other_language_share
from parrot.validation.offline_docs import RUN, Finding, make_offline

ENGLISH = "en"


def expectations(
    limits: Validate, languages: list[str], sources: Iterable[str], measured: Container[str]
) -> list[gxe.Expectation]:
    """The suite of a split; `notes` say in words what each expects."""
    low, high = limits.english_share
    shares = {
        language: (low, high) if language == ENGLISH else (limits.min_language_share, 1.0)
        for language in languages
    }
    return [
        gxe.ExpectColumnMinToBeBetween(
            column="records", min_value=limits.min_records, notes=f"at least {limits.min_records} records"
        ),
        *(
            _share(share_of(language), least, most, f"share of {language}")
            for language, (least, most) in shares.items()
        ),
        _share("text_only_share", 0, limits.max_text_only_share, "share of records without images"),
        _share(
            "duplicate_share", 0, limits.max_duplicate_share, "share of records that repeat an earlier one"
        ),
        *(
            _share(column, 0, most, what)
            for column, most, what in _doubts(limits, sources)
            if most is not None and column in measured
        ),
    ]


def _doubts(limits: Validate, sources: Iterable[str]) -> Iterator[tuple[str, float | None, str]]:
    most = limits.max_near_duplicate_share
    yield NEAR_DUPLICATES, most, "share of records that nearly repeat an earlier one"
    yield NEAR_PICTURES, limits.max_near_picture_share, "share of records with a picture nearly seen before"
    for name in sources:
        what = f"{name}: share of texts in another language than declared"
        yield other_language_share(name), limits.max_other_language_share, what


def share_of(language: str) -> str:
    """The column of a language."""
    return f"{language}_share"


def check_split(
    split: str,
    summary: Mapping[str, float],
    limits: Validate,
    languages: list[str],
    accounts: Mapping[str, Account],
    docs: Path,
) -> list[Finding]:
    """Check what sums a split up, and build the Data Docs in the folder `docs`.

    Args:
        summary: `records`, `text_only_share`, `duplicate_share`, `share_of` each language; and of `Doubts`.
        accounts: what became of each source's entries, which the pages show.
    """
    with atomic_directory(docs) as partial:
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        for site in list(context.list_data_docs_sites()):
            context.delete_data_docs_site(site)
        context.add_data_docs_site(
            site_name="parrot",
            site_config={
                "class_name": "SiteBuilder",
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(partial.absolute()),
                },
            },
        )
        suite = gx.ExpectationSuite(
            name=split, expectations=expectations(limits, languages, accounts, summary)
        )
        data = context.data_sources.add_pandas("prepared").add_dataframe_asset(split)
        definition = gx.ValidationDefinition(
            name=split, data=data.add_batch_definition_whole_dataframe("all"), suite=context.suites.add(suite)
        )
        checkpoint = gx.Checkpoint(
            name=split,
            validation_definitions=[context.validation_definitions.add(definition)],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["parrot"])],
        )
        result = context.checkpoints.add(checkpoint).run(
            batch_parameters={"dataframe": pd.DataFrame([summary])}, run_id=RUN
        )
        findings = [
            Finding(item.expectation_config.notes, bool(item.success), _observed(item.result))
            for run in result.run_results.values()
            for item in run.results
        ]
        make_offline(partial, findings, accounts)
    return findings


def _share(column: str, least: float, most: float, what: str) -> gxe.Expectation:
    return gxe.ExpectColumnMinToBeBetween(
        column=column, min_value=least, max_value=most, notes=f"{what}: {least:g} to {most:g}"
    )


def _observed(result: Any) -> str:
    value = result["observed_value"]
    return str(int(value) if value == int(value) else round(float(value), 4))
