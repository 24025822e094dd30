"""What a model was made of, read from lock files."""

from parrot.lineage_chain import made_of
from parrot.pipeline.lock_file import LockEntry


def test_a_stage_that_the_graph_no_longer_has_is_not_taken_for_the_maker() -> None:
    lock = {
        "backbones": LockEntry({}, {"backbone": "old"}, {}),
        "backbone@language": LockEntry({"data": "d"}, {"backbone": "new"}, {}),
        "sft": LockEntry({"backbone": "new", "parrot/model": "code"}, {"model": "m"}, {}),
    }
    assert list(made_of(lock, "model", set())) == [
        ("model", "m", "sft"),
        ("backbone", "new", "backbone@language"),
        ("data", "d", ""),
    ]
