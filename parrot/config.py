"""The schema of `params.yaml`: frozen, typed sections, one per stage. `parrot.params` reads the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from PIL import ImageColor
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]


def _colour(name: str) -> str:
    if len(ImageColor.getrgb(name)) != 3:
        raise ValueError("a colour that covers what is below it, such as white or #ffffff, is expected")
    return name


class Section(BaseModel):
    """Frozen, strict and closed: a typing mistake in `params.yaml` must not become a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class World(Section):
    """The embedded picture world: how much of it `parrot data` writes."""

    seed: Seed
    backbone_pictures: Count
    reading_documents: Count
    align_captions: Count
    align_questions: Count
    sft_pictures: Count
    text_instructions: Count
    questions_per_category: Count


EACH = "{language}"


class Source(Section):
    """One upstream file and how to read it; with `{language}` in its path, one for each language."""

    name: str
    format: Literal["llava", "alpaca", "mmmb"]
    path: str
    language: str = EACH
    images: str | None = None
    """A folder, .zip or .tar (also .tar.gz) that holds the images, or a folder within an archive, as in
    `train2017.zip/train2017`; unused by `alpaca` and `mmmb`."""
    samples: Count | None = None
    """Take this many records, drawn with the seed; all of them if not given."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How often an epoch sees each record; of a fraction so many are seen once more, drawn with the seed."""
    ignore: list[str] = []
    """Fields of an entry that may be lost: they are neither read nor a reason to refuse it."""


class Prepare(Section):
    shard_megabytes: Count
    max_reject_share: Share
    max_image_megapixels: Rate
    too_long: Literal["drop", "cut"]
    """A record of more than `model.max_length` positions is rejected, or loses questions with their answers
    from its end until it fits; one whose first answer does not fit is rejected in any case."""
    benchmarks: list[str]
    align: list[Source] = Field(min_length=1)
    sft: list[Source] = Field(min_length=1)

    def in_languages(self, languages: Sequence[str]) -> Self:
        """With a source for each language in place of one whose path holds `{language}`."""
        return self.model_copy(
            update={
                split: [one for source in sources for one in _in_languages(source, languages)]
                for split, sources in (("align", self.align), ("sft", self.sft))
            }
        )


def _in_languages(source: Source, languages: Sequence[str]) -> list[Source]:
    if EACH not in source.path:
        return [source]
    texts = {key: value for key, value in source if isinstance(value, str)}
    return [
        source.model_copy(update={key: text.replace(EACH, language) for key, text in texts.items()})
        for language in languages
    ]


class Validate(Section):
    min_records: Count
    min_image_pixels: Count
    max_image_pixels: Count
    max_duplicate_share: Share
    max_text_only_share: Share
    english_share: list[Share] = Field(min_length=2, max_length=2)
    min_language_share: Share


class Training(Section):
    """What every `Trainer` run of the project needs to know; names as in `TrainingArguments`."""

    max_steps: Annotated[int, Field(ge=0)]
    """0 leaves the stage out: its output holds the weights it started from."""
    batch_size: Count
    warmup_steps: Share
    """As a share of all steps."""
    weight_decay: Annotated[float, Field(ge=0)]
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon`: for the matrices of hidden layers; AdamW for the rest. Faster from scratch."""
    logging_steps: Count
    save_steps: Count
    """A killed run resumes from the last of these."""
    gradient_accumulation_steps: Count = 1
    bf16: bool = False
    gradient_checkpointing: bool = False
    deepspeed: str | None = None
    """A DeepSpeed JSON, such as parrot/training/deepspeed/zero2.json."""


class RatedTraining(Training):
    learning_rate: Rate


class Backbone(Section):
    pretrained: str | None = None
    revision: str | None = None

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.pretrained and not Path(self.pretrained).is_dir() and not self.revision:
            raise ValueError(f"revision: pin '{self.pretrained}' to a commit, else no run can be repeated")
        return self


class Vision(Backbone):
    image_size: Count
    patch_size: Count
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    training: RatedTraining


class Language(Backbone):
    grid: Count
    """Patches on one side of the pictures that the language model learns to read."""
    embedding_learning_rate: Rate
    """Of the words; they are rarer than the rest and need larger steps."""
    rope_theta: Rate
    vocab_size: Annotated[int, Field(ge=300)]
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    training: RatedTraining


class Backbones(Section):
    vision: Vision
    language: Language


class Flamingo(Section):
    resampler_n_latents: Count
    resampler_depth: Count
    cross_layer_interval: Count
    """Cross-attention stands in front of the first of each so many layers of the language model."""
    learning_rate_factor: Rate
    """Of the stages' learning rates; what joins the backbones here is deeper than a projector."""


class Model(Section):
    architecture: Literal["parrot", "flamingo"]
    """`flamingo`: cross-attention instead of image positions; `projector` and `sft.moe` are then unused."""
    projector: Annotated[str, Field(pattern=r"^(linear|mlp[1-9]x_gelu)$")]
    flamingo: Flamingo
    vision_feature_layer: int
    max_length: Count
    image_background: Annotated[str, AfterValidator(_colour)] = "white"
    """A colour's name or `#rrggbb`: what shows through pictures that are transparent."""

    @property
    def learning_rate_factor(self) -> float:
        """What joins the backbones learns at this much of the stages' learning rates."""
        return self.flamingo.learning_rate_factor if self.architecture == "flamingo" else 1.0


class Moe(Section):
    enabled: bool
    num_experts: Count
    intermediate_size: Count
    residual: Literal["token", "released", "none"]
    """`token`: token + weight × mixture (paper); `released`: weight × token + mixture (released code)."""
    weight: float
    top_k: Count | None = None
    """Mix only the experts with the largest weights; all of them, as the released code, if not given."""


class Align(Section):
    training: RatedTraining


class Lora(Section):
    rank: Count
    alpha: Count
    dropout: float
    target_modules: list[str]
    load_in_4bit: bool = False
    """QLoRA: hold the language model in four bits while its adapters learn."""


class Sft(Section):
    learning_rate: Rate
    language_model_learning_rate: Rate
    lora: Lora | None
    """Adapters learn (at `language_model_learning_rate`) and the language model's own weights do not."""
    moe: Moe
    training: Training


class Evaluate(Section):
    name: str
    """What the benchmark is called wherever its numbers are published."""
    benchmark: str
    files: dict[str, str]
    circular: bool
    blind: Literal["removed", "swapped"]
    batch_size: Count
    processes: Count


class Package(Section):
    name: str
    repo_id: str | None
    """On the Hub; the card's examples load the model from there, or from the package's folder."""
    license: str
    license_file: str
    """Its text."""
    limits: str
    """What the card says of what the model cannot do, beside what is known from the data."""


class Params(Section):
    """All of `params.yaml`."""

    seed: Seed
    threads: Count
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes beside each training that read and decode its batches ahead. They change no number."""
    languages: list[str] = Field(min_length=1)
    world: World
    prepare: Prepare
    validate_: Validate = Field(alias="validate")
    backbones: Backbones
    model: Model
    align: Align
    sft: Sft
    evaluate: Evaluate
    package: Package

    @model_validator(mode="after")
    def _sources_and_languages_known(self) -> Self:
        if missing := set(self.languages) - set(self.evaluate.files):
            raise ValueError(f"evaluate.files: no benchmark file for {', '.join(sorted(missing))}")
        prepare = self.prepare.in_languages(self.languages)
        sources = [*prepare.align, *prepare.sft]
        for source in sources:
            if source.language not in self.languages:
                raise ValueError(f"prepare: source {source.name} has language '{source.language}', "
                                 f"which is not in `languages`")  # fmt: skip
        names = [source.name for source in sources]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"source names must be unique, these are not: {', '.join(sorted(twice))}")
        return self
