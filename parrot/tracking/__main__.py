"""Create the store where there is none, and send what an absent server has left behind."""

import sys

from parrot.errors import ParrotError
from parrot.tracking import ensure_store


def main() -> None:
    try:
        ensure_store()
    except ParrotError as error:
        sys.exit(f"parrot: {error}")


if __name__ == "__main__":
    main()
