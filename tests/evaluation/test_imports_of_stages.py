"""What each stage loads: a change of the rest repeats no inference."""

import json
import subprocess
import sys

import pytest

CODE = "import json, sys; import parrot.evaluation.{}; print(json.dumps(list(sys.modules)))"


@pytest.mark.parametrize(
    ("stage", "absent"),
    [
        ("evaluate", ["torch", "transformers", "scipy", "parrot.evaluation.inference"]),
        (
            "predict",
            [f"parrot.evaluation.{room}" for room in ("extraction", "scoring", "report", "comparison")],
        ),
        ("ahead", ["torch", "parrot.evaluation.scoring"]),
    ],
)
def test_a_stage_loads_its_own_rooms_alone(stage: str, absent: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CODE.format(stage)], capture_output=True, text=True, check=True
    )
    assert not set(absent) & set(json.loads(ran.stdout))
