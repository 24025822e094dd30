"""Prepare and mix over a mixture of all that both papers train on, in the form in which it is published."""

from dataclasses import replace

import pytest
from published_sets import ALIGN, PUBLISHED, publish
from small_sources import World, changed, digests, small_world

from parrot.config import Source

LANGUAGES = ["en", "zh", "pt", "ar", "tr", "ru"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("seventeen")
    sources = {name: Source.model_validate(source) for name, source in publish(folder / "data").items()}
    world = small_world(folder)
    sft = {name: 1.0 for name in PUBLISHED if name not in ALIGN} | {"aokvqa": {"samples": 5}}
    mix = changed(world.mix, align=dict.fromkeys(ALIGN, 1.0), sft=sft)
    return replace(world, sources=sources, mix=mix, languages=LANGUAGES)


def test_all_are_prepared_and_mixed_and_nothing_is_lost(world: World) -> None:
    for name, source in world.sources.items():
        metrics = world.prepare_source(name)
        assert metrics["kept"] == source.expected == metrics["read"] - metrics["left_out"], name
        assert metrics["mended"]["total"] == metrics["rejected"]["total"] == 0
    align, sft = world.mix_split("align"), world.mix_split("sft")
    assert align["sources"] == {"cc12m": 12, "laion": 12, "llava_pretrain": 12}
    assert set(sft["sources"]) == set(PUBLISHED) - set(ALIGN)
    assert sft["sources"]["aokvqa"] == 5
    assert set(sft["languages"]) == set(LANGUAGES)
    assert sft["rejects"] == {"total": 0}
    assert len(world.dataset("sft")) == sft["samples"]
    first = digests(world.folder / "mixtures")
    world.mix_split("sft")
    assert digests(world.folder / "mixtures") == first
