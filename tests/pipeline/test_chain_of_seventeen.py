"""The whole pipeline on a mixture of all seventeen data sets, each in the form in which it is published."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import Project
from published_sets import ALIGN, PUBLISHED, publish


@pytest.mark.slow
def test_the_chain_trains_on_a_mixture_of_all_seventeen(
    make_project: Callable[[], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project()
    monkeypatch.chdir(project.folder)
    sources = publish(Path("data/published"))
    project.set_params(
        {
            "sources": sources,
            "mix.align": dict.fromkeys(ALIGN, 1.0),
            "mix.sft": {name: 1.0 for name in PUBLISHED if name not in ALIGN} | {"aokvqa": {"samples": 5}},
            "images.min_pixels": 8,
            "validate.english_share": [0.0, 1.0],
            "validate.min_language_share": 0.0,
            "validate.max_text_only_share": 1.0,
        }
    )
    added = project.run("dvc", "add", "--quiet", "data")
    assert added.returncode == 0, added.stderr
    done = project.repro()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    mixed = json.loads((project.folder / "metrics/mix/sft.json").read_text(encoding="utf-8"))
    assert set(mixed["sources"]) == set(PUBLISHED) - set(ALIGN)
    trained = json.loads((project.folder / "metrics/sft.json").read_text(encoding="utf-8"))
    assert trained
    assert (project.folder / "artifacts/package/config.json").is_file()
