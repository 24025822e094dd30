"""What dvc.yaml says that a stage depends on, against what the stage really imports and reads."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from parrot.config import Params
from parrot.pipeline.graph import CODE
from parrot.stage import STAGES

PROJECT = Path(__file__).parents[2]
GRAPHS = ("dvc.yaml", "examples/picture_world/dvc.yaml")
# What carries a stage and does not decide what it computes.
CARRIERS = (
    "examples/picture_world/sections.py",
    "parrot/__init__.py",
    "parrot/config",
    "parrot/credentials.py",
    "parrot/errors.py",
    "parrot/files.py",
    "parrot/lineage.py",
    "parrot/network.py",
    "parrot/params.py",
    "parrot/pipeline/",
    "parrot/repository.py",
    "parrot/yaml_files.py",
)


def module_file(name: str) -> str | None:
    """The project's file of a module, as a path from its top folder."""
    path = Path(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if (PROJECT / file).is_file():
            return file.as_posix()
    return None


def imports(file: str) -> Iterator[str]:
    """Files of the project that a file imports, inside of functions too; the folders' __init__ among them."""
    package = Path(file).parent.parts
    for node in _nodes(ast.parse((PROJECT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                if found := module_file(".".join(parts[:end])):
                    yield found


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _nodes(node)


def resources(file: str) -> Iterator[str]:
    """Files that are no Python, stand beside a module or below, and are named in it."""
    for node in ast.walk(ast.parse((PROJECT / file).read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"[\w/.-]+", node.value)
        ):
            beside = Path(file).parent / node.value
            if beside.suffix not in ("", ".py") and (PROJECT / beside).is_file():
                yield beside.as_posix()


def closure(file: str) -> set[str]:
    """The file and all that it imports, directly or not, with the resources of all of them."""
    found: set[str] = set()
    waiting = [file]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            if name.endswith(".py"):
                waiting += [*imports(name), *resources(name)]
    return found


@cache
def counts(file: str) -> bool:
    """Whether it can decide what a stage computes: more than a docstring, and no carrier."""
    if file.startswith(CARRIERS):
        return False
    return not file.endswith(".py") or len(ast.parse((PROJECT / file).read_text(encoding="utf-8")).body) > 1


def exact(used: set[str]) -> set[str]:
    """The same, with folders of which all is used instead of what is in them."""
    listed = set(used)
    folders = {folder for file in used for folder in Path(file).parents[:-2]}
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        prefix = f"{folder.as_posix()}/"
        if len({file for file in used if file.startswith(prefix)}) > 1 and files_in(folder) <= used:
            listed = {name for name in listed if not name.startswith(prefix)} | {folder.as_posix()}
    return listed


def files_in(folder: Path) -> set[str]:
    files = [
        file for file in (PROJECT / folder).rglob("*") if file.is_file() and "__pycache__" not in file.parts
    ]
    return {name for file in files if counts(name := file.relative_to(PROJECT).as_posix())}


def first_module(command: str) -> str:
    """Where the code of a stage begins."""
    words = command.split()
    if words[:2] == ["parrot", "backbone"]:
        return "parrot.backbones.fit"
    stages = STAGES if words[0] == "parrot" else importlib.import_module(f"{words[2]}.__main__").STAGES
    return str(stages[words[1] if words[0] == "parrot" else words[3]].partition(":")[0])


STAGES_OF_FILES = [
    (graph, name)
    for graph in GRAPHS
    for name in yaml.safe_load((PROJECT / graph).read_text("utf-8"))["stages"]
]


@pytest.mark.parametrize(("graph", "name"), STAGES_OF_FILES)
def test_code_that_a_stage_depends_on_is_what_it_imports(graph: str, name: str) -> None:
    """Both ways: what is not listed would not rerun it, what is listed and not used would for nothing."""
    stage = yaml.safe_load((PROJECT / graph).read_text(encoding="utf-8"))["stages"][name]
    stage = stage.get("do", stage)
    start = module_file(first_module(stage["cmd"]))
    assert start
    right = exact({file for file in closure(start) if counts(file)})
    listed = {dep for dep in stage["deps"] if dep.split("/")[0] in CODE}
    wrong = [f"add    - {dep}" for dep in sorted(right - listed)]
    wrong += [f"remove - {dep}" for dep in sorted(listed - right)]
    assert not wrong, "\n".join([f"{graph}, the deps of {name}:", *wrong])


SECTIONS = {
    field.annotation: field.alias or name
    for name, field in Params.model_fields.items()
    if isinstance(field.annotation, type)
}


def parameters(file: str) -> Iterator[str]:
    """`section.key` of each key that a function reads from a section of params.yaml that it is given."""
    classes = {kind.__name__: kind for kind in SECTIONS}
    for function in ast.walk(ast.parse((PROJECT / file).read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        given = {
            argument.arg: classes[argument.annotation.id]
            for argument in (*function.args.args, *function.args.kwonlyargs)
            if isinstance(argument.annotation, ast.Name) and argument.annotation.id in classes
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                section = given.get(node.value.id)
                if section and node.attr in section.model_fields:
                    yield f"{SECTIONS[section]}.{node.attr}"


@pytest.mark.parametrize("name", ["mix", "predict", "evaluate"])
def test_parameters_that_a_stage_reads_are_among_its_own(name: str) -> None:
    """Of sections that it lists key by key; one left out would leave the old result where it was changed."""
    stage = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    stage = stage.get("do", stage)
    sections = {key.partition(".")[0] for key in stage["params"] if "." in key}
    start = module_file(first_module(stage["cmd"]))
    assert start
    code = [file for file in closure(start) if file.endswith(".py") and counts(file)]
    read = {key for file in code for key in parameters(file) if key.partition(".")[0] in sections}
    assert read
    assert not read.difference(stage["params"])
