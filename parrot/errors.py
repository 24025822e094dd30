"""The one error that a person is meant to read."""

from parrot.credentials import without_secrets


class ParrotError(Exception):
    """A sentence for the user: what is wrong, where (file, record, field), what to do.

    The command line prints it and exits with 1; everything else is a defect and keeps its traceback.
    Secrets that others' words bring along (an address with its password) are hidden.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(without_secrets(sentence))


class Gone(ParrotError):
    """What is asked for was there and has been deleted: the answer of a store that can be used."""
