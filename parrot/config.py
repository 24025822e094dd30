"""The schema of `params.yaml`: frozen, typed sections, one per stage. `parrot.params` reads the file."""

import re
from typing import Annotated, Any, Literal, Self, get_args

from PIL import ImageColor
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from parrot.config_data import EACH as EACH
from parrot.config_data import Format as Format
from parrot.config_data import Source as Source
from parrot.config_data import Split as Split
from parrot.config_publishing import Gate as Gate
from parrot.config_publishing import Package as Package
from parrot.config_publishing import Publish as Publish
from parrot.config_training import Count as Count
from parrot.config_training import HeldOut as HeldOut
from parrot.config_training import Launch as Launch
from parrot.config_training import Rate as Rate
from parrot.config_training import RatedTraining as RatedTraining
from parrot.config_training import Section as Section
from parrot.config_training import Seed as Seed
from parrot.config_training import Share as Share
from parrot.config_training import Training as Training


def _colour(name: str) -> str:
    if len(ImageColor.getrgb(name)) != 3:
        raise ValueError("a colour that covers what is below it, such as white or #ffffff, is expected")
    return name


class Speed(Section):
    """How fast results come and not which: no stage depends on it."""

    prepare_processes: Count = 1
    """Read and check a source's partitions, and a mixture's records, beside one another."""
    cluster: str | None = None
    """Address of a Dask scheduler, such as `tcp://10.0.0.1:8786`, whose workers do it instead."""
    workers: Annotated[int, Field(ge=0)]
    """Processes beside each training that read and decode its batches ahead."""
    inference_batch_size: Count
    timeout_minutes: Rate = 1440
    """After that the flow ends a stage that trains or predicts: it hangs. Longer than any that is healthy."""
    inference_processes: Count  # share the questions, each with an accelerator of its own if there are


class Images(Section):
    """What a picture must be to be trained on: `min_pixels` the shorter side, `max_pixels` the longer."""

    max_megapixels: Rate
    min_pixels: Count
    max_pixels: Count
    near_bits: Annotated[int, Field(ge=0, le=11)] | None = None
    """Pictures whose looks (parrot/data/looks.py) differ in at most so many of 408 bits are the same to the
    checks for near duplicates and contamination; without it only those of equal bytes are."""


class Prepare(Section):
    partition_records: Count
    """Entries of a file that are one shard, fewer where 64 MiB of pictures are in them, and done at a
    stretch: a killed run goes on behind the last."""
    max_reject_share: Share


class Mixed(Section):
    """How a source's records are mixed in."""

    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How often an epoch sees each record; of a fraction so many are seen once more, drawn with the seed."""
    samples: Count | None = None
    """Take this many entries, drawn with the seed; all of them if not given."""


def _weight(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | dict):
        raise ValueError("a weight such as 1.0 is expected, or a section with `weight` and `samples`")
    return value if isinstance(value, dict) else {"weight": value}


Mixture = dict[str, Annotated[Mixed, BeforeValidator(_weight)]]
"""Source -> its weight, or a `Mixed`; in the order in which sources are drawn."""


class Mix(Section):
    too_long: Literal["drop", "cut"]
    """A record of more than `model.max_length` positions is rejected, or loses questions with their answers
    from its end until it fits; one whose first answer does not fit is rejected in any case."""
    max_reject_share: Share
    benchmarks: str
    """A folder: no picture or question of a TSV in it, or below, may be trained on."""
    max_contaminated: Annotated[int, Field(ge=0)] = 0
    """Records that may be left out because a benchmark has them; more of them stop the stage."""
    same_question: Annotated[float, Field(gt=0, le=1)] | None = 0.7
    """The share of a benchmark's question, options included, that makes a text the same question; where it is
    empty, questions are not compared."""
    align: Mixture = Field(min_length=1)
    sft: Mixture = Field(min_length=1)

    def split(self, name: Split) -> dict[str, Mixed]:
        return self.align if name == "align" else self.sft


class Validate(Section):
    min_records: Count
    max_duplicate_share: Share
    max_text_only_share: Share
    english_share: list[Share] = Field(min_length=2, max_length=2)
    min_language_share: Share
    max_near_duplicate_share: Share | None = None
    """Records that nearly repeat an earlier one, text and first picture; not looked for if not given."""
    max_near_picture_share: Share | None = None
    """Records with a picture that looks like another one that came before; needs `images.near_bits`."""
    max_other_language_share: Share | None = None
    """Of each source: texts that are in another language than they should be; not looked for if not given."""
    language_sample: Count = 5000
    """So many records of each source have their language identified."""
    max_drift: Share | None = None
    """By so much the share of no source and no language may differ from that of the last commit."""


class Align(Section):
    training: RatedTraining


def _commit(revision: Any) -> Any:
    if not (isinstance(revision, str) and re.fullmatch("[0-9a-f]{40}", revision)):
        raise ValueError("fill in the commit of the Hub's repository, 40 digits of 0-9 and a-f")
    return revision


class HubModel(Section):
    """A repository of the Hub, at a commit: else no run could be repeated."""

    repo: str
    revision: Annotated[str, BeforeValidator(_commit)]


class Backbones(Section):
    """Hub-style folders, whoever made them: `artifacts/hub/NAME`, an example's output, or one of your own."""

    vision: str
    language: str


HUB = "artifacts/hub"
"""Where what `hub` names is downloaded to."""


class Architecture(Section):
    """What every architecture needs to know."""

    vision_feature_layer: int
    max_length: Count
    image_background: Annotated[str, AfterValidator(_colour)] = "white"
    """A colour's name or `#rrggbb`: what shows through pictures that are transparent."""
    learning_rate_factor: Rate = 1.0
    """What connects the backbones learns at this much of the stages' learning rates."""


class ParrotArchitecture(Architecture):
    """Image positions in the text (arXiv 2406.02539); its experts come with stage two, `sft.moe`."""

    architecture: Literal["parrot"]
    projector: Annotated[str, Field(pattern=r"^(linear|mlp[1-9]x_gelu)$")]


class FlamingoArchitecture(Architecture):
    """Cross-attention (arXiv 2305.04790)."""

    architecture: Literal["flamingo"]
    resampler_n_latents: Count
    resampler_depth: Count
    cross_layer_interval: Count
    """Cross-attention stands in front of the first of each so many layers of the language model."""


Model = Annotated[ParrotArchitecture | FlamingoArchitecture, Field(discriminator="architecture")]


class Moe(Section):
    num_experts: Count
    intermediate_size: Count
    residual: Literal["token", "released", "none"]
    """`token`: token + weight × mixture (paper); `released`: weight × token + mixture (released code)."""
    weight: float
    top_k: Count | None = None
    """Mix only the experts with the largest weights; all of them, as the released code, if not given."""


class Lora(Section):
    rank: Count
    alpha: Count
    dropout: float
    target_modules: list[str]
    load_in_4bit: bool = False
    """QLoRA: hold the language model in four bits while its adapters learn."""
    dora: bool = False
    """DoRA (arXiv 2402.09353): a row's length learns apart from its direction; a step takes longer."""


class Sft(Section):
    learning_rate: Rate
    language_model_learning_rate: Rate
    lora: Lora | None
    """Adapters learn (at `language_model_learning_rate`) and the language model's own weights do not."""
    moe: Moe | None  # Parrot's experts
    training: Training


class Evaluate(Section):
    name: str
    """What the benchmark is called wherever its numbers are published."""
    dataset: str | None = None
    """What it is on the Hub, for the card."""
    benchmark: str
    files: dict[str, str]
    circular: bool
    blind: Literal["removed", "swapped"]
    free: bool
    """Whether questions are put without their options as well."""


class Params(Section):
    """All of `params.yaml`."""

    languages: list[str] = Field(min_length=1)
    seed: Seed
    threads: Count
    speed: Speed
    hub: dict[str, HubModel]
    """Downloaded to `artifacts/hub/NAME`; empty where all backbones are folders already."""
    backbones: Backbones
    sources: dict[str, Source] = Field(min_length=1)
    images: Images
    prepare: Prepare
    mix: Mix
    validate_: Validate = Field(alias="validate")
    model: Model
    align: Align
    sft: Sft
    evaluate: Evaluate
    package: Package
    gate: Gate
    publish: Publish

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if missing := sorted(set(self.languages) - set(self.evaluate.files)):
            raise ValueError(f"evaluate.files: no benchmark file for {', '.join(missing)}")
        for name, source in self.sources.items():
            if source.language not in (EACH, *self.languages):
                raise ValueError(f"sources.{name}.language: '{source.language}' is not one of `languages`")
        for split in get_args(Split):
            there = {name for name, source in self.sources.items() if source.split == split}
            for name in sorted(there ^ set(self.mix.split(split))):
                what = "has no weight in" if name in there else "is no source of its split, but in"
                raise ValueError(f"sources.{name}: {what} mix.{split}; correct one of the two")
        used = {self.backbones.vision, self.backbones.language}
        downloaded = {f"{HUB}/{name}" for name in self.hub}
        for folder in sorted(downloaded ^ {folder for folder in used if folder.startswith(f"{HUB}/")}):
            what = "is a backbone and not in `hub`" if folder in used else "is downloaded and no backbone"
            raise ValueError(f"hub: {folder} {what}; correct `hub` or `backbones`")
        if self.validate_.max_near_picture_share is not None and self.images.near_bits is None:
            raise ValueError("validate.max_near_picture_share: needs images.near_bits; give both or neither")
        if self.sft.moe and self.model.architecture != "parrot":
            raise ValueError(f"sft.moe: experts are Parrot's; leave it empty for {self.model.architecture}")
        return self
