"""A training step on `meta`: the model's own code, with numbers that have a type and a shape and no memory.

So what a step holds and computes is counted in seconds, also for a model that fits nowhere.
Whole numbers and truth values (ids, labels, masks) are real, because shapes depend on them.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from parrot.model.chat_text import IGNORE_INDEX
from parrot.model.registered import VisionLanguageForConditionalGeneration
from parrot.training.live_bytes import LiveBytes
from parrot.training.packing import pack

Batch = dict[str, Tensor]
_PRODUCTS = (F.linear, F.conv2d, torch.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__)
"""What autocast computes in bfloat16."""


def made_up_batch(
    model: VisionLanguageForConditionalGeneration, samples: int, positions: int, images: int
) -> Batch:
    """Samples of so many positions with so many images each; the rest is text that is learned."""
    config = model.config
    pictured = images * config.image_seq_length
    input_ids = torch.zeros(samples, positions, dtype=torch.long)
    input_ids[:, 1 : 1 + pictured] = config.image_token_id
    labels = torch.full_like(input_ids, IGNORE_INDEX)
    labels[:, 1 + pictured :] = 0
    mask = torch.ones_like(input_ids)
    return with_padding({"input_ids": input_ids, "labels": labels, "attention_mask": mask})


def with_padding(batch: Batch) -> Batch:
    """A batch of several samples is padded, as nearly all are: the last position of the last one. Without
    padding attention is given no mask, and repeats no keys and values for grouped queries."""
    if len(batch["input_ids"]) > 1:
        batch["attention_mask"][-1, -1], batch["labels"][-1, -1] = 0, IGNORE_INDEX
    return batch


def in_one_row(batch: Batch) -> Batch:
    """The samples of a batch as packing puts them; pixels are made up."""
    packed = pack({**batch, "pixel_values": torch.empty(0)})
    del packed["pixel_values"]
    return packed


def bytes_of_step(
    model: VisionLanguageForConditionalGeneration,
    batch: Batch,
    *,
    checkpointing: bool,
    autocast: bool,
    sharers: int,
    passes: int,
    in_four_bits: Collection[Tensor] = (),
) -> Counter[str]:
    """What forward and backward hold beside weights and optimizer when they hold most, by part.

    Args:
        batch: as the collator makes it; pixels are made up.
        checkpointing: layers keep what they are given and compute the rest again.
        autocast: matrices are multiplied in bfloat16, whatever the weights are.
        sharers: how many ranks share the gradients; 0: they have a place of their own, as with ZeRO-3.
        passes: with accumulation the second pass finds the gradients of the first.
        in_four_bits: weights that are kept as they are for the way back, not as autocast's copies.
    """
    vocabulary = model.config.text_config.vocab_size
    live = _Sizes(lambda made: "logits" if made.shape[-1:] == (vocabulary,) else "activations")

    shares: dict[Tensor, Tensor] = {}

    def arrived(parameter: Tensor) -> None:
        assert parameter.grad is not None
        if sharers == 1:
            live.count(parameter.grad, "gradients")
            return
        if sharers and parameter not in shares:
            shares[parameter] = parameter.grad.new_empty(-(-parameter.numel() // sharers))
            live.count(shares[parameter], "gradients")
        parameter.grad = None

    for known in (*model.parameters(), *model.buffers()):
        live.count(known, "weights")
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [parameter.register_post_accumulate_grad_hook(arrived) for parameter in learned]
    copies = {weight: weight.detach().to(torch.bfloat16) for weight in in_four_bits if autocast}
    for copy in copies.values():
        live.count(copy, "weights")
    ways = _Ways(live, copies, autocast=autocast)
    model.train()
    if checkpointing:
        # torch leaves function modes before it goes backward: what is computed again has to enter one.
        contexts = lambda: (contextlib.nullcontext(), ways.again())  # noqa: E731
        model.activation_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})
    with live, contextlib.ExitStack() as stack:
        stack.callback(model.activation_checkpointing_disable)
        for _ in range(passes):
            with ways:
                loss = _forward(model, batch)
            ways.forget()
            torch.autograd.backward(loss)
            del loss
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    del live.peak["weights"]
    return live.peak


def operations(model: VisionLanguageForConditionalGeneration, batch: Batch) -> int:
    """Floating-point operations of the matrix products of forward and backward, attention whole, each once.

    Frozen weights get no gradient, and what they do not pass one through costs a forward pass alone.
    """
    model.train()
    with FlopCounterMode(display=False) as counter, _Sizes(lambda made: ""), _RealNumbers():
        torch.autograd.backward(_forward(model, batch))
    model.zero_grad()
    return int(counter.get_total_flops())


def _forward(model: VisionLanguageForConditionalGeneration, batch: Batch) -> Tensor:
    tower, length = model.config.vision_config, model.config.image_seq_length
    images = int((batch["input_ids"] == model.config.image_token_id).sum()) // length
    dtype = next(model.model.vision_tower.parameters()).dtype
    pixels = torch.empty(images, 3, tower.image_size, tower.image_size, dtype=dtype, device="meta")
    loss: Tensor = model(**batch, pixel_values=pixels).loss
    return loss


class _Sizes(LiveBytes):  # type: ignore[no-untyped-call]
    """Operations on `meta` take real numbers, too: as indices they count, elsewhere by their shape."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        mixed = any(isinstance(one, Tensor) and one.is_meta for one in tree_leaves(args))
        if mixed and not func.name().startswith(("aten::index", "aten::_index", "aten::_unsafe_index")):
            args = tree_map_only(Tensor, lambda one: one.to("meta"), args)
        return super().__torch_dispatch__(func, types, args, kwargs)


class _RealNumbers(TorchFunctionMode):
    """Numbers that are whole are made on the CPU and stay there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.to and not args[0].is_floating_point():
            given = [one for one in args if not (isinstance(one, torch.device) and one.type == "meta")]
            kwargs.pop("device", None)
            return func(*given, **kwargs) if given[1:] or kwargs else given[0]
        dtype = kwargs.get("dtype") or (torch.long if func is torch.arange else torch.get_default_dtype())
        if str(kwargs.get("device")) == "meta" and not dtype.is_floating_point:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


class _Ways(_RealNumbers):
    """Attention keeps what its kernels on CPUs and GPUs keep, and autocast does what it does there."""

    def __init__(
        self, live: LiveBytes, copies: Mapping[Tensor, Tensor], *, autocast: bool, cache: bool = True
    ) -> None:
        super().__init__()
        self._live = live
        self._copies = copies
        self._autocast = autocast
        self._cache: dict[Tensor, Tensor] | None = {} if cache else None

    def again(self) -> "_Ways":
        return _Ways(self._live, self._copies, autocast=self._autocast, cache=False)

    def forget(self) -> None:
        """Where autocast ends, it lets go of the weights that it has cast."""
        self._cache = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        attention = func is F.scaled_dot_product_attention
        if self._autocast and (attention or func in _PRODUCTS):
            args, kwargs = tree_map_only(Tensor, self._cast, (args, kwargs))
        if attention:
            return _Attention.apply(*args[:3], kwargs.get("attn_mask"))  # type: ignore[no-untyped-call]
        return super().__torch_function__(func, types, args, kwargs)

    def _cast(self, given: Tensor) -> Tensor:
        if given.dtype != torch.float32:
            return given
        if given in self._copies:
            return self._copies[given]
        if not (isinstance(given, nn.Parameter) and given.requires_grad and self._cache is not None):
            return given.to(torch.bfloat16)
        if given not in self._cache:
            self._cache[given] = given.to(torch.bfloat16)
            self._live.count(self._cache[given], "buffers")
        return self._cache[given]


class _Attention(torch.autograd.Function):
    """What fused attention keeps: queries, keys, values, result, a number for each row, and the mask, which
    it is given in the numbers' own type."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        samples, heads, length, _ = query.shape
        result = query.new_empty(samples, length, heads, value.shape[-1]).transpose(1, 2)
        sums = query.new_empty(samples, heads, length, dtype=torch.float32)
        kept = None if mask is None else query.new_empty(mask.shape)
        ctx.save_for_backward(query, key, value, kept, result, sums)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return *(torch.empty_like(given) for given in ctx.saved_tensors[:3]), None
