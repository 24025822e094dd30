"""A conversation with a trained model about any number of pictures."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, TextStreamer

from parrot.errors import ParrotError
from parrot.loading import load_model, load_processor
from parrot.model.chat_text import IMAGE, without_images
from parrot.model.image_decoding import BACKGROUND, decode_image


@dataclass
class Session:
    """The turns so far, and the model that answers the next.

    Attributes:
        stop: set it from elsewhere to end the answer that is being written; what there is, is kept.
    """

    model: Any
    processor: Any
    max_new_tokens: int
    messages: list[dict[str, str]] = field(default_factory=list)
    pictures: list[Any] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def answer(self, prompt: str, images: Sequence[Path], show: Callable[[str], None]) -> str:
        """The model's answer to `prompt` and new `images`, also handed to `show` piece by piece.

        Raises:
            ParrotError: an empty prompt, a file that is no picture, or more than the model can take;
                the conversation is as it was before.
        """
        if not prompt.strip():
            raise ParrotError("an empty prompt: there is nothing to answer")
        pictures = self.pictures + [read_picture(image, self.processor.background) for image in images]
        asked = {"role": "user", "content": f"{IMAGE}\n" * len(images) + without_images(prompt)}
        inputs = self._inputs([*self.messages, asked], pictures)
        self.stop.clear()
        generated = self.model.generate(
            **inputs,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            streamer=_Pieces(self.processor.tokenizer, show),
            stopping_criteria=[_Stopped(self.stop)],
        )
        new = generated[0, inputs["input_ids"].shape[1] :]
        answer = str(self.processor.tokenizer.decode(new, skip_special_tokens=True)).strip()
        self.messages += [asked, {"role": "assistant", "content": without_images(answer)}]
        self.pictures = pictures
        return answer

    def forget(self) -> None:
        """Begin again, without turns and pictures."""
        self.messages, self.pictures = [], []

    def _inputs(self, messages: list[dict[str, str]], pictures: list[Any]) -> Any:
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = self.processor(images=pictures or None, text=[text], return_tensors="pt")
        room = self.model.config.text_config.max_position_embeddings - self.max_new_tokens
        if (length := inputs["input_ids"].shape[1]) > room:
            raise ParrotError(
                f"the conversation takes {length} positions, but the model has {room} besides the answer's "
                f"{self.max_new_tokens}; start a new one"
            )
        return inputs.to(self.model.device)


def open_session(folder: Path, max_new_tokens: int) -> Session:
    """A session with the model in `folder`, on a GPU if there is one.

    Raises:
        ParrotError: there is no model, or it does not load.
    """
    if not (folder / "config.json").is_file():
        raise ParrotError(f"{folder}: no model here; `make demo` makes artifacts/package")
    model = load_model(folder)
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    return Session(model, load_processor(folder), max_new_tokens)


def read_picture(image: Path, background: str = BACKGROUND) -> Any:
    """The picture, upright and in RGB.

    Raises:
        ParrotError: naming the file.
    """
    try:
        return decode_image(image.read_bytes(), background)
    except OSError as error:
        raise ParrotError(f"{image}: {error.strerror}") from None
    except ValueError as error:
        raise ParrotError(f"{image}: no picture that can be read: {error}") from None


class _Pieces(TextStreamer):
    """Hands on the text of the answer as soon as whole words of it are there."""

    def __init__(self, tokenizer: Any, show: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._show = show

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self._show(text)


class _Stopped(StoppingCriteria):
    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        return torch.full((len(input_ids),), self._stop.is_set(), device=input_ids.device)
