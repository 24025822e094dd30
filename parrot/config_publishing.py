"""The sections of `params.yaml` that say what a published model is called, and when one is published."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from parrot.config_training import Section, Share


class Package(Section):
    """The card says `limits` beside what is known from the data; `license_file` holds the license's text."""

    name: str
    repo_id: str | None
    """On the Hub; the card's examples load the model from there, or from the package's folder."""
    license: str
    license_name: str | None = None
    """Of a license that the Hub has no identifier for: `license: other`."""
    license_file: str
    limits: str

    @model_validator(mode="after")
    def _license_has_a_name(self) -> Self:
        if (self.license == "other") != (self.license_name is not None):
            raise ValueError("license_name: goes with `license: other`, and that with it")
        return self


class Gate(Section):
    """When a new model takes the published one's place (docs/gate.md). No stage depends on it."""

    run: str
    """Which answers decide, such as `seeing`."""
    margin: Share
    """A language is no worse if the interval of its difference, corrected by Holm, stays above minus this:
    for what a benchmark can tell, see `python -m benchmarks.gate`."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    """How often one of two equal models may be found better or worse; half as often it is found better."""


class Publish(Section):
    """Where a promoted model goes: to `package.repo_id` on the Hub, or into a folder if none is given."""

    folder: str
    private: bool
    """What nobody else may see goes to no repository that others see."""
    gated: Literal["auto", "manual"] | None
    """Who wants the model asks for it on its page, and gets it at once or when its owner agrees."""
    pull_request: bool
    """A person takes each version over, on the Hub."""
    replaces: str | None
    """Another repository, whose card then points to this one as its new version."""
