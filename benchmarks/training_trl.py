"""TRL's `SFTTrainer` on transformers' LLaVA of the same backbones, for `benchmarks/training.py`."""

from typing import Any

import datasets
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks import training_records as made
from benchmarks.training_ways import RATE, WARM_UP, Clock, Work
from parrot.model.chat_format import CHAT_TEMPLATE


def trl(work: Work, *, alike: bool) -> dict[str, float]:
    tower, language_model = made.make_backbones()
    tokenizer = made.make_tokenizer()
    config = LlavaConfig(
        vision_config=tower.config, text_config=language_model.config,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2, vision_feature_select_strategy="full", image_seq_length=made.IMAGE_POSITIONS,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower, model.model.language_model = tower, language_model.model
    model.lm_head = language_model.lm_head
    if alike:
        tower.requires_grad_(False)
    processor = LlavaProcessor(
        made.make_image_processor(), tokenizer, patch_size=14, vision_feature_select_strategy="full",
        num_additional_image_tokens=1, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    rows = [
        {
            "messages": [{**m, "content": m["content"].replace("<image>\n", "")} for m in row["messages"]],
            "images": [{"bytes": image, "path": None} for image in row["images"]],
        }
        for row in (work.records[number] for number in range(len(work.records)))
    ]
    columns = {"messages": [{"role": datasets.Value("string"), "content": datasets.Value("string")}]}
    features = datasets.Features({**columns, "images": datasets.List(datasets.Image())})
    dataset = datasets.Dataset.from_list(rows, features=features)
    clock = Clock(model)

    class Ends(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.step_ends()

    for steps, batch_size in ((1, WARM_UP), (work.steps, work.batch_size)):
        clock.restart()
        settings = {"gradient_checkpointing": False} if alike else {}
        arguments = SFTConfig(
            output_dir=str(work.place), max_steps=steps, per_device_train_batch_size=batch_size,
            learning_rate=RATE, max_length=made.MAX_LENGTH, assistant_only_loss=True, bf16=False, seed=1,
            use_cpu=True, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
            **settings,
        )  # fmt: skip
        trainer = SFTTrainer(model, arguments, train_dataset=dataset, processing_class=processor)
        trainer.add_callback(Ends())
        trainer.train()
    return clock.measured()
