"""What a person does with a clone before and after the pipeline, and the plan of the house itself."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

FLOORS = (
    {"examples"},
    {"flows", "parrot.cli", "parrot.commands", "parrot.stage"},
    {"parrot.serving", "parrot.publishing", "parrot.evaluation", "parrot.validation", "parrot.training",
     "parrot.backbones", "parrot.catalog", "parrot.conversion"},
    {"parrot.data"},
    {"parrot.model"},
    {"parrot.tracking"},
    {"parrot.pipeline"},
)  # fmt: skip
"""From the roof down: a room imports from floors below its own and, without a circle, from rooms beside it.
Modules right in `parrot/` that are not named here join rooms or are what all rooms build on."""
APART = ("parrot.evaluation", "parrot.training", "parrot.validation")
"""These import nothing from one another."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that git tracks, in a repository of their own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: nothing says which files are the project's")
    folder = tmp_path / "clone"
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    run(folder, "git", "init", "--quiet")
    commit(folder)
    return folder


def run(folder: Path, *command: str) -> str:
    home = folder.parent / "home"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"HOME": str(home)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *arguments)


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all")


def test_a_second_clone_pulls_what_the_first_one_pushed(clone: Path) -> None:
    (clone / "data").mkdir()
    (clone / "data" / "a.txt").write_text("mine")
    dvc(clone, "add", "--quiet", "data")
    commit(clone)
    dvc(clone, "push", "--quiet", "data.dvc")
    second = clone.parent / "elsewhere" / "second"
    run(clone, "git", "clone", "--quiet", str(clone), str(second))
    (second.parent / "home").symlink_to(clone.parent / "home")
    dvc(second, "pull", "--quiet", "data.dvc")
    assert (second / "data" / "a.txt").read_text() == "mine"


def test_plots_load_nothing_from_the_web(clone: Path) -> None:
    dvc(clone, "plots", "show")
    page = (clone / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert "vegaEmbed" in page
    assert not re.search(r"<(script|link|img)\b[^>]*https?://", page)
    assert run(clone, "git", "status", "--porcelain") == ""


def test_make_clean_leaves_what_git_tracks(clone: Path) -> None:
    for name in ("artifacts/a", "reports/a", "mlruns/a", "mlflow.db"):
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).touch()
    run(clone, "make", "clean")
    assert run(clone, "git", "status", "--porcelain", "--ignored") == ""


def test_lock_leaves_the_libraries_of_cuda_to_the_build_of_torch() -> None:
    lines = (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[=\s;]", line)[0] for line in lines}
    assert {"torch", "transformers", "dvc", "mlflow", "prefect"} <= names
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))]
    (deepspeed,) = [line for line in lines if line.startswith("deepspeed")]
    assert deepspeed.endswith("; sys_platform == 'linux'")


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of the project's packages."""
    files = [
        file for top in ("parrot", "flows", "examples") for file in sorted((PROJECT / top).rglob("*.py"))
    ]
    names = [file.relative_to(PROJECT).with_suffix("").parts for file in files]
    return {
        ".".join(n for n in name if n != "__init__"): file for name, file in zip(names, files, strict=True)
    }


@cache
def imports(module: str) -> frozenset[str]:
    """The project's modules that a module imports, anywhere in it; as they are written, or the package."""
    file = modules()[module]
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            found |= {
                name if (name := f"{source}.{alias.name}") in modules() else source for alias in node.names
            }
    return frozenset(found & set(modules()))


def room(module: str) -> str:
    return (
        module if module.startswith("parrot.") and module.count(".") == 1 else ".".join(module.split(".")[:2])
    )


def floor(name: str) -> int | None:
    parts = name.split(".")
    here = {".".join(parts[:end]) for end in (1, 2)}
    return next((number for number, rooms in enumerate(FLOORS) if rooms & here), None)


def arrows() -> Iterator[tuple[str, str]]:
    """Who imports whom, from one room into another."""
    for module in modules():
        yield from ((module, other) for other in imports(module) if room(module) != room(other))


def length(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def test_no_two_modules_have_one_name() -> None:
    names = Counter(file.stem for file in modules().values() if not file.stem.startswith("__"))
    assert not {name: count for name, count in names.items() if count > 1}


def test_no_two_classes_have_one_name() -> None:
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in modules().values())
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert not {name: count for name, count in names.items() if count > 1}


def test_no_file_is_long() -> None:
    assert not {name: lines for name, file in modules().items() if (lines := length(file)) > 300}


def test_no_room_is_over_a_quarter_of_the_product() -> None:
    lines: Counter[str] = Counter()
    for name, file in modules().items():
        if not name.startswith("examples"):
            lines[".".join(name.split(".")[: 1 if name.startswith("flows") else 2])] += length(file)
    assert not {name: count for name, count in lines.items() if count > lines.total() / 4}


def test_no_library_is_patched() -> None:
    """What is unlike a library is a subclass of it or an argument to it; docs/training.md says why."""
    assert not [
        f"{name}: {place} of {library}" for name in modules() for place, library in writes_elsewhere(name)
    ]


def writes_elsewhere(module: str) -> Iterator[tuple[str, str]]:
    """What a module assigns to of a library that it imports, and the library."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    libraries = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                source = alias.name if isinstance(node, ast.Import) else node.module or ""
                libraries[(alias.asname or alias.name).split(".")[0]] = source.split(".")[0]
    known = {*sys.stdlib_module_names, "parrot", "flows", "examples", ""}
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
            targets = [ast.Attribute(node.args[0], "…")]
        for target in targets:
            owner = target
            while isinstance(owner, ast.Attribute | ast.Subscript):
                owner = owner.value
            if owner is not target and isinstance(owner, ast.Name):
                library = libraries.get(owner.id, "")
                if library not in known:
                    yield ast.unparse(target), library


def test_the_product_imports_no_example() -> None:
    product = {module for module in modules() if not module.startswith("examples")}
    assert not [module for module in product if imports(module) - product]


def test_no_arrow_goes_up() -> None:
    up = set()
    for module, other in arrows():
        here, there = floor(module), floor(other)
        if here is not None and there is not None and there < here:
            up.add(f"{module} -> {other}")
        if room(module) in APART and room(other) in APART:
            up.add(f"{module} -> {other}")
    assert not sorted(up)


def test_the_model_imports_nothing_of_the_project() -> None:
    own = {name for name in modules() if room(name) == "parrot.model"}
    assert not [name for name in own if imports(name) - own]


def test_rooms_import_one_another_in_no_circle() -> None:
    reached: dict[str, set[str]] = {}
    for module, other in arrows():
        if room(module).split(".")[0] == room(other).split(".")[0] == "parrot":
            reached.setdefault(room(module), set()).add(room(other))
    for middle in list(reached):
        for through in reached.values():
            if middle in through:
                through |= reached[middle]
    assert not sorted(name for name, through in reached.items() if name in through)
