"""The last step: the package goes to where models are published, if the gate lets it."""

from typing import TYPE_CHECKING

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.transactions import Transaction, get_transaction, transaction

from flows.console import console
from flows.server import wait_for_server
from parrot.errors import ParrotError
from parrot.params import load_params

if TYPE_CHECKING:
    from parrot.publishing.release import Release

_PUBLISHED = "published"


@task(name="release", task_run_name="release", cache_policy=NO_CACHE)
def release_package() -> "Release":
    """Register, gate, publish, promote: as `parrot publish` does. Each step is safe to repeat."""
    from parrot.publishing.release import release

    done = release(load_params())
    if (here := get_transaction()) is not None:
        here.set(_PUBLISHED, done.published is not None)
    return done


@release_package.on_rollback
def take_back(own: Transaction) -> None:
    """The published model and the alias go back to those before, if they were changed."""
    from parrot.publishing.release import rollback

    if own.get(_PUBLISHED, False):
        try:
            rollback(load_params(), None)
        except ParrotError as error:  # such as the first publication, before which nothing was shown
            console.line(f"what was published stays published: {error}")


def release_and_tell() -> "Release":
    """Release the package and show the verdict; what is published and cannot be shown is taken back."""
    with transaction():
        done = release_package()
        wait_for_server()  # which may have been away for as long as a publication takes
        create_markdown_artifact(done.verdict.as_markdown(), key="parrot-verdict")
        return done
