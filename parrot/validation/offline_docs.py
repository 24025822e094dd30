"""Data Docs that show without the internet, and are the same bytes for the same data.

Great Expectations' pages take scripts and styles from the web; without it they are blank. What they say
is in the pages themselves, so scripts go and a small stylesheet of our own takes the place of the others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from great_expectations.core import RunIdentifier

from parrot.data.accounting import Account
from parrot.files import write_text

RUN = RunIdentifier(run_name="validation", run_time=datetime(2000, 1, 1, tzinfo=UTC))
"""Of every run: pages of the same data are the same, whenever they were made."""


@dataclass(frozen=True)
class Finding:
    """What became of one expectation."""

    expectation: str
    """What is expected, in words."""
    passed: bool
    observed: str


STYLES = Path(__file__).with_name("data_docs.css")
INDEX = Path(__file__).with_name("data_docs_index.html")

_FROM_THE_WEB = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*\bhref=\"https?://[^>]*>|<img\b[^>]*\bsrc=\"https?://[^>]*>",
    re.DOTALL,
)
# At the end of names inside a page, and when the data were read.
_DIFFERENT_EACH_TIME = re.compile(
    r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=>)\d{8}T\d{6}\.\d{6}Z(?=<)"
)


def make_offline(docs: Path, findings: Sequence[Finding], accounts: Mapping[str, Account]) -> None:
    """Rewrite the pages in the folder `docs`, and its index.html as tables of all findings and accounts."""
    styles = STYLES.read_text(encoding="utf-8")
    for page in sorted(docs.rglob("*.html")):
        text = _DIFFERENT_EACH_TIME.sub("", _FROM_THE_WEB.sub("", page.read_text(encoding="utf-8")))
        write_text(page, text.replace("</head>", f"<style>\n{styles}</style>\n</head>", 1))
    [validation] = (docs / "validations").rglob("*.html")
    page_of_all = validation.relative_to(docs).as_posix()
    template = jinja2.Environment(autoescape=True).from_string(INDEX.read_text(encoding="utf-8"))
    first = template.render(findings=findings, accounts=accounts, page=page_of_all, styles=styles)
    write_text(docs / "index.html", first)
