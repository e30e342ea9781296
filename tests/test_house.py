"""The house rules: who imports whom, how long things are, what is declared; style and types."""

import ast
import configparser
import functools
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

import singan_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("singan_jax", "classify", "data_pipeline", "launch")
TOP_LEVEL = {
    *PACKAGES,
    *("tests", "docs", ".ci", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md"),
    *("CONTRIBUTING.md", "Makefile", "setup.cfg", "pyproject.toml", ".gitignore", ".gitattributes"),
    ".pre-commit-config.yaml",
}
CHECKPOINT = "singan_jax/workdir/checkpoint.py"
SHARDING = "singan_jax/devices/sharding.py"
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60  # about 50 is the aim

# What each package must not import, by top-level name.
FORBIDDEN = {
    "singan_jax": {
        *("tensorflow_datasets", "pandas"),
        *("classify", "data_pipeline", "launch"),
    },
    "data_pipeline": {
        *("jax", "flax", "optax", "orbax", "torch"),
        *("singan_jax", "classify", "launch"),
    },
    "classify": {"launch"},
    "launch": set(),
}
# What it may import of these all the same: how files, paths, names and tables are read.
ALLOWED = {"singan_jax": ("data_pipeline.files", "data_pipeline.errors")}
# Within a package, rooms and the files beside them in layers: each may import what stands in
# earlier layers or in its own. What is not listed may be imported by none of them.
LAYERS = {
    "singan_jax": (
        ("errors", "backend"),
        ("conv", "config", "runtime", "torch_files"),
        ("scale",),
        ("images", "devices"),
        ("workdir",),
        ("samples",),
        ("fleet", "official", "evaluate"),
        ("manipulate",),
    ),
    "data_pipeline": (
        ("errors", "files", "mammograms", "resizing"),
        ("mammogram_files", "radiomics", "patches", "patch_records", "near_copies", "pool"),
        ("bcdr", "mias", "outlines", "thesis_format", "splits", "examples", "query", "duplicates"),
        ("units", "overview"),
        ("phantom", "cut", "thesis_folder"),
        ("extract",),
        ("builders",),
        ("bcdr_patches", "mias_patches", "thesis_patches"),
        ("load",),
    ),
    "classify": (
        ("cells", "crops", "npz_files"),
        ("plan", "backbones", "statistics"),
        ("classifiers", "costs"),
        ("study",),
        ("report",),
    ),
}
# But for --help, and a flag of pip's.
FLAG = re.compile(r"(^|\s)--(?!help|force-reinstall)[a-z]|\blaunch\.")
SHARDING_NAMES = {"Mesh", "AbstractMesh", "make_mesh", "shard_map"}


def imports(tree):
    """Yields (full module name, whether at module level, line) of each import."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in inside, node.lineno


def dotted(node):
    """`a.b.c` of an attribute chain, or an empty string."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def import_faults(path, tree):
    package = path.split("/")[0]
    for name, at_module_level, line in imports(tree):
        top = name.split(".")[0]
        allowed = name.startswith(tuple(f"{part}." for part in ALLOWED.get(package, ())))
        if top in FORBIDDEN.get(package, ()) and not (allowed or name in ALLOWED.get(package, ())):
            yield f"{path}:{line}: {package} imports {top}"
        may_need_torch = package == "tests" or "benchmark" in path
        if top == "torch" and at_module_level and not may_need_torch:
            yield f"{path}:{line}: torch is imported at module level"
        if top == "orbax" and package in PACKAGES and path != CHECKPOINT:
            yield f"{path}:{line}: only {CHECKPOINT} imports orbax"


def room(module):
    """(package, room) of a module's dotted name, as ("singan_jax", "scale")."""
    package, name, *_ = [*module.split("."), ""]
    return package, name


def layer_faults(path, tree):
    """Imports of a room from a later layer of the same package."""
    package, own = room(path.removesuffix(".py").replace("/", "."))
    layer = {name: n for n, names in enumerate(LAYERS.get(package, ())) for name in names}
    if own not in layer:
        return
    for name, _, line in imports(tree):
        other_package, other = room(name)
        if other_package == package and layer.get(other, len(layer)) > layer[own]:
            yield f"{path}:{line}: {own} imports {other or package}, which stands above it"


def sharding_faults(path, tree):
    if path == SHARDING or path.split("/")[0] not in PACKAGES:
        return
    used = [(name, line) for name, _, line in imports(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            used.append((node.id, node.lineno))
        elif isinstance(node, ast.Attribute):
            used.append((dotted(node) or node.attr, node.lineno))
    for name, line in used:
        if SHARDING_NAMES & set(name.split(".")) or name.startswith("jax.distributed"):
            yield f"{path}:{line}: {name} belongs in {SHARDING}"


def spelling_faults(path, tree):
    """Flags and commands in errors, which name settings; `launch.cli` alone spells them."""
    if path.split("/")[0] not in PACKAGES or path == "launch/cli.py":
        return
    for node in ast.walk(tree):
        is_error = isinstance(node, ast.Raise) or (
            isinstance(node, ast.Call) and dotted(node.func).endswith(("Error", "complain"))
        )
        for part in ast.walk(node) if is_error else ():
            text = part.value if isinstance(part, ast.Constant) else ""
            if isinstance(text, str) and FLAG.search(text):
                yield f"{path}:{part.lineno}: {text!r} spells a flag or command"


def length_faults(path, tree, source):
    lines = len(source.splitlines())
    if path.split("/")[0] in PACKAGES and lines > MAX_MODULE_LINES:
        yield f"{path}: {lines} lines, more than {MAX_MODULE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines"


def declaration_faults(path, tree, declared):
    """Imports of distributions whose normalised names are not in `declared`."""
    own = {*PACKAGES, "tests", "conftest", *(p.stem for p in (ROOT / "tests").rglob("*.py"))}
    providers = distributions()
    for name, _, line in imports(tree):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top in own:
            continue
        # What is not installed, such as torch, must be declared under the name imported.
        names = {normalised(provider) for provider in providers.get(top, [top])}
        if top == "jaxlib":  # comes with jax, in the one version that fits
            names = {"jax"}
        if not names & declared:
            yield f"{path}:{line}: {top} is not declared in setup.cfg"


@functools.cache
def distributions():
    return importlib.metadata.packages_distributions()


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_names(text):
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {normalised(re.match(r"[\w.-]+", line).group()) for line in lines if line}


def declared_for(path):
    """Normalised names of the distributions that the file at path may import."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    names = requirement_names(config["options"]["install_requires"])
    for extra in ("torch", "dicom"):
        names |= requirement_names(config["options.extras_require"][extra])
    if path.startswith("tests/"):
        names |= requirement_names(config["options.extras_require"]["dev"])
    return names


def sources():
    """Yields (path relative to the root, text) of each Python file of the project."""
    for folder in (*PACKAGES, "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def faults(path, source, declared):
    tree = ast.parse(source)
    yield from import_faults(path, tree)
    yield from layer_faults(path, tree)
    yield from sharding_faults(path, tree)
    yield from spelling_faults(path, tree)
    yield from length_faults(path, tree, source)
    yield from declaration_faults(path, tree, declared)


def test_code_keeps_the_rules():
    assert [f for path, text in sources() for f in faults(path, text, declared_for(path))] == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("singan_jax/x.py", "import pandas as pd", "singan_jax imports pandas"),
        ("singan_jax/x.py", "from tensorflow_datasets import load", "imports tensorflow_datasets"),
        ("singan_jax/x.py", "def f():\n  import launch.demo", ":2: singan_jax imports launch"),
        ("singan_jax/a/x.py", "from classify import study", "singan_jax imports classify"),
        ("singan_jax/x.py", "from data_pipeline import bcdr", "singan_jax imports data_pipeline"),
        ("singan_jax/x.py", "import data_pipeline", "singan_jax imports data_pipeline"),
        ("singan_jax/x.py", "from data_pipeline.filesets import f", "imports data_pipeline"),
        ("data_pipeline/x.py", "import jax.numpy as jnp", "data_pipeline imports jax"),
        ("data_pipeline/x.py", "from singan_jax import images", "imports singan_jax"),
        ("data_pipeline/x.py", "from flax import linen", "data_pipeline imports flax"),
        ("classify/x.py", "from launch import study", "classify imports launch"),
        ("classify/x.py", "import torch", "torch is imported at module level"),
        ("launch/x.py", "try:\n  import torch.nn\nexcept ImportError: pass", "at module level"),
        ("launch/x.py", "class A:\n  from torch import nn", "at module level"),
        ("data_pipeline/x.py", "def f():\n  import torch", "data_pipeline imports torch"),
        (
            "launch/x.py",
            "def f():\n  import orbax.checkpoint",
            "only singan_jax/workdir",
        ),
        ("singan_jax/x.py", "from jax.sharding import Mesh", "jax.sharding.Mesh belongs"),
        ("singan_jax/x.py", "import jax\njax.sharding.Mesh(d, 'x')", ":2: jax.sharding.Mesh"),
        ("singan_jax/x.py", "import jax\njax.shard_map(f)", "jax.shard_map belongs"),
        ("classify/x.py", "import jax\njax.distributed.initialize()", "jax.distributed.init"),
        ("launch/x.py", "from jax import distributed", "jax.distributed belongs"),
        ("launch/x.py", "g().make_mesh(4)", "make_mesh belongs"),
        ("singan_jax/scale/x.py", "from singan_jax.fleet import group", "scale imports fleet"),
        ("singan_jax/images/x.py", "from singan_jax import workdir", "images imports workdir"),
        ("singan_jax/fleet/x.py", "def f():\n  import singan_jax", ":2: fleet imports singan_jax"),
        ("classify/plan/x.py", "import classify.study", "plan imports study"),
        ("data_pipeline/files/x.py", "from data_pipeline import bcdr", "files imports bcdr"),
        ("data_pipeline/errors.py", "from data_pipeline.bcdr import f", "errors imports bcdr"),
        ("classify/x.py", "raise StudyError(f'{x}: give --seed')", "spells a flag"),
        ("launch/x.py", "cli.complain('run launch.merge')", "spells a flag or command"),
        ("launch/x.py", "import cv2", "cv2 is not declared"),
        ("launch/x.py", "import pytest", "pytest is not declared"),
        ("launch/x.py", "def f():\n  import requests", "requests is not declared"),
        ("launch/x.py", "#\n" * 301, "301 lines"),
        ("tests/x.py", "def f():\n" + "  pass\n" * 60, "f has 61 lines"),
    ],
)
def test_a_planted_violation_is_found(path, source, fault):
    found = list(faults(path, source, declared_for(path)))
    assert any(fault in line for line in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (CHECKPOINT, "import orbax.checkpoint as ocp"),
        (
            "singan_jax/devices/sharding.py",
            "import jax\nfrom jax.sharding import Mesh\njax.shard_map(f)",
        ),
        ("singan_jax/x.py", "import jax\nimport PIL.Image\nimport skimage"),
        ("singan_jax/fleet/x.py", "from singan_jax.samples import sample"),
        ("singan_jax/x.py", "from data_pipeline.files import names"),
        ("singan_jax/x.py", "from data_pipeline import files\nimport data_pipeline.errors"),
        ("data_pipeline/files/x.py", "from data_pipeline.errors import DataError"),
        ("data_pipeline/x.py", "def f():\n  import pydicom"),
        ("classify/report/x.py", "from classify import study\nimport singan_jax"),
        ("classify/x.py", "def f():\n  import torch"),
        ("singan_jax/x.py", "def f():\n  import torch"),
        ("launch/benchmark.py", "import torch"),
        ("launch/x.py", "DEFINE_string('seed', None, 'as --seed')\nraise InputError('a `seed`')"),
        ("launch/x.py", "import sklearn, absl.flags, data_pipeline, singan_jax, classify"),
        ("classify/x.py", "import singan_jax, data_pipeline, pandas, tensorflow_datasets"),
        ("tests/x.py", "import torch, pytest, hypothesis, orbax.checkpoint"),
        ("tests/x.py", "#\n" * 301 + "def f():\n" + "  pass\n" * 59),
    ],
)
def test_what_is_allowed_is_not_a_fault(path, source):
    assert list(faults(path, source, declared_for(path))) == []


def test_every_room_has_its_layer():
    for package, layers in LAYERS.items():
        found = {p.name.removesuffix(".py") for p in (ROOT / package).iterdir()}
        found -= {"__init__", "__init__.pyi", "py.typed", "__pycache__"}
        assert found == {name for names in layers for name in names}


def modules():
    """The dotted name of every module of the packages, and its syntax tree."""
    for path, text in sources():
        if path.split("/")[0] in PACKAGES:
            parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
            yield ".".join(parts), ast.parse(text)


def module_graph():
    """{module: modules of the packages that it imports}."""
    trees = dict(modules())
    graph = {}
    for module, tree in trees.items():
        named = [name for name, _, _ in imports(tree)]
        found = [name if name in trees else name.rpartition(".")[0] for name in named]
        graph[module] = {name for name in found if name in trees} - {module}
    return graph


def cycle(graph):
    """Modules that import each other in a circle, or an empty list."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        found = next((c for other in sorted(graph[module]) if (c := visit(other))), [])
        path.pop()
        done.add(module)
        return found

    return next((c for module in sorted(graph) if (c := visit(module))), [])


def test_no_module_imports_in_a_circle():
    assert cycle(module_graph()) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def room_graph(package):
    """{room: rooms of the same package that its modules import}."""
    graph = {name: set() for layer in LAYERS[package] for name in layer}
    for module, imported in module_graph().items():
        own_package, own = room(module)
        for other_package, other in map(room, imported):
            if own_package == other_package == package and other not in ("", own):
                graph[own].add(other)
    return graph


def reduced(graph):
    """The arrows of a graph without circles that no way over other arrows replaces."""

    def reached(names):
        return set(names).union(*(reached(graph[name]) for name in names))

    def replaced(names):
        return set().union(*(reached(graph[name]) for name in names))

    return {name: others - replaced(others) for name, others in graph.items()}


def figures(page):
    """{package: (arrows, imports, layers)} of the figure and the table of each package's rooms.

    Arrows and imports are {room: rooms}; layers are sets of rooms, from the lowest.
    """
    found = {}
    pattern = r"^## The rooms of `(\w+)`$(.*?)(?=^## |\Z)"
    for package, section in re.findall(pattern, page, re.MULTILINE | re.DOTALL):
        arrows, imported, layers = {}, {}, []
        for start, ends in re.findall(r"^ +(\w+) --> (.+)$", section, re.MULTILINE):
            arrows.setdefault(start, set()).update(re.findall(r"\w+", ends))
        row = r"^\| (\d*) ?\| `(\w+)` \|[^|]+\|([\w ]*)\|$"
        for layer, name, others in re.findall(row, section, re.MULTILINE):
            imported[name] = set(others.split())
            layers += [set()] if layer else []
            layers[-1].add(name)
        found[package] = arrows, imported, layers
    return found


def figure_faults(page):
    """What the figures and tables of rooms on a page say that is not so, or leave out."""
    shown = figures(page)
    if set(shown) != set(LAYERS):
        yield f"there are figures of {sorted(shown)}"
    for package, (arrows, imported, layers) in shown.items():
        true = room_graph(package)
        if layers != [set(names) for names in LAYERS[package]]:
            yield f"{package}: the table has other layers"
        for name in {**true, **imported, **arrows}:
            needed, drawn = true.get(name), arrows.get(name, set())
            if imported.get(name) != needed:
                yield f"{package}: {name} imports {needed}, in the table {imported.get(name)}"
            if drawn != reduced(true).get(name):
                yield f"{package}: {name} imports {needed}, in the figure {drawn}"


def test_figures_show_the_imports_between_rooms():
    assert list(figure_faults((ROOT / "docs/design.md").read_text())) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("fleet --> samples", "fleet --> workdir", "in the figure {'workdir'}"),
        ("    manipulate --> fleet\n", "", "in the figure set()"),
        ("evaluate --> samples &", "evaluate --> conv & samples &", "evaluate imports"),
        ("    config --> errors", "    config --> errors\n    errors --> conv", "{'conv'}"),
        (
            "pure functions | backend config conv |",
            "pure functions | backend config |",
            "in the table {",
        ),
        ("as arrays | errors |", "as arrays | errors conv |", "torch_files imports"),
        ("| 5 | `workdir`", "| | `workdir`", "singan_jax: the table has other layers"),
        ("| | `crops` | random", "| | `crop` | random", "crops imports set(), in the table None"),
        ("## The rooms of `classify`", "## Rooms", "figures of ['data_pipeline', 'singan_jax']"),
    ],
)
def test_a_wrong_figure_is_found(old, new, fault):
    page = (ROOT / "docs/design.md").read_text()
    assert page.count(old) == 1
    found = list(figure_faults(page.replace(old, new)))
    assert any(fault in line for line in found), found


def test_arrows_that_others_replace_are_left_out():
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}
    assert reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}


def unmapped(folder):
    """Files and folders of a room that the docstring of its `__init__` does not list."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    lines = re.findall(
        r"^ *(\S[^.\n]*?)  +\S", text, flags=re.MULTILINE
    )  # names, then what they are
    listed = {name.rstrip("/") for line in lines for name in line.split()}
    held = {path.stem for path in folder.glob("*.py")}
    held |= {path.parent.name for path in folder.glob("*/__init__.py")}
    return held - listed - {"__init__"}


def test_every_room_maps_its_files():
    rooms = [p.parent for name in PACKAGES for p in (ROOT / name).rglob("__init__.py")]
    rooms = [room for room in rooms if len(list(room.glob("*.py"))) > 2]
    assert len(rooms) > 15
    assert {str(room): found for room in rooms if (found := unmapped(room))} == {}


def test_a_file_that_is_not_on_the_map_is_found(tmp_path):
    (tmp_path / "__init__.py").write_text('"""A room.\n\n    one   the first\n"""')
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").touch()
    assert unmapped(tmp_path) == {"two"}


def test_top_level_holds_what_the_design_names():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    listed = done.stdout.splitlines()
    assert {path.split("/")[0] for path in listed} <= TOP_LEVEL


def test_constraints_pin_every_dependency_within_its_range():
    for path in (ROOT / ".ci").glob("constraints-py*.txt"):
        lines = path.read_text().splitlines()
        assert lines == sorted(lines, key=str.lower)
        assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lines)
        pinned = {normalised(line.split("==")[0]) for line in lines}
        assert declared_for("tests/") - {"torch"} <= pinned


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "singan_jax.__version__"}
    version = singan_jax.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_pre_commit_runs_what_make_lint_runs():
    makefile = (ROOT / "Makefile").read_text()
    (lint,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    wanted = [line.strip().replace("$(BIN)", ".venv/bin") for line in lint.splitlines()]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == wanted
    assert all(hook["language"] == "system" for hook in local["hooks"])
    assert not any(hook["pass_filenames"] for hook in local["hooks"])


def run_tool(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing():
    run_tool("ruff", "check", ".")


def test_format_is_ruffs():
    run_tool("ruff", "format", "--check", ".")


def test_types_hold():
    run_tool("mypy")
