"""The sections of `params.yaml` that say how something is trained, and what all sections are made of."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Frozen, strict and closed: a typing mistake in `params.yaml` must not become a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Launch(Section):
    """How many processes (ranks) train together, and what starts them; docs/training.md."""

    processes: Count = 1
    """On each node: one for each of its accelerators."""
    nodes: Count = 1
    kind: Literal["torchrun", "deepspeed", "slurm"] = "torchrun"
    """`torchrun`: the same command is started on each node; `deepspeed`: over ssh on the nodes of `hostfile`;
    `slurm`: by srun, within an allocation."""
    rendezvous: str | None = None
    """HOST:PORT of the first node; for torchrun on several."""
    hostfile: str | None = None
    """A file of lines such as `node1 slots=8`; for deepspeed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for kind, name in (("torchrun", "rendezvous"), ("deepspeed", "hostfile")):
            given = getattr(self, name) is not None
            wanted = self.kind == kind and (self.nodes > 1 or kind == "deepspeed")
            if given != wanted:
                raise ValueError(
                    f"{name}: {'missing' if wanted else 'without use'} for {self.kind} on {self.nodes} nodes"
                )
        return self

    @property
    def ranks(self) -> int:
        return self.processes * self.nodes


class HeldOut(Section):
    """A model looked at while it is trained; docs/training.md."""

    every_steps: Count
    records: Count
    """So many of the mixture, drawn with the seed, are not trained on: the loss on them is looked at."""
    patience: Count | None = None
    """So many evaluations in which that loss gets no smaller end the training; without it none do."""
    questions: str | None = None
    """A folder with the files of `evaluate.files`, such as data/mmmb/dev: the first question of each language
    is answered every time."""


class Training(Section):
    """What every `Trainer` run needs to know; names as in `TrainingArguments`, `warmup_steps` a share."""

    max_steps: Annotated[int, Field(ge=0)]
    """0 leaves the stage out: its output holds the weights it started from."""
    batch_size: Count
    """Of each rank at a time; a step sees as many samples times `gradient_accumulation_steps` times ranks."""
    warmup_steps: Share
    weight_decay: Annotated[float, Field(ge=0)]
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon`: for the matrices of hidden layers; AdamW for the rest. Faster from scratch."""
    logging_steps: Count
    save_steps: Count
    """A killed run resumes from the last of these."""
    gradient_accumulation_steps: Count = 1
    packing: bool = False
    """Short samples behind one another in a row instead of padded; loss and gradients stay theirs."""
    bf16: bool = False
    gradient_checkpointing: bool = False
    deepspeed: str | None = None
    """A DeepSpeed JSON, such as parrot/training/deepspeed/zero2.json."""
    launch: Launch = Launch()
    use_cpu: bool = False
    """Also where there is a GPU: numbers of a small model are then those of other machines."""
    evaluation: HeldOut | None = None

    @property
    def samples_a_step(self) -> int:
        return self.batch_size * self.gradient_accumulation_steps * self.launch.ranks

    @model_validator(mode="after")
    def _optimizer_can_be_sharded(self) -> Self:
        if self.deepspeed and self.optimizer != "adamw":
            raise ValueError(
                f"optimizer: {self.optimizer} needs whole matrices, and DeepSpeed cuts them into pieces; "
                f"with `deepspeed` take `optimizer: adamw`"
            )
        return self

    @model_validator(mode="after")
    def _device_is_seen(self) -> Self:
        if self.deepspeed and self.use_cpu:
            raise ValueError("use_cpu: DeepSpeed takes the GPU that it finds; leave one of them out")
        return self


class RatedTraining(Training):
    learning_rate: Rate
