"""What is expected of a split as a whole, in Great Expectations, with Data Docs to look at."""

import os
from pathlib import Path
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

from parrot.config import Validate
from parrot.files import atomic_directory
from parrot.validation.offline_docs import RUN, Finding, make_offline

ENGLISH = "en"


def expectations(limits: Validate, languages: list[str]) -> list[gxe.Expectation]:
    """The suite of a split; `notes` say in words what each expects."""
    low, high = limits.english_share
    shares = {
        language: (low, high) if language == ENGLISH else (limits.min_language_share, 1.0)
        for language in languages
    }
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=limits.min_records, notes=f"at least {limits.min_records} records"
        ),
        *(
            _mean(f"is_{language}", least, most, f"share of {language}")
            for language, (least, most) in shares.items()
        ),
        _mean("text_only", 0, limits.max_text_only_share, "share of records without images"),
        _mean("duplicate", 0, limits.max_duplicate_share, "share of records that repeat an earlier one"),
    ]


def check_split(
    split: str, rows: pd.DataFrame, limits: Validate, languages: list[str], docs: Path
) -> list[Finding]:
    """Check a split's rows of `read_metadata` and build the Data Docs in the folder `docs`."""
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
        suite = gx.ExpectationSuite(name=split, expectations=expectations(limits, languages))
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
            batch_parameters={"dataframe": with_indicators(rows, languages)}, run_id=RUN
        )
        findings = [
            Finding(item.expectation_config.notes, bool(item.success), _observed(item.result))
            for run in result.run_results.values()
            for item in run.results
        ]
        make_offline(partial, findings)
    return findings


def with_indicators(rows: pd.DataFrame, languages: list[str]) -> pd.DataFrame:
    """Adds columns whose mean is a share of what training sees: 0, or 1 by the weight of the record."""
    weight = rows["copies"] / rows["copies"].mean()
    indicators = {f"is_{language}": (rows["language"] == language) * weight for language in languages}
    return rows.assign(
        **indicators, text_only=(rows["images"] == 0) * weight, duplicate=rows["duplicate"] * weight
    )


def _mean(column: str, least: float, most: float, what: str) -> gxe.Expectation:
    return gxe.ExpectColumnMeanToBeBetween(
        column=column, min_value=least, max_value=most, notes=f"{what}: {least:g} to {most:g}"
    )


def _observed(result: Any) -> str:
    value = result["observed_value"]
    return str(int(value) if value == int(value) else round(float(value), 4))
