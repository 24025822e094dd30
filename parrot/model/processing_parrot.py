"""Text and pictures to the tensors that Parrot takes."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import make_flat_list_of_images

from .chat_format import template_of
from .chat_text import IGNORE_INDEX, as_strings, encode_texts, guard
from .image_decoding import BACKGROUND
from .image_inputs import checked_image, checked_images


class ParrotProcessor(ProcessorMixin):
    """A CLIP or SigLIP image processor and a fast tokenizer with `<image>` and its chat template's tokens.

    What people write never becomes a control token: see `chat_text`.

    Args:
        chat_template: the tokenizer's own if not given, or ChatML where it has none.
        image_seq_length: positions that one image takes, `ParrotConfig.image_seq_length`.
        pad_to_square: centre every picture on a square of the image processor's mean colour before
            it is resized (the paper's way), so that nothing of it is cropped away.
        background: the colour, by name or `#rrggbb`, on which transparent pictures are laid.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        image_seq_length: int = 577,
        pad_to_square: bool = True,
        image_token: str = "<image>",
        background: str = BACKGROUND,
        **kwargs: Any,
    ) -> None:
        self.image_seq_length = image_seq_length
        self.pad_to_square = pad_to_square
        self.background = background
        self.image_token = getattr(tokenizer, "image_token", None) or image_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        if self.image_token_id in (None, tokenizer.unk_token_id):
            raise ValueError(
                f"tokenizer: '{self.image_token}' is not one of its tokens; add it as a special token"
            )
        guard(tokenizer)
        # What is generated goes on where a prompt ends, so the prompts of a batch have to end together.
        tokenizer.padding_side = "left"
        super().__init__(image_processor, tokenizer, chat_template=chat_template or template_of(tokenizer))

    def __call__(self, images: Any = None, text: Any = None, **kwargs: Any) -> BatchFeature:
        """As every processor of transformers; a prompt that has its beginning-of-text token gets no other."""
        first = text if isinstance(text, str) else next(iter(text or [""]))
        bos = self.tokenizer.bos_token
        if bos and isinstance(first, str) and first.startswith(bos):
            kwargs = {"add_special_tokens": False} | kwargs
        return super().__call__(images=images, text=text, **kwargs)

    def apply_chat_template(self, conversation: Any, chat_template: str | None = None, **kwargs: Any) -> Any:
        """As transformers', and no text in a conversation becomes a control token; with a string as content,
        `<image>` in it stands for a picture, with parts only those of type "image" do."""
        batched = bool(conversation) and not isinstance(conversation[0], Mapping)
        conversations = conversation if batched else [conversation]
        if kwargs.get("tokenize"):
            pictures = [_pictures(messages) for messages in conversations]
            options = dict(kwargs.get("processor_kwargs") or {})
            if any(pictures) and not options.get("images"):
                kwargs["processor_kwargs"] = options | {"images": pictures if batched else pictures[0]}
        strings = as_strings(self.tokenizer, conversations, chat_template or self.chat_template)
        return super().apply_chat_template(
            strings if batched else strings[0], chat_template=chat_template, **kwargs
        )

    def prepare_inputs_layout(self, images: Any = None, text: Any = None, **kwargs: Any) -> tuple[Any, ...]:
        texts = [text] if isinstance(text, str) else text
        images = checked_images(images, texts, self.image_token, self.background)
        images, text, videos, audio = super().prepare_inputs_layout(images=images, text=text, **kwargs)
        if images is not None and self.pad_to_square:
            images = [self._padded(image) for image in make_flat_list_of_images(images)]
        return images, text, videos, audio

    def _check_special_mm_tokens(self, text: list[str], text_inputs: Any, modalities: list[str]) -> None:
        for sample, (whole, ids) in enumerate(zip(text, text_inputs["input_ids"], strict=True)):
            expected, kept = whole.count(self.image_token), list(ids).count(self.image_token_id)
            if kept != expected:
                raise ValueError(
                    f"sample {sample}: truncation would keep {kept} of its {expected} image positions; "
                    f"raise max_length or shorten the text"
                )

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:
        return self.image_token * self.image_seq_length

    def encode_conversations(
        self,
        conversations: Sequence[Sequence[dict[str, Any]]],
        images: Sequence[Sequence[Any]],
        max_length: int,
    ) -> BatchFeature:
        """A training batch of B conversations, with N images in all.

        Ids as from `apply_chat_template`; labels as from `encode_texts`.

        Args:
            conversations: messages, each `{"role": …, "content": …}`; see `CHAT_TEMPLATE`.
            images: the pictures of each conversation, in the order of their `<image>`; whatever
                `checked_image` takes.
            max_length: positions that a conversation may take, images included.

        Returns:
            `input_ids`, `attention_mask` and `labels` [B, T], padded on the right (unlike prompts, which
            are padded on the left), labels -100 outside the answers; `pixel_values` [N, 3, height, width],
            also when N is 0.

        Raises:
            ValueError: pictures and `<image>` of a conversation do not match, or it is too long.
        """
        all_ids: list[torch.Tensor] = []
        all_labels: list[torch.Tensor] = []
        pixels: list[Any] = []
        texts = encode_texts(self.tokenizer, conversations, self.chat_template)
        for index, ((ids, labels), pictures) in enumerate(zip(texts, images, strict=True)):
            is_image = ids == self.image_token_id
            if (is_image & (labels != IGNORE_INDEX)).any():
                raise ValueError(
                    f"conversation {index}: {self.image_token} in an answer; pictures belong to what is asked"
                )
            if is_image.sum() != len(pictures):
                raise ValueError(
                    f"conversation {index}: {is_image.sum()} {self.image_token} in its text, "
                    f"but {len(pictures)} images"
                )
            repeats = np.where(is_image, self.image_seq_length, 1)
            if repeats.sum() > max_length:
                raise ValueError(
                    f"conversation {index}: {repeats.sum()} positions, more than max_length = {max_length}"
                )
            pixels += [
                checked_image(picture, f"conversation {index}", self.background) for picture in pictures
            ]
            all_ids.append(torch.from_numpy(ids.repeat(repeats)))
            all_labels.append(torch.from_numpy(labels.repeat(repeats)))
        pad = partial(pad_sequence, batch_first=True)
        return BatchFeature(
            {
                "input_ids": pad(all_ids, padding_value=self.tokenizer.pad_token_id),
                "attention_mask": pad([torch.ones_like(ids) for ids in all_ids]),
                "labels": pad(all_labels, padding_value=IGNORE_INDEX),
                "pixel_values": self.encode_images(pixels),
            }
        )

    def encode_images(self, images: Sequence[Any]) -> torch.Tensor:
        """`pixel_values` [N, 3, height, width] of N pictures of any size; N may be 0.

        Args:
            images: whatever `checked_image` takes.

        Raises:
            ValueError: one cannot be decoded; names its number.
        """
        if not images:
            size = getattr(self.image_processor, "crop_size", None) or self.image_processor.size
            return torch.zeros(0, 3, size["height"], size["width"])
        images = [checked_image(image, f"image {i}", self.background) for i, image in enumerate(images)]
        if self.pad_to_square:
            images = [self._padded(image) for image in images]
        pixel_values: torch.Tensor = self.image_processor(images, return_tensors="pt")["pixel_values"]
        return pixel_values

    def _padded(self, image: Any) -> Any:
        """The picture centred on a square of the mean colour; arrays are left as they are."""
        if not isinstance(image, Image.Image) or image.width == image.height:
            return image
        side = max(image.size)
        colour = tuple(int(255 * mean) for mean in self.image_processor.image_mean)
        square = Image.new("RGB", (side, side), colour)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return square


def _pictures(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The pictures that the parts of a conversation hold or name."""
    contents = [message.get("content") or "" for message in messages]
    parts = [part for content in contents if not isinstance(content, str) for part in content]
    found = []
    for part in parts:
        if part["type"] == "image_url":
            address = part["image_url"]
            found.append(address["url"] if isinstance(address, Mapping) else address)
        elif part["type"] == "image":
            found += [part[key] for key in ("image", "url", "path", "base64") if key in part]
    return found
