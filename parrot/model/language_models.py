"""Which language models can be part of a model here."""

from transformers import PreTrainedModel

# Fields of language models (Gemma 2, Cohere, Granite) that do more to the logits than a linear head.
SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def check_language_model(language_model: PreTrainedModel) -> None:
    """Raise a `ValueError` that says why a language model cannot be part of a model here."""
    head = language_model.get_output_embeddings()
    name = type(language_model).__name__
    if head is None:
        raise ValueError(
            f"language_model: {name} has no language modeling head; load it as a causal language model"
        )
    if getattr(head, "bias", None) is not None:
        raise ValueError(f"language_model: the head of {name} has a bias, which is not supported")
    for field in SCALED_LOGITS:
        if getattr(language_model.config, field, None) not in (None, 1):
            raise ValueError(
                f"language_model: {name} changes its logits after the head ({field}): not supported"
            )
