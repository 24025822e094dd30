"""How many floating-point operations a record takes: what MFU is made of."""

from collections.abc import Iterable, Iterator

from torch import nn

from parrot.model.registered import VisionLanguageForConditionalGeneration
from parrot.training.watching import SeenRecord

_FORWARD, _THROUGH, _LEARNED = 2, 2, 2
"""Operations for each weight and row: forward, backward for what was given, backward for the weight."""


class RecordOperations:
    """Of the matrix products of a record's forward and backward pass, each once; padding is none of it.

    Counted from the sizes of the model's matrices, and close to what `parrot.training.dry_run` counts product
    by product. Left out is what is far smaller: attention to images and of the resampler, and what guides
    the experts.
    """

    def __init__(
        self, model: VisionLanguageForConditionalGeneration, learned: Iterable[nn.Parameter]
    ) -> None:
        """`model` whole, as it is before a training, of which these parameters learn."""
        self._learned = {id(parameter) for parameter in learned}
        config = model.config
        tower, words = config.vision_config, config.text_config
        of_tower = (tower.image_size // tower.patch_size) ** 2 + 1
        latents = getattr(config, "resampler_n_latents", None)
        of_image = 0.0
        self._position = 0.0
        """Operations of each position, each label, each image and each position squared."""
        self._label = self._of(model.get_output_embeddings())
        known = set()
        for name, module in _matrices(model.decoder()):
            known.add(module)
            if ".cross_attn." in f".{name}" and name.endswith(("k_proj", "v_proj")):
                of_image += (latents or 0) * self._of(module)
            else:
                self._position += self._of(module)
        for connector in model.connector():
            for name, module in _matrices(connector):
                if module in known:
                    continue
                rows = of_tower
                if latents:
                    rows = latents + of_tower * name.endswith(("k_proj", "v_proj"))
                of_image += rows * self._of(module)
        frozen = sum(_size(module) for _, module in _matrices(model.model.vision_tower))
        attention = 2 * _FORWARD * of_tower**2 * tower.hidden_size * tower.num_hidden_layers
        self._image: float = of_image + _FORWARD * of_tower * frozen + attention
        width = words.num_attention_heads * (
            getattr(words, "head_dim", None) or words.hidden_size // words.num_attention_heads
        )
        # Two products, of queries with keys and of weights with values, and both ways back through each.
        self._squared: float = 2 * (_FORWARD + 2 * _THROUGH) * width * words.num_hidden_layers

    def __call__(self, record: SeenRecord) -> float:
        of_text = self._position * record.positions + self._squared * record.positions**2
        return of_text + self._label * record.labels + self._image * record.images

    def _of(self, module: nn.Module) -> float:
        """Of one row. What learns first lies before all that is asked for: gradients go through it."""
        learned = id(module.weight) in self._learned
        return _size(module) * (_FORWARD + _THROUGH + _LEARNED * learned)


def _matrices(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All that multiplies by a matrix, by name."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            yield name, part


def _size(module: nn.Module) -> int:
    """Numbers of a matrix, from its shape: in four bits and with ZeRO-3 its weight has another size."""
    if isinstance(module, nn.Conv2d):
        return int(module.weight.numel())
    return int(module.in_features) * int(module.out_features)  # type: ignore[arg-type]
