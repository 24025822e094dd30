"""What became of every entry of a source, from its file to the mixture: none is lost without a word."""

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from parrot.errors import ParrotError
from parrot.files import write_json

BALANCE = "balance.json"


@dataclass(frozen=True, slots=True)
class Account:
    """Entries of a source: `read = kept + mended + rejected + deduplicated + sampled_away + left_out`."""

    read: int
    kept: int
    """In the mixture as they were published."""
    mended: int
    """In the mixture after a change that is counted by name, such as a cut."""
    rejected: int
    deduplicated: int
    """The same texts and pictures came before."""
    sampled_away: int
    """Not drawn, by `samples` or `weight`."""
    left_out: int = 0
    """Not wanted by `only` of the format."""

    def check(self, name: str) -> None:
        """See that the two sides are equal.

        Raises:
            ParrotError: an entry is missing or counted twice.
        """
        read, *became = astuple(self)
        if read != sum(became):
            raise ParrotError(
                f"{name}: an entry was lost or counted twice: {self}; that is a defect of the program or a "
                f"folder of two runs: run the stages prepare and mix again"
            )

    @property
    def used(self) -> int:
        return self.kept + self.mended

    def __str__(self) -> str:
        parts = asdict(self)
        read = parts.pop("read")
        return f"{read} read = " + " + ".join(f"{n} {name.replace('_', ' ')}" for name, n in parts.items())


def write_balance(folder: Path, accounts: Mapping[str, Account]) -> None:
    """Source -> its account, beside a mixture."""
    write_json(folder / BALANCE, {name: asdict(account) for name, account in accounts.items()})


def read_balance(folder: Path) -> dict[str, Account]:
    """What `write_balance` wrote.

    Raises:
        ParrotError: it is missing or damaged, or an account does not balance.
    """
    path = folder / BALANCE
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        accounts = {name: Account(**counts) for name, counts in tree.items()}
        for name, account in accounts.items():
            account.check(f"{path}: {name}")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ParrotError(f"{path}: not readable ({error}); run the stage mix again") from None
    return accounts
