"""A small language model that reads a grid of words, told what to look at and what to know on the way.

A letter is four steps away from a question: what does it ask about, where in the grid is that, which option
says what stands there, which letter has that option. From letters alone a model of this size does not learn
it in minutes (docs/results.md). So each step is taught by itself: attention heads are told where to look
(guided attention, arXiv 1607.01628), and the layers that read are asked for what the layer above them needs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss
from transformers import AttentionInterface, Qwen2Config, Qwen2ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from parrot.model.chat_text import IGNORE_INDEX

READING_LAYERS = 3
"""Layers that read. They learn it first; then one is put above them, which finds options."""
SUBJECT_LAYER = 1
"""Above one that sees which of two nouns comes first: in the first layer they look alike."""
SUBJECT_HEADS, READING_HEADS, OPTION_HEADS = (0,), (1, 2, 3), (0,)
"""Of that layer, of the last reading layer, and of the layer that finds options. One head alone is too
narrow for all the words that a place of the grid is the sum of."""
OPTIONS_WEIGHT = 0.3
ATTENTION = "sdpa_that_can_be_guided"


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """As `sdpa_attention_forward`, causal; queries and keys stay with the layer, for its heads to be guided.

    Padding is on the right, where nothing that counts can attend to it: no mask is needed.
    """
    module.attended = query, key  # type: ignore[assignment]
    attended, _ = sdpa_attention_forward(module, query, key, value, None, is_causal=True, **kwargs)
    return attended, None


AttentionInterface.register(ATTENTION, _attention)


class GridReader(Qwen2ForCausalLM):
    """A causal language model whose image positions are sums of word embeddings."""

    image_token_id: int

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.set_attn_implementation(ATTENTION)
        self.reading_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        """Before the head, where what is known below the layer that finds options is asked for."""

    @property
    def finds_options(self) -> bool:
        return int(self.config.num_hidden_layers) > READING_LAYERS

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        grid_ids: Tensor,
        labels: Tensor,
        answer_places: Tensor,
        answer_grounds: Tensor,
        named_places: Tensor,
        named_subjects: Tensor,
        letter_places: Tensor,
        letter_options: Tensor,
        letter_words: Tensor,
        option_places: Tensor,
        option_words: Tensor,
        option_letters: Tensor,
    ) -> dict[str, Tensor]:
        """Loss, and logits of the answers only.

        `input_ids`, `labels` [batch, text]; `grid_ids` [batch, positions, words]; both kinds of ids padded
        on the right, with the pad token. Places are pairs of row and position in the text, at which the next
        token is predicted. `answer_places` [answers, 2] predict a token of an answer that `answer_grounds`
        [answers, text] hold; `named_places` [subjects, 2] too, and `named_subjects` [subjects, text] is
        where the question names what it asks about. `letter_places` [letters, 2] predict the letter of the
        option that ends at `letter_options` [letters, text] and whose words are `letter_words`
        [letters, words], filled with -100. Options end at `option_places` [options, 2], have the letters
        `option_letters` [options] and the words `option_words` [options, words].
        `logits` [answer tokens of the batch, vocabulary].

        Without the layer that finds options no letter is learned, but in its place the words of the option.
        """
        outputs = self.model(
            inputs_embeds=self.embedded(input_ids, grid_ids),
            use_cache=False,
            output_hidden_states=True,
        )
        hidden = outputs.last_hidden_state
        asked, ends = letter_places.unbind(1), option_places.unbind(1)
        targets = labels[:, 1:]
        if self.finds_options:
            known = self.reading_norm(outputs.hidden_states[READING_LAYERS])
        else:
            known, targets = hidden, targets.index_put(asked, torch.tensor(IGNORE_INDEX))
        supervised = targets != IGNORE_INDEX
        logits = self.lm_head(hidden[:, :-1][supervised])
        loss = cross_entropy(logits, targets[supervised])
        guides = [
            (SUBJECT_LAYER, SUBJECT_HEADS, named_places, named_subjects),
            (READING_LAYERS - 1, READING_HEADS, answer_places, answer_grounds),
        ]
        if self.finds_options:
            guides.append((READING_LAYERS, OPTION_HEADS, letter_places, letter_options))
        for guide in guides:
            loss = loss + self._attention_loss(*guide)
        if len(letter_places):
            loss = loss + _words_loss(self.lm_head(known[asked]).log_softmax(-1), letter_words)
            at_ends = self.lm_head(known[ends]).log_softmax(-1)
            loss = loss + OPTIONS_WEIGHT * (
                nll_loss(at_ends, option_letters) + _words_loss(at_ends, option_words)
            )
        if len(letter_places) and self.finds_options:
            # Once more: they are few among the tokens of answers.
            loss = loss + cross_entropy(self.lm_head(hidden[asked]), targets[asked])
        return {"loss": loss, "logits": logits}

    def embedded(self, input_ids: Tensor, grid_ids: Tensor) -> Tensor:
        """[batch, text, width]: of a token its embedding, of a grid's position the sum of its words'."""
        embed = self.get_input_embeddings()
        words = embed(grid_ids) * (grid_ids != self.config.pad_token_id).unsqueeze(-1)
        is_grid = (input_ids == self.image_token_id).unsqueeze(-1)
        embedded: Tensor = embed(input_ids).masked_scatter(is_grid, words.sum(dim=2))
        return embedded

    def taller(self) -> "GridReader":
        """The same model with a layer on top, which adds nothing yet."""
        layers = self.config.num_hidden_layers + 1
        model = GridReader(
            Qwen2Config(**self.config.to_dict() | {"num_hidden_layers": layers, "layer_types": None})
        )
        model.load_state_dict(self.state_dict(), strict=False)
        model.image_token_id = self.image_token_id
        model.reading_norm.load_state_dict(self.model.norm.state_dict())
        added = model.model.layers[-1]
        for adds in (added.self_attn.o_proj, added.mlp.down_proj):
            nn.init.zeros_(adds.weight)
        return model

    def as_language_model(self) -> Qwen2ForCausalLM:
        """The same weights without the grid."""
        # With a config of its own: this one names the attention that can be guided.
        language_model = Qwen2ForCausalLM(Qwen2Config(**self.config.to_dict()))
        weights = self.state_dict()
        del weights["reading_norm.weight"]
        language_model.load_state_dict(weights)
        return language_model

    def _attention_loss(self, layer: int, heads: Sequence[int], places: Tensor, held: Tensor) -> Tensor:
        """How little of what some heads attend to at `places` [n, 2] is `held` [n, text]: -log of its share.

        The mean over places, summed over heads, whose weights are computed here again, for these places only.
        """
        attention = self.model.layers[layer].self_attn
        queries, keys = attention.attended  # [batch, heads (key-value heads), text, width of a head]
        rows, columns = places.unbind(1)
        groups = attention.num_key_value_groups
        asking, asked = queries[:, heads][rows, :, columns], keys[:, [head // groups for head in heads]][rows]
        scores = torch.einsum("nhd,nhtd->nht", asking, asked) * attention.scaling
        later = torch.arange(held.shape[1]) > columns.unsqueeze(1)
        scores = scores.masked_fill(later.unsqueeze(1), float("-inf"))
        shares = scores.log_softmax(-1).masked_fill(~held.unsqueeze(1), float("-inf")).logsumexp(-1)
        loss: Tensor = -shares.sum() / max(1, len(places))
        return loss


def _words_loss(log_likelihood: Tensor, words: Tensor) -> Tensor:
    """Minus the mean `log_likelihood` [n, vocabulary] of the `words` [n, words], in which -100 is no word;
    each row counts alike."""
    given = words != IGNORE_INDEX
    likely = log_likelihood.gather(1, words.clamp(min=0)) * given
    loss: Tensor = -(likely.sum(1) / given.sum(1)).mean()
    return loss
