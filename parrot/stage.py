"""A stage is a plain function, declared once: its signature says what it reads and writes.

Parameters that may be given by position are sections of the parameters, found by their names. Those that
can only be given by keyword are flags of the command line, paths for the most part; two names among them
are not flags: `run` is the `TrainingRun` of a stage that trains, `work` the `WorkFolder` of one that goes on
where it was killed. Which stage needs what stands in `dvc.yaml`.
"""

import argparse
import ast
import contextlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from parrot.credentials import hide_in_tracebacks
from parrot.errors import ParrotError
from parrot.files import naming_full_disk
from parrot.hardware import hide_gpus, tell_deepspeed, use_threads

if TYPE_CHECKING:
    from parrot.pipeline.graph import Reads

STAGES = {
    "hub": "parrot.backbones.hub:download",
    "prepare": "parrot.data.prepare:prepare",
    "mix": "parrot.data.mix:mix",
    "validate": "parrot.validation.validate:validate",
    "align": "parrot.training.align:align",
    "sft": "parrot.training.sft:sft",
    "predict": "parrot.evaluation.predict:predict",
    "evaluate": "parrot.evaluation.evaluate:evaluate",
    "package": "parrot.publishing.package:package",
}
"""Command -> function. Each needs other heavy packages, so it is named and not imported."""

LOGGED = ("curve", "plots", "reports")
"""Flags whose files are copied into the stage's run in MLflow."""
_WRITTEN = ("output", "metrics", "stamp", *LOGGED)
_GIVEN = ("run", "work")
_ONLY_SPEED = "speed"
"""The section that decides how fast a result comes and not which."""


def run_stage(
    name: str,
    target: str,
    arguments: Sequence[str],
    *,
    prog: str | None = None,
    load: Callable[[], Any] | None = None,
) -> None:
    """Run the function `target` (`module:function`) as a stage of the command line.

    Args:
        name: what the run is called in MLflow if DVC does not name the stage.
        arguments: the flags, as a person or DVC gives them.
        prog: what stands before them (default: `parrot NAME`).
        load: gives the sections as attributes, `threads` and `speed` among them (default: `params.yaml`).
            A `validate` may be called `validate_`: pydantic's models have a method of that name.

    Raises:
        ParrotError: a parameter, a file or a record is wrong.
        SystemExit: the flags are wrong, or ask for help.
    """
    from parrot.params import load_params
    from parrot.pipeline.processes import end_with_parents

    end_with_parents()
    asks_for_help = not {"-h", "--help"}.isdisjoint(arguments)
    params = None if asks_for_help else (load or load_params)()
    if params is not None:
        use_threads(params.threads)  # before the function's module imports torch
    function = _load(target)
    signature = inspect.signature(function, eval_str=True)
    flags = vars(_parser(prog or f"parrot {name}", function, signature).parse_args(arguments))
    assert params is not None, "asking for help has ended in the line above"
    _run(name, function, signature, params, flags)


def _run(
    name: str,
    function: Callable[..., Any],
    signature: inspect.Signature,
    params: Any,
    flags: dict[str, Any],
) -> None:
    from parrot.config import Params
    from parrot.pipeline.checkpoints import (
        close_checkpoints,
        name_checkpoints,
        open_checkpoints,
        remove_recorded,
    )
    from parrot.pipeline.graph import display_name, read_by, stage_address
    from parrot.pipeline.travel import WORKER_VARIABLE
    from parrot.tracking import track_stage
    from parrot.training.launch import Untracked, as_rank, is_first, is_rank, launch, starts_ranks

    sections = {
        key: _section(params, key) for key in signature.parameters if key not in flags and key not in _GIVEN
    }
    trains = "run" in signature.parameters
    evaluated_here = isinstance(params, Params) and WORKER_VARIABLE not in os.environ
    if trains and evaluated_here and not is_rank():  # what the project trains it evaluates
        from parrot.evaluation.ahead import check_ahead

        check_ahead(params.evaluate, params.languages, seed=params.seed)
    training = next((section.training for section in sections.values() if hasattr(section, "training")), None)
    if training and training.use_cpu:
        hide_gpus()
    if training and starts_ranks(training):
        launch(training.launch)
        return
    address = stage_address()
    name = display_name(address) if address else name
    reads = read_by(address) if address else _read_by_hand(function, sections, flags, params.threads)
    first = is_first()
    if first:
        remove_recorded()
    with (
        as_rank(training.launch if training else None),
        track_stage(name, reads.params) if first else contextlib.nullcontext(Untracked()) as tracked,
        contextlib.ExitStack() as stack,
    ):
        given: dict[str, Any] = {}
        if trains or "work" in signature.parameters:
            if first:
                work = open_checkpoints(name, reads.inputs, reads.params, reads.code)
            else:
                work = name_checkpoints(name, reads.inputs, reads.params)
            stack.enter_context(naming_full_disk(work))
            given = (
                {"run": _training_run(name, work, tracked, params, training)} if trains else {"work": work}
            )
        if "torch" in sys.modules:
            tell_deepspeed()
        if trains and first and isinstance(params, Params):
            from parrot.training.plan_report import refuse_what_cannot_fit

            refuse_what_cannot_fit(sections, flags)
        metrics = function(**sections, **flags, **given)
        if given and first:
            close_checkpoints(work, address)  # not earlier: now the outputs are in place
        tracked.log_metrics(metrics or {})
        for flag in LOGGED:
            if flag in flags and flags[flag].exists():
                tracked.log_artifact(flags[flag])


def _training_run(name: str, work: Path, tracked: Any, params: Any, training: Any) -> Any:
    from parrot.config import Params
    from parrot.pipeline.travel import WORKER_VARIABLE
    from parrot.training.held_out import AskedQuestion
    from parrot.training.trainer import TrainingRun

    evaluation = training.evaluation if training and isinstance(params, Params) else None
    questions: list[AskedQuestion] = []
    if evaluation and evaluation.questions:
        from parrot.evaluation.ahead import first_questions

        if WORKER_VARIABLE in os.environ:
            raise ParrotError(
                f"params.yaml: training.evaluation.questions: '{evaluation.questions}' does not travel to a "
                f"worker, which gets what the stage reads; leave it empty, or train without workers"
            )
        of_folder = params.evaluate.model_copy(update={"benchmark": evaluation.questions})
        questions = [AskedQuestion(*one) for one in first_questions(of_folder, params.languages)]
    return TrainingRun(
        name,
        work,
        tracked.log_metrics,
        params.speed.workers,
        attach=tracked.log_artifact,
        questions=questions,
    )


def _load(target: str) -> Callable[..., Any]:
    module, name = target.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _section(params: Any, name: str) -> Any:
    return getattr(params, f"{name}_") if hasattr(params, f"{name}_") else getattr(params, name)


def _read_by_hand(
    function: Callable[..., Any], sections: Mapping[str, Any], flags: Mapping[str, Any], threads: int
) -> "Reads":
    """What DVC would say, as far as the function tells: its sections whole, and all of the project's code."""
    from pydantic_core import to_jsonable_python

    from parrot.pipeline.graph import Reads

    decisive = {key: section for key, section in sections.items() if key != _ONLY_SPEED}
    params: dict[str, Any] = to_jsonable_python({**decisive, "threads": threads})
    named = [path for key, path in flags.items() if isinstance(path, Path) and key not in _WRITTEN]
    packages = {"parrot", function.__module__.partition(".")[0]}
    return Reads(params, [*named, *_paths_in(params)], [Path(package) for package in sorted(packages)])


def _paths_in(value: Any) -> Iterator[Path]:
    """The files and folders that parameters name; of a folder within an archive, the archive."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _paths_in(item)
    elif isinstance(value, str) and "/" in value:
        path = Path(value)
        yield from [place for place in (path, *path.parents[:-1]) if place.exists()][:1]


def _parser(prog: str, function: Callable[..., Any], signature: inspect.Signature) -> argparse.ArgumentParser:
    purpose, helps = _described(inspect.getdoc(function) or "")
    note = "Every choice is in params.yaml; `dvc repro` gives the flags that dvc.yaml names."
    parser = argparse.ArgumentParser(prog=prog, description=f"{purpose} {note}", allow_abbrev=False)
    for name, parameter in signature.parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name in _GIVEN:
            continue
        kind = parameter.annotation
        flag, text = f"--{name.replace('_', '-')}", helps.get(name)
        if kind is Path:
            text = text or f"file or folder to {'write' if name in _WRITTEN else 'read'}"
            parser.add_argument(flag, type=Path, required=True, metavar="PATH", help=text)
        elif get_origin(kind) is Literal:
            parser.add_argument(flag, choices=get_args(kind), required=True, help=text)
        else:
            parser.add_argument(flag, required=True, metavar="NAME", help=text or f"name of a {name}")
    return parser


def _described(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's first paragraph, and its section `Args:` by name."""
    purpose = " ".join(doc.split("\n\n")[0].split())
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", doc, re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", section[1] if section else "", re.MULTILINE)
    return purpose, {name: " ".join(text.split()).replace("%", "%%") for name, text in entries}


def first_line(target: str) -> str:
    """What the function `target` does, read from its file: importing it may take seconds."""
    module, name = target.split(":")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


@contextlib.contextmanager
def tracked_by_dvc() -> Iterator[None]:
    """Track a command that a person may call, too, as the stage for which DVC calls it here, if DVC does."""
    if "DVC_STAGE" not in os.environ:
        yield
        return
    from parrot.pipeline.graph import display_name, read_by, stage_address
    from parrot.pipeline.processes import end_with_parents
    from parrot.tracking import track_stage

    end_with_parents()
    address = stage_address() or ""
    with track_stage(display_name(address), read_by(address).params):
        yield


@contextlib.contextmanager
def sentences(prog: str, writes: Path | None = None) -> Iterator[None]:
    """A `ParrotError` in the block is printed as a sentence after `prog`, and ends with exit code 1.

    Args:
        writes: where the block writes, for the sentence about a full disk.
    """
    hide_in_tracebacks()
    try:
        with naming_full_disk(writes or Path.cwd()):
            yield
    except ParrotError as error:
        sys.exit(f"{prog}: {error}")
