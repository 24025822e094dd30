"""The one error that a person is meant to read."""


class ParrotError(Exception):
    """A sentence for the user: what is wrong, where (file, record, field), what to do.

    The command line prints it and exits with 1; everything else is a defect and keeps its traceback.
    """
