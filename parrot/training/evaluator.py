"""What a model that is being trained makes of records that it does not see, and of questions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn
from torch.utils.data import Subset

from parrot.errors import ParrotError
from parrot.model.chat_format import end_token_id
from parrot.model.chat_text import IGNORE_INDEX, prompts_of
from parrot.training.held_out import AskedQuestion

NEW_TOKENS = 64
"""An answer is cut after so many."""


class Evaluator:
    """Puts the held-out records and the questions to a model, without a random number.

    Every rank does all of it: so the loss depends on no number of ranks, and under ZeRO-3 all of them pass
    every module equally often.
    """

    def __init__(
        self,
        dataset: Subset[Any],
        collate: Callable[[list[Any]], dict[str, Any]],
        processor: Any,
        questions: Sequence[AskedQuestion],
        batch_size: int,
    ) -> None:
        self._dataset = dataset
        self._collate = collate
        self._processor = processor
        self._questions = questions
        self._batch_size = batch_size

    def loss(self, model: nn.Module, prepared: Callable[[Any], Any]) -> float:
        """Mean negative log-likelihood (nats) of all tokens that are answered in the held-out records.

        Args:
            prepared: puts a batch where the model is.

        Raises:
            ParrotError: all of them are broken.
        """
        total, count = 0.0, 0
        for begin in range(0, len(self._dataset), self._batch_size):
            numbers = range(begin, min(begin + self._batch_size, len(self._dataset)))
            batch = self._collate([self._dataset[number] for number in numbers])
            learned = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
            inputs = prepared(batch)
            if not learned:  # nothing but broken records: their mean is no number
                continue
            total += float(model(**inputs, supervised_only=True).loss) * learned
            count += learned
        if not count:
            raise ParrotError("training.evaluation: none of the records that were held out can be read")
        return total / count

    def answers(self, model: Any, prepared: Callable[[Any], Any]) -> Iterator[tuple[AskedQuestion, str]]:
        """What the model writes, greedily."""
        tokenizer = self._processor.tokenizer
        for question in self._questions:
            chat = [
                {"role": "system", "content": question.system},
                {"role": "user", "content": question.text},
            ]
            [text] = prompts_of(self._processor, [chat])
            inputs = self._processor(text=text, images=[question.image], return_tensors="pt")
            ids = model.generate(
                **prepared(dict(inputs)),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=end_token_id(tokenizer, self._processor.chat_template),
                pad_token_id=tokenizer.pad_token_id,
            )
            written = ids[0, inputs["input_ids"].shape[1] :]
            yield question, tokenizer.decode(written, skip_special_tokens=True).strip()
