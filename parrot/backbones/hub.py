"""Backbones that exist already: a folder, or a Hub repository at a pinned commit."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.errors import RevisionNotFoundError as HubRevisionNotFoundError

from parrot.config import Backbone
from parrot.errors import ParrotError

# Weights as safetensors only: a pickle would run code of its publisher.
PATTERNS = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]


def fetch(backbone: Backbone) -> Path:
    """The local folder of `backbone.pretrained`, downloaded at `backbone.revision` if need be.

    Raises:
        ParrotError: repository or commit do not exist, the Hub cannot be reached, or the
            repository holds no safetensors.
    """
    assert backbone.pretrained
    folder = Path(backbone.pretrained)
    if not folder.is_dir():
        name = f"'{backbone.pretrained}' at revision '{backbone.revision}'"
        try:
            folder = Path(
                snapshot_download(backbone.pretrained, revision=backbone.revision, allow_patterns=PATTERNS)
            )
        except HubRevisionNotFoundError:
            raise ParrotError(f"backbones: {name}: no such revision on the Hub") from None
        except RepositoryNotFoundError:
            raise ParrotError(f"backbones: {name}: neither a folder nor a repository on the Hub") from None
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise ParrotError(
                f"backbones: {name} could not be downloaded: {' '.join(str(error).split())[:200]}"
            ) from None
    if not any(folder.glob("*.safetensors")):
        raise ParrotError(f"backbones: {folder} holds no *.safetensors; convert the weights first")
    return folder
