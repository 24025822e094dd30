"""What dvc.yaml says that a stage's code depends on, against what the stage really imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from parrot.stages import STAGES

PROJECT = Path(__file__).parents[2]
# What carries a stage and does not decide what it computes.
CARRIERS = {
    f"parrot/{name}.py"
    for name in (
        "__init__",
        "config",
        "credentials",
        "errors",
        "files",
        "lineage",
        "network",
        "processes",
        "params",
        "yaml_files",
    )
}


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


def closure(file: str) -> set[str]:
    """The file and all that it imports, directly or not."""
    found, waiting = set(), [file]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += imports(name)
    return found


def has_code(file: str) -> bool:
    """More than a docstring."""
    return len(ast.parse((PROJECT / file).read_text(encoding="utf-8")).body) > 1


@pytest.mark.parametrize("name", STAGES)
def test_dependencies_are_what_the_stage_imports(name: str) -> None:
    start = module_file(STAGES[name].function.partition(":")[0])
    assert start
    imported = {file for file in closure(start) if has_code(file)} - CARRIERS
    stage = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    listed = [dep for dep in stage["deps"] if dep.startswith("parrot/")]
    covered = {file for file in imported for dep in listed if file == dep or file.startswith(f"{dep}/")}
    unused = [dep for dep in listed if not any(f == dep or f.startswith(f"{dep}/") for f in imported)]
    assert (sorted(imported - covered), unused) == ([], [])
