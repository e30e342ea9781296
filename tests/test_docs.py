"""Documentation: docs/api.md runs and names all that is public; what pages name is there."""

import ast
import dataclasses
import pathlib
import re
import shutil

import goldens_io
import jax
import numpy as np
import pytest
import tiny

import singan_jax
from singan_jax import config, runtime
from singan_jax.images.read import write_png

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/api.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("singan_jax", "classify", "data_pipeline", "launch")
STUBS = sorted((ROOT / "singan_jax").glob("**/__init__.pyi"))
RUN = "TrainedModels/balloons/scale_factor=0.750000,alpha=10"
# Two scales, of which the finer one is just large enough for the measures.
CONFIG = dataclasses.replace(
    tiny.CONFIG,
    **{"min_size": 14, "max_size": 17, "num_layers": 2, "d_steps": 1, "g_steps": 1},
)


def blocks(text, kind):
    """Yields the code blocks of a page, each behind as many empty lines as precede it there."""
    for match in re.finditer(r"^```(\w.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        if match[1] == kind:
            yield "\n" * text.count("\n", 0, match.start(2)) + match[2]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the blocks start with: a working folder with the files of the page, quick settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(config.PRESETS, "quick", lambda: CONFIG)
    for place in (runtime, singan_jax):  # conftest.py has done it
        monkeypatch.setattr(place, "configure_jax", lambda: None)
    for folder in ("photos", "masks", pathlib.Path(RUN).parent):
        pathlib.Path(folder).mkdir(parents=True)
    for seed, name in enumerate(("photos/church", "photos/flower", "painting")):
        write_png(f"{name}.png", tiny.image(seed).pixels)
    mask = np.zeros((*tiny.image(0).shape[:2], 1), np.uint8)
    mask[5:11, 6:12] = 255
    write_png("masks/flower.png", mask)
    shutil.copytree(goldens_io.FOLDER / "official_run", RUN)
    jax.config.update("jax_disable_most_optimizations", True)  # nearly all of the time is compiling
    yield {"__name__": "page"}
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


def run(kind, names):
    found = list(blocks(PAGE.read_text(), kind))
    for block in found:
        exec(compile(block, PAGE, "exec"), names)  # tracebacks name the line of the page
    return len(found)


def test_the_page_of_the_api_runs(names):
    assert run("python", names) > 15
    written = {path.name for path in pathlib.Path().iterdir()}
    assert {"fleet.html", "measures", "painted", "harmonized", "flat", "wide", "moving"} <= written


@pytest.mark.torch
def test_the_page_of_the_api_reads_official_runs(names):
    pytest.importorskip("torch")
    exec("import singan_jax", names)
    assert run("python torch", names) == 1
    assert len(list(pathlib.Path("balloons/balloons").glob("*.png"))) == 2


@pytest.mark.slow
def test_the_example_of_the_readme_runs(names):
    (block,) = blocks((ROOT / "README.md").read_text(), "python")
    exec(compile(block, "README.md", "exec"), names)


def public_names(stub):
    """The names that a stub says can be imported."""
    for node in ast.parse(stub).body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.asname for alias in node.names)
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.parent.name)
def test_every_public_name_is_on_the_page(stub):
    page = PAGE.read_text()
    names = list(public_names(stub.read_text()))
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", page)] == []


def test_blocks_keep_their_lines():
    page = "# Title\n\n```sh\nls\n```\n\n```python torch\nx\n```\n```python\n1 / 0\n\ny\n```\n"
    assert list(blocks(page, "python")) == ["\n" * 10 + "1 / 0\n\ny\n"]
    assert list(blocks(page, "python torch")) == ["\n" * 7 + "x\n"]


def test_public_names_of_a_stub():
    stub = "from . import a as a\nfrom .b import C as C, d as d\n\n__version__: str"
    assert list(public_names(stub)) == ["a", "C", "d", "__version__"]


def unknown_files(text):
    """Files of the project that a page names and that are not there."""
    folders = [ROOT, *(ROOT / package for package in PACKAGES)]
    rooms = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
    for name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|pyi|json|md|sh|yaml))`", text):
        known = name.split("/")[0] in rooms
        if known and not any((folder / name).exists() for folder in folders):
            yield name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_commands_that_pages_name_exist(page):
    text = page.read_text()
    assert list(unknown_files(text)) == []
    commands = set(re.findall(r"python -m launch\.(\w+)", text))
    assert {name for name in commands if not (ROOT / f"launch/{name}.py").exists()} == set()
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_file_that_is_gone_is_found():
    text = (
        "`scale/train_step.py` `singan_jax/shards.py` `conv/table.json` `made/by/you.py` `fleet.py`"
    )
    assert list(unknown_files(text)) == ["singan_jax/shards.py"]


def test_the_rules_name_their_tests():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in tests} == set()
