"""What is known of published data sets."""

from functools import cache
from pathlib import Path

from parrot.config import Source
from parrot.config_data import Names, Origin
from parrot.config_training import Section
from parrot.yaml_files import read_yaml

_FILE = Path(__file__).with_name("facts.yaml")


class Fact(Section):
    """What is known of a published data set; `file` and `pictures` are None where nothing serves them."""

    about: str
    page: str
    license: str
    size: str
    format: str | None = None
    """Of its entries, where others call a file the same."""
    file: Origin | None = None
    pictures: Origin | None = None
    by_hand: str | None = None
    unconfirmed: Names = ()
    """What nobody has compared with what its publisher says."""


@cache
def known_facts() -> dict[str, Fact]:
    """By the name of the file of entries."""
    return {name: Fact.model_validate(tree) for name, tree in read_yaml(_FILE).items()}


def fact_of(source: Source) -> Fact | None:
    """What is known of what the source reads."""
    fact = known_facts().get(Path(source.path).name)
    return fact if fact and fact.format in (None, source.format) else None


def origin_of(source: Source) -> Origin | None:
    """From where its entries come."""
    if source.origin:
        return source.origin
    fact = fact_of(source)
    return fact.file if fact else None
