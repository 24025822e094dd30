"""Text and pictures to the tensors that Parrot takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import make_flat_list_of_images
from transformers.utils.chat_template_utils import render_jinja_template

from .image_decoding import BACKGROUND
from .image_inputs import checked_image, checked_images

IGNORE_INDEX = -100

# ChatML: turns joined by a newline, none after the last. What is learned (`generation`) is the answer,
# its <|im_end|> and, in all but the last turn, the newline after it. Content is a string with an <image>
# where a picture stands, or the list of parts that transformers uses; there a picture directly before
# a word gets a line of its own, as in the training data.
CHAT_TEMPLATE = """\
{%- macro render(content) -%}
{%- if content is string -%}{{- content -}}
{%- else -%}
{%- for part in content -%}
{%- if part.type == 'text' -%}{{- part.text -}}
{%- else -%}
{{- '<image>' -}}
{%- set next = loop.nextitem.text if loop.nextitem is defined and loop.nextitem.type == 'text' else ' ' -%}
{%- if next and next[0] not in ' \\n' -%}{{- '\\n' -}}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- if messages and messages[0].role != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}
{{- render(message.content) -}}{{- '<|im_end|>' -}}{%- if not loop.last -%}{{- '\\n' -}}{%- endif -%}
{%- endgeneration -%}
{%- else -%}
{{- render(message.content) -}}{{- '<|im_end|>' -}}{%- if not loop.last -%}{{- '\\n' -}}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n<|im_start|>assistant\\n' -}}{%- endif -%}
"""


class ParrotProcessor(ProcessorMixin):
    """A CLIP or SigLIP image processor and a fast tokenizer that has the tokens of ChatML and `<image>`.

    Args:
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
        # What is generated goes on where a prompt ends, so the prompts of a batch have to end together.
        tokenizer.padding_side = "left"
        super().__init__(image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE)

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
        rows, pixels = [], []
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
            rows.append((ids.repeat(repeats), labels.repeat(repeats)))
        shape = (len(rows), max(len(ids) for ids, _ in rows))
        input_ids = np.full(shape, self.tokenizer.pad_token_id)
        attention_mask = np.zeros(shape, dtype=np.int64)
        padded_labels = np.full(shape, IGNORE_INDEX)
        for row, (ids, labels) in enumerate(rows):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
            padded_labels[row, : len(ids)] = labels
        return BatchFeature(
            {
                "input_ids": torch.from_numpy(input_ids),
                "attention_mask": torch.from_numpy(attention_mask),
                "labels": torch.from_numpy(padded_labels),
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


def encode_texts(
    tokenizer: Any, conversations: Sequence[Sequence[dict[str, Any]]], chat_template: str = CHAT_TEMPLATE
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and labels [T] of each conversation, labels -100 outside the answers; an image is one `<image>`.

    A token that holds the end of a role header as well as the beginning of an answer (one that starts
    with a newline) is not learned: after a generation prompt the model is never asked for it.

    Args:
        tokenizer: a fast tokenizer.
        conversations: messages, each `{"role": …, "content": …}`; see `CHAT_TEMPLATE`.
    """
    texts, answers = render_jinja_template(
        conversations=conversations, chat_template=chat_template, return_assistant_tokens_mask=True
    )
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # an earlier call of the tokenizer may have left either behind
    backend.no_padding()
    encodings = backend.encode_batch(texts, add_special_tokens=False)
    rows = []
    for encoding, spans in zip(encodings, answers, strict=True):
        ids = np.asarray(encoding.ids)
        starts = np.asarray([start for start, _ in encoding.offsets])
        # The spans' bounds are in order: after an odd number of them a token is within a span.
        is_answer = np.searchsorted(np.asarray(spans).reshape(-1), starts, side="right") % 2 == 1
        rows.append((ids, np.where(is_answer, ids, IGNORE_INDEX)))
    return rows


__all__ = ["ParrotProcessor", "encode_texts"]
