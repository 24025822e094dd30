"""The contract of one record, in pandera: what can be said of a record alone is said here, and only here."""

import pandas as pd
import pandera.pandas as pa

from parrot.config import Images
from parrot.data.records import LOST

FAILURE_COLUMNS = ("shard", "source", "record", "field", "check", "value")


def contract(languages: list[str], images: Images, max_length: int) -> pa.DataFrameSchema:
    """What must be true of every row of `as_frame`."""

    def none(problem: str) -> pa.Column:
        return pa.Column(int, pa.Check.eq(0, error=problem))

    def name(of: str) -> pa.Column:
        given = pa.Check.str_length(min_value=1, error=f"{of} must not be empty")
        whole = pa.Check(
            lambda texts: ~texts.str.contains(LOST, regex=False), error=f"{of} must be valid UTF-8"
        )
        return pa.Column(str, [given, whole])

    small, large = images.min_pixels, images.max_pixels
    positions = pa.Check.in_range(
        1, max_length, error=f"must be measured and fit into model.max_length = {max_length} positions"
    )
    return pa.DataFrameSchema(
        {
            "id": name("id"),
            "source": name("source"),
            "language": pa.Column(
                str, pa.Check.isin(languages, error=f"must be one of {', '.join(languages)}")
            ),
            "roles": pa.Column(
                str,
                pa.Check.str_matches(
                    r"^(system )?user assistant( user assistant)*$",
                    error="user and assistant must take turns",
                ),
            ),
            "positions": pa.Column(int, positions),
            "copies": pa.Column(int, pa.Check.ge(1, error="must be there once or more")),
            "length_error": none("length must be the UTF-8 bytes of all messages"),
            "empty_texts": none("every message must have text"),
            "broken_texts": none("every message must be valid UTF-8 without lost characters (U+FFFD)"),
            "unplaced_images": none("there must be as many image placeholders in the user's turns as images"),
            "answer_placeholders": none("image placeholders must stand in the user's turns only"),
            "unreadable_images": none("every image must be readable"),
            "shorter_side": pa.Column(
                float, pa.Check.ge(small, error=f"images must have {small} pixels or more"), nullable=True
            ),
            "longer_side": pa.Column(
                float, pa.Check.le(large, error=f"images must have {large} pixels or fewer"), nullable=True
            ),
        }
    )


def contract_failures(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> pd.DataFrame:
    """Every broken clause: one row for each record and check, with `FAILURE_COLUMNS`; empty if none is."""
    frame = frame.assign(
        length_error=frame["stored_length"] - frame["text_bytes"],
        unplaced_images=frame["images"] - frame["placeholders"],
    )
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
    else:
        return pd.DataFrame(columns=FAILURE_COLUMNS, dtype=str)
    records = frame.loc[cases["index"].astype(int), ["shard", "source", "id"]].reset_index(drop=True)
    found = records.rename(columns={"id": "record"}).assign(
        field=cases["column"].to_numpy(),
        check=cases["check"].to_numpy(),
        value=[str(value) for value in cases["failure_case"]],
    )
    return found[list(FAILURE_COLUMNS)].astype(str)
