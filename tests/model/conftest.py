"""A tiny model and its processor."""

from model_fixtures import build, processor, tokenizer

__all__ = ["build", "processor", "tokenizer"]
