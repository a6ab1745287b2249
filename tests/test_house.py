"""The house rules of CONTRIBUTING.md that a machine can hold: imports, names, tracked files, recipes, documents."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from engine import catalogue
from engine.cli import MODULES
from tests.conftest import refused_versions

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Which rooms a room may import besides itself. Recipes are imported by nobody, benchmarks and examples by tests alone.
ARROWS = {
    "kernels": set(),
    "loaders": {"kernels"},
    "engine": {"kernels", "loaders"},
    "recipes": {"kernels", "loaders", "engine"},
    "benchmarks": {"kernels", "loaders", "engine"},
    "examples": {"kernels", "loaders", "engine"},
    "tests": {"kernels", "loaders", "engine", "benchmarks", "examples"},
}
PACKAGES = ("kernels", "loaders", "engine")
KERNELS_MAY_USE = {"torch", "numpy", "numba", "llvmlite", "triton", "jaxtyping"}
# Import names that differ from the name of the distribution that brings them.
DISTRIBUTION = {
    "PIL": "pillow",
    "markdown_it": "markdown-it-py",
    "mlflow": "mlflow-skinny",
    "nvidia": "nvidia-dali-cuda130",
    "cv2": "opencv-python",
}
CATCH_ALL = {"utils", "util", "misc", "common", "helpers", "helper"}


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(source: str, room: str) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of each import, wherever it stands: in functions, under TYPE_CHECKING, by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, room if node.level else (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called in ("__import__", "import_module", "importlib.import_module") and isinstance(
                node.args[0].value, str
            ):
                yield node.lineno, node.args[0].value.partition(".")[0] or room


def wrong_arrows(source: str, room: str) -> list[str]:
    """The imports of one file that point at a room which its own room may not know."""
    # A recipe or an example stands alone; the other rooms may split a job over files.
    own = set() if room in ("recipes", "examples") else {room}
    allowed = ARROWS[room] | own
    return [
        f"line {line}: {room} imports {name}"
        for line, name in imports(source, room)
        if name in ARROWS and name not in allowed
    ]


def undeclared(source: str, room: str, declared: set[str]) -> list[str]:
    """The imports of one file that are neither of the standard library, nor of the project, nor in `declared`."""
    known = set(sys.stdlib_module_names) | set(ARROWS)
    return [
        f"line {line}: {name}"
        for line, name in imports(source, room)
        if name not in known and DISTRIBUTION.get(name, name).lower().replace("_", "-") not in declared
    ]


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout: what is tracked is asked of git")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]


# --- imports -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ARROWS)
def test_imports_follow_the_arrows(room: str) -> None:
    wrong = {str(f.relative_to(ROOT)): w for f in python_files(room) if (w := wrong_arrows(f.read_text(), room))}
    assert not wrong


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("kernels", "import loaders"),
        ("kernels", "from engine.tasks import Task"),
        ("kernels", "def f():\n    import engine.training.loop as loop"),
        ("loaders", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from engine.views import View"),
        ("loaders", "import importlib\nm = importlib.import_module('engine.training.loop')"),
        ("engine", "import recipes.demo"),
        ("engine", "import torch, benchmarks"),
        ("recipes", "from recipes.demo import recipe"),
        ("tests", "from recipes import demo"),
        ("benchmarks", "from examples import plain_pytorch"),
    ],
)
def test_the_check_of_arrows_catches_a_planted_one(room: str, source: str) -> None:
    assert len(wrong_arrows(source, room)) == 1


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("kernels", "from .views import render_views\nfrom kernels.tables import draw\nimport torch"),
        ("loaders", "import kernels\nfrom . import base"),
        ("engine", "from loaders.base import Batch\nfrom kernels import draw\nfrom ..engine import views"),
        ("recipes", "from engine.recipe.definition import Recipe\nfrom loaders import Packed"),
    ],
)
def test_the_check_of_arrows_lets_the_right_ones_pass(room: str, source: str) -> None:
    assert wrong_arrows(source, room) == []


# Inside a package: its floors from the ground up. A room, or a file that stands beside the rooms, imports what lies on
# floors below; the files of one floor do not know each other.
FLOORS = {
    "loaders": (
        ("csv_files", "lock", "targets", "terminal"),
        ("class_map",),
        ("base", "exit_status", "extras", "files", "options", "progress"),
        ("feed", "decoding"),
        ("synthetic", "detection"),
        ("store",),
        ("importers",),
        ("sources",),
        ("ffcv",),
        ("prepare", "__init__"),
    ),
    "engine": (
        ("foreign_files", "catalogue", "torchvision_ops", "figures"),
        ("__init__", "cost", "intervals", "calibration"),
        ("views", "losses", "optim", "averaging", "mixing", "backbone", "weights", "metrics"),
        ("tasks",),
        ("recipe",),
        ("runs", "tracking"),
        ("reports",),
        ("training",),
        ("baselines", "bench", "table"),
        ("deployed", "suspects"),
        ("run", "predict", "tryout", "evaluate", "labels", "export", "compare", "report", "robustness"),
        ("cli",),
    ),
}


def inner_imports(source: str, package: str) -> Iterator[tuple[int, str, str]]:
    """(line, room, module) of each import of the same package: `from engine.runs import checkpoint` names `runs`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name that is imported may be a module: its file tells.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if module_file(name) else node.module for name in inner]
        else:
            continue
        for name in dict.fromkeys(names):
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1:
                yield node.lineno, parts[1], name


def module_file(name: str) -> Path | None:
    """The file of a module of this project, None where there is none."""
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def wrong_floors(source: str, package: str, room: str) -> list[str]:
    """The imports of a file of `room` that lead up, or across, the floors of its package."""
    floor = {name: height for height, names in enumerate(FLOORS[package]) for name in names}
    return [
        f"line {line}: {room} imports {name}"
        for line, other, name in inner_imports(source, package)
        if other != room and floor[other] >= floor[room]
    ]


@pytest.mark.parametrize("package", FLOORS)
def test_inside_a_package_imports_lead_down(package: str) -> None:
    rooms = {f: f.relative_to(ROOT / package).parts[0].removesuffix(".py") for f in python_files(package)}
    assert set(rooms.values()) == {name for names in FLOORS[package] for name in names}
    wrong = {
        str(f.relative_to(ROOT)): w for f, room in rooms.items() if (w := wrong_floors(f.read_text(), package, room))
    }
    assert not wrong


@pytest.mark.parametrize(
    ("package", "room", "source"),
    [
        ("engine", "views", "from engine.recipe import Recipe"),
        ("engine", "tasks", "def f():\n    from engine.training.loop import Trainer"),
        ("engine", "recipe", "from engine import training"),
        ("engine", "runs", "import engine.training.model as model"),
        ("engine", "reports", "from engine.training import render"),
        ("engine", "losses", "from engine.optim import AdamW"),
        ("loaders", "base", "from loaders.feed.order import Order"),
        ("loaders", "decoding", "from loaders.importers import Fer2013"),
        ("loaders", "store", "from loaders.sources.packed import Packed"),
    ],
)
def test_the_check_of_floors_catches_a_planted_one(package: str, room: str, source: str) -> None:
    assert len(wrong_floors(source, package, room)) == 1


def test_the_check_of_floors_lets_the_right_ones_pass() -> None:
    assert wrong_floors("from engine.views import View\nfrom engine.tasks.base import Task", "engine", "training") == []
    assert wrong_floors("from engine.runs import checkpoint\nimport kernels", "engine", "runs") == []


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Circles in a graph of imports: lists of modules each of which imports the next, and the last the first."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            found.append(path[path.index(name) :])
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                walk(other, [*path, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_in_a_circle(package: str) -> None:
    graph: dict[str, set[str]] = {}
    for file in python_files(package):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = {module for _, _, module in inner_imports(file.read_text(), package)} - {name}
    assert circles(graph) == []
    assert circles(graph | {"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c"]]


def test_kernels_import_nothing_but_the_tensor_libraries() -> None:
    used = {name for f in python_files("kernels") for _, name in imports(f.read_text(), "kernels")}
    assert used - set(sys.stdlib_module_names) - {"kernels"} <= KERNELS_MAY_USE


def test_reports_name_no_torch() -> None:
    used = {name for f in python_files("engine/reports") for _, name in imports(f.read_text(), "engine")}
    assert not used & {"torch", "torchvision", "timm"}


def test_every_import_is_declared_in_pyproject() -> None:
    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9._-]", r)[0].lower().replace("_", "-") for r in requirements}

    core = names(PROJECT["project"]["dependencies"])
    extras = PROJECT["project"]["optional-dependencies"]
    optional = core | names(extras["dali"]) | names(extras["ffcv"])
    everything = core.union(*(names(extra) for extra in (*extras.values(), *PROJECT["dependency-groups"].values())))
    assert undeclared("import albumentations", "engine", everything) == ["line 1: albumentations"]
    for room in ARROWS:
        # Only adapters in `loaders` may know DALI and FFCV, only examples what runs exported models; only what users do
        # not run may know the tools.
        declared = {
            "loaders": optional,
            "benchmarks": everything,
            "examples": core | names(extras["export"]),
            "tests": everything,
        }.get(room, core)
        missing = {
            str(f.relative_to(ROOT)): m for f in python_files(room) if (m := undeclared(f.read_text(), room, declared))
        }
        assert not missing


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_come_from_this_checkout(package: str) -> None:
    # PyPI has a package named `kernels` too.
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT / package)


def test_transformers_works_beside_our_kernels() -> None:
    code = """
import engine.torchvision_ops, kernels, torch
from transformers import BertConfig, BertModel
sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=4)
print(*BertModel(BertConfig(**sizes))(torch.zeros(1, 3, dtype=torch.long)).last_hidden_state.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "3", "8"]


@pytest.mark.parametrize(
    ("package", "strangers"),
    [
        ("kernels", ("loaders", "engine", "timm", "torchvision", "matplotlib")),
        ("loaders", ("engine", "timm", "torchvision", "matplotlib", "nvidia.dali", "ffcv")),
    ],
)
def test_importing_a_lower_room_wakes_no_upper_one(package: str, strangers: tuple[str, ...]) -> None:
    code = f"import {package}, sys; print(*(m for m in {strangers!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# --- versions ----------------------------------------------------------------------------------------------------


def test_the_constraints_lie_within_the_bounds_and_name_everything_declared() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0]: line.partition("==")[2] for line in lines if not line.startswith("#")}
    declared = [
        Requirement(text)
        for group in (
            PROJECT["project"]["dependencies"],
            *PROJECT["project"]["optional-dependencies"].values(),
            *PROJECT["dependency-groups"].values(),
        )
        for text in group
    ]
    assert pinned.keys() == {each.name for each in declared}
    assert [each.name for each in declared if not each.specifier.contains(pinned[each.name])] == []


@pytest.mark.parametrize(
    ("triton", "numpy", "refused"),
    [("3.6.0", "2.5.0", True), ("3.6.0", "2.4.0", True), ("3.6.0", "2.3.5", False), ("3.7.1", "2.5.0", False)],
)
def test_an_interpreter_that_cannot_read_numpy_is_refused_with_what_to_install(
    triton: str, numpy: str, refused: bool
) -> None:
    told = refused_versions(triton, numpy)
    assert (told is not None) is refused
    if told:
        assert f"numpy (={numpy}) must be below 2.4 beside triton {triton}" in told
        assert "pip install 'numpy<2.4'" in told


# --- names -------------------------------------------------------------------------------------------------------


def bad_names(paths: list[Path]) -> list[str]:
    """Paths (relative to the root) that name no job, or that shadow a package somebody imports."""
    third_party = KERNELS_MAY_USE | {
        name
        for room in ARROWS
        for f in python_files(room)
        for _, name in imports(f.read_text(), room)
        if name not in ARROWS and name not in sys.stdlib_module_names
    }
    # A script's own folder comes first on sys.path: there a file named after a room hides the room.
    return [
        str(path)
        for path in paths
        if path.stem in CATCH_ALL | third_party
        or any(part in CATCH_ALL for part in path.parent.parts)
        or (path.parts[0] in ("benchmarks", "examples", "tests") and path.stem in ARROWS)
    ]


def test_no_file_is_a_catch_all_or_shadows_a_package() -> None:
    assert bad_names([f.relative_to(ROOT) for room in ARROWS for f in python_files(room)]) == []


def test_the_check_of_names_catches_planted_ones() -> None:
    planted = ["engine/utils.py", "kernels/views/numpy.py", "loaders/common/csv_rows.py", "benchmarks/kernels.py"]
    assert bad_names([Path(name) for name in planted]) == planted
    assert bad_names([Path("kernels/views/triton_kernel.py"), Path("benchmarks/bench_kernels.py")]) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_marked_as_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


# --- tracked files -----------------------------------------------------------------------------------------------

PLACE = re.compile(
    r"""
    (?<![\w.~$}/-]) / (?: (?:work|root)\b | (?:home|Users)/\w+ )    # a folder of one machine
    | \b (?: pypi\.org | pythonhosted\. | npmjs\. | deb\.debian\. | archive\.ubuntu\. | download\.pytorch\. )
    """,
    re.VERBOSE,
)
LEFTOVER = re.compile(
    r"(^|/)(__pycache__|\.venv|\.mypy_cache|\.ruff_cache|\.pytest_cache|[^/]+\.egg-info)(/|$)|\.py[co]$"
)


def test_no_tracked_file_names_a_place_of_one_machine() -> None:
    found = {}
    for path in tracked():
        text = path.read_bytes()
        if b"\0" in text or path == Path(__file__).resolve():
            continue
        if hits := [m.group() for m in PLACE.finditer(text.decode(errors="replace"))]:
            found[str(path.relative_to(ROOT))] = hits
    assert not found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('cd "/work/main"', True),
        ("/root/.cache", True),
        ("see /home/anna/data", True),
        ("https://pypi.org/simple", True),
        ("files.pythonhosted.org", True),
        ("runs/work/last", False),
        ("the root/leaf of ./work/x", False),
        ("install it from PyPI", False),
    ],
)
def test_the_check_of_places_catches_planted_ones(text: str, found: bool) -> None:
    assert bool(PLACE.search(text)) is found


def test_no_tracked_file_is_large() -> None:
    assert [str(p.relative_to(ROOT)) for p in tracked() if p.stat().st_size > 500_000] == []


def test_no_leftover_is_tracked() -> None:
    assert [str(p.relative_to(ROOT)) for p in tracked() if LEFTOVER.search(str(p.relative_to(ROOT)))] == []
    assert LEFTOVER.search("engine/__pycache__/loop.cpython-311.pyc")
    assert LEFTOVER.search("hmtl.egg-info/PKG-INFO")
    assert LEFTOVER.search(".venv")  # a link


# --- recipes -----------------------------------------------------------------------------------------------------


def recipe_faults(name: str, source: str) -> list[str]:
    """What keeps a recipe file from being one experiment, told by its docstring and written in flat lines."""
    tree = ast.parse(source)
    doc = ast.get_docstring(tree) or ""
    faults = [f"no line {word}:" for word in ("Source", "Expect", "Differs", "Run", "Try") if f"\n{word}:" not in doc]
    stem = name.removesuffix(".py")
    if not re.search(rf"\b{stem}\b", doc.partition("\nRun:")[2].partition("\nTry:")[0]):
        faults.append(f"Run: does not name {stem}")
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    faults += [f"line {n.lineno} defines something" for n in ast.walk(tree) if isinstance(n, definitions)]
    if (lines := source.count("\n")) > 100:
        faults.append(f"{lines} lines")
    return faults


def test_every_recipe_is_flat_and_says_what_it_is() -> None:
    recipes = [f for f in python_files("recipes") if f.name != "__init__.py"]
    assert recipes
    assert not {f.name: faults for f in recipes if (faults := recipe_faults(f.name, f.read_text()))}


def test_the_check_of_recipes_catches_planted_faults() -> None:
    good = '"""A try.\n\nSource: ours\nExpect: 1\nDiffers: -\nRun: hmtl train a\nTry: y\n"""\nrecipe = 1\n'
    assert recipe_faults("a.py", good) == []
    assert recipe_faults("b.py", good) == ["Run: does not name b"]
    assert recipe_faults("a.py", good.replace("Expect", "Hope")) == ["no line Expect:"]
    assert recipe_faults("a.py", good + "def f(): pass\n") == ["line 10 defines something"]
    assert recipe_faults("a.py", good + "\n" * 100) == ["109 lines"]


# --- documents ---------------------------------------------------------------------------------------------------

DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
LONGEST_README = 200


def commands(document: str) -> list[str]:
    """The code of a Markdown text: its fenced blocks line by line, then its inline spans."""
    fenced = re.findall(r"^```.*?\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", document, flags=re.MULTILINE | re.DOTALL))
    return [line.strip() for block in fenced for line in block.splitlines()] + inline


def missing(document: str) -> list[str]:
    """Modules, files, recipes, commands and make targets which a document's code names and which are not there."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    absent = []
    for command in commands(document):
        for module in re.findall(r"python[\d.]* -m ([\w.]+)", command):
            file = ROOT / module.replace(".", "/")
            ours = module.partition(".")[0] in ARROWS
            here = file.with_suffix(".py").is_file() or (file / "__main__.py").is_file()
            if not (here if ours else importlib.util.find_spec(module)):
                absent.append(module)
        # Folders end with a slash; what is written in capitals stands for a name.
        absent += [
            path
            for path in re.findall(rf"(?<![\w./-])(?:docs|{'|'.join(ARROWS)})/[a-z0-9_./-]*(?![A-Z{{<*])", command)
            if not ((ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file())
        ]
        absent += [
            f"hmtl {word}" for word in re.findall(r"(?<!\w)hmtl ([a-z]+)", command) if word not in (*MODULES, "recipes")
        ]
        absent += [
            name
            for name in re.findall(r"hmtl (?:train|table|recipes copy|bench step) ([a-z]\w*)(?![\w./])", command)
            if name not in catalogue.names()
        ]
        if call := re.match(r"(?:\w+=\S+ )*make ((?:[a-z-]+ ?)+)", command):
            absent += [target for target in call.group(1).split() if target not in targets]
    return absent


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    assert missing(text) == []
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).is_file()] == []


def test_the_check_of_documents_catches_planted_faults() -> None:
    text = """Make sure to `make dinner` and run `python -m engine.nothing`; make sure twice.
```bash
make test         # not dinner
python3.12 -m venv .venv
python -m kernels.nothing recipes/nothing.py
hmtl train demo:supervised --out runs/a
hmtl train nobody
hmtl cook fer2013_hmtl
```
Files are `kernels/views/op.py`, `kernels/NOUN/`, `kernels/cooking/`, `engine/tasks/` and `engine/cook.py`.
"""
    told = ["dinner", "engine.nothing", "kernels.nothing", "recipes/nothing.py", "hmtl cook", "nobody"]
    assert sorted(missing(text)) == sorted([*told, "kernels/cooking/", "engine/cook.py"])


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") < LONGEST_README
    assert [name for name in DOCUMENTS if name != "README.md" and f"]({name})" not in text] == []


def test_the_map_names_ten_changes_and_contributing_opens_with_the_way_of_a_batch() -> None:
    rows = re.findall(r"^\| (?!I want|---)", (ROOT / "docs" / "where.md").read_text(), re.MULTILINE)
    assert len(rows) >= 10
    assert (ROOT / "CONTRIBUTING.md").read_text().startswith("# Contributing\n\n## The way of a batch\n\n```\n")


def test_the_newest_version_of_the_changelog_is_the_projects() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [h for h in headings if h != "Unreleased"]
    assert headings
    assert "Unreleased" not in headings[1:]
    # Before the first release everything is under Unreleased.
    assert not released or released[0] == PROJECT["project"]["version"]


def test_the_citation_names_the_projects_version_and_licence() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['project']['version']}\n" in citation
    assert f"\nlicense: {PROJECT['project']['license']}\n" in citation


def test_the_licence_is_the_one_pyproject_names() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
