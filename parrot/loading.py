"""A trained model and its processor from a folder: never by code that lies in the folder.

Packages made here carry their own code (`auto_map`) for those who have nothing but transformers. Here the
classes of `parrot.model` read them; a folder that only its own code can read is refused, unasked.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

import parrot.model.registered  # noqa: F401  (the Auto classes know Parrot)
from parrot.errors import ParrotError


def load_model(folder: Path, **options: Any) -> Any:
    """The model in `folder`, in evaluation mode; `options` such as `dtype` go to `from_pretrained`.

    Raises:
        ParrotError: there is none, it is broken, or only code inside the folder could read it.
    """
    return _load(AutoModelForImageTextToText, folder, "model", options).eval()


def load_processor(folder: Path) -> Any:
    """The processor in `folder`; errors as of `load_model`."""
    return _load(AutoProcessor, folder, "processor", {})


def _load(auto_class: Any, folder: Path, what: str, options: dict[str, Any]) -> Any:
    if not (folder / "config.json").is_file():
        raise ParrotError(f"{folder}: holds no model (no config.json); run the stage that trains it first")
    try:
        return auto_class.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        said = " ".join(str(error).split())
        if "trust_remote_code" in said:
            raise ParrotError(
                f"{folder}: its {what} needs code that lies in that folder, and such code is never run here; "
                f"name a model of this project, or of an architecture that transformers has"
            ) from None
        raise ParrotError(f"{folder}: the {what} does not load: {said[:500]}") from None
