"""The pages of what was found: whole without the internet, and the same for the same data."""

import filecmp
import re
from pathlib import Path

import pytest
from talks import LIMITS

from parrot.data.accounting import Account
from parrot.validation.expectations import check_split


def build(docs: Path) -> Path:
    """Data Docs of a split with an expectation that does not hold and a language that looks like markup."""
    summary = {"records": 10, "en_share": 0.6, "<b>_share": 0.4, "text_only_share": 0, "duplicate_share": 0}
    accounts = {
        "<i>": Account(read=19, left_out=4, kept=9, mended=1, rejected=2, deduplicated=3, sampled_away=0)
    }
    check_split("sft", summary, LIMITS, ["en", "<b>"], accounts, docs)
    return docs


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("docs") / "data_docs")


def test_pages_load_nothing_from_the_web(docs: Path) -> None:
    pages = list(docs.rglob("*.html"))
    assert len(pages) == 3  # the index, the suite, the validation
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<script|<(link|img)\b[^>]*https?://", text), page


def test_index_lists_each_expectation_and_links_to_its_page(docs: Path) -> None:
    index = (docs / "index.html").read_text(encoding="utf-8")
    assert "at least 20 records" in index
    assert '<td class="failed">✗</td>' in index
    assert '<td class="passed">✓</td>' in index
    assert "<b>" not in index and "&lt;b&gt;" in index
    assert "<td>&lt;i&gt;</td><td>19</td><td>9</td><td>1</td>" in index
    assert "<td>4</td></tr>" in index
    (page,) = re.findall(r'href="([^"]+)"', index)
    assert (docs / page).is_file()


def test_same_data_give_the_same_bytes(docs: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again")
    files = [file.relative_to(docs) for file in docs.rglob("*") if file.is_file()]
    assert filecmp.cmpfiles(docs, again, files, shallow=False)[1:] == ([], [])
