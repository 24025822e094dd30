"""Parrot and its baselines as models of transformers.

`from parrot.model import …` registers them with the Auto classes; so does `import parrot.model.registered`.
`import parrot.model` alone does not: the data stages want the decoding of pictures from here
(`parrot.model.image_decoding`), and neither torch nor the seconds that its import takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .registered import *  # noqa: F403  (the names that `__getattr__` finds)


def __getattr__(name: str) -> Any:
    registered = import_module(f"{__name__}.registered")
    if name not in registered.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(registered, name)
