"""What is expected of a split as a whole, in Great Expectations, with Data Docs to look at."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

from parrot.config import Validate
from parrot.files import atomic_directory
from parrot.validation.findings import Finding
from parrot.validation.offline_docs import RUN, make_offline

ENGLISH = "en"


def expectations(
    params: Validate, languages: list[str], max_length: int, *, images: bool
) -> list[gxe.Expectation]:
    """The suite of a split with or without `images`; `notes` say in words what each expects."""
    low, high = params.english_share
    shares = {
        language: (low, high) if language == ENGLISH else (params.min_language_share, 1.0)
        for language in languages
    }
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=params.min_records, notes=f"at least {params.min_records} records"
        ),
        gxe.ExpectColumnDistinctValuesToEqualSet(
            column="language", value_set=languages, notes=f"the languages are {', '.join(languages)}"
        ),
        *(
            _mean(f"is_{language}", least, most, f"share of {language}")
            for language, (least, most) in shares.items()
        ),
        _mean("text_only", 0, params.max_text_only_share, "share of records without images"),
        _mean("duplicate", 0, params.max_duplicate_share, "share of records that repeat an earlier one"),
        gxe.ExpectColumnMaxToBeBetween(
            column="positions",
            max_value=max_length,
            notes=f"no record takes more than {max_length} positions",
        ),
        *(_image_sizes(params) if images else ()),
    ]


def _image_sizes(params: Validate) -> list[gxe.Expectation]:
    return [
        gxe.ExpectColumnMinToBeBetween(
            column="shorter_side",
            min_value=params.min_image_pixels,
            notes=f"no image has fewer than {params.min_image_pixels} pixels on a side",
        ),
        gxe.ExpectColumnMaxToBeBetween(
            column="longer_side",
            max_value=params.max_image_pixels,
            notes=f"no image has more than {params.max_image_pixels} pixels on a side",
        ),
    ]


def check_splits(
    splits: Mapping[str, pd.DataFrame], params: Validate, languages: list[str], max_length: int, docs: Path
) -> list[Finding]:
    """Check each split's rows of `read_metadata` and build the Data Docs in the folder `docs`."""
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
        source = context.data_sources.add_pandas("prepared")
        findings: list[Finding] = []
        for split, rows in splits.items():
            suite = context.suites.add(gx.ExpectationSuite(name=split))
            images = bool(rows["images"].any())
            for expectation in expectations(params, languages, max_length, images=images):
                suite.add_expectation(expectation)
            batch = source.add_dataframe_asset(split).add_batch_definition_whole_dataframe("all")
            definition = context.validation_definitions.add(
                gx.ValidationDefinition(name=split, data=batch, suite=suite)
            )
            checkpoint = gx.Checkpoint(
                name=split,
                validation_definitions=[definition],
                actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["parrot"])],
            )
            result = context.checkpoints.add(checkpoint).run(
                batch_parameters={"dataframe": with_indicators(rows, languages)}, run_id=RUN
            )
            findings += _findings(split, result)
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


def _findings(split: str, result: Any) -> list[Finding]:
    found = []
    for run in result.run_results.values():
        for item in run.results:
            words = item.expectation_config.notes
            found.append(Finding(split, words, bool(item.success), _observed(item.result)))
    return found


def _observed(result: Any) -> str:
    value = result.get("observed_value")
    if value is not None:
        return str(int(value) if value == int(value) else round(float(value), 4))
    lists = {name: result.get(f"partial_{name}_list") for name in ("missing", "unexpected")}
    return "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in lists.items() if values)
