"""What the library offers: names of the stubs, an import that loads nothing, and never PyTorch."""

import ast
import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
STUBS = {
    ".".join(path.parent.relative_to(ROOT).parts): path
    for path in sorted((ROOT / "singan_jax").glob("**/__init__.pyi"))
}
QUICK = {
    **{"min_size": 14, "max_size": 17, "num_layers": 2, "d_steps": 1, "g_steps": 1},
    **{"steps_per_scale": 2, "lr_decay_step": 1},
}
# Loads every public name, trains one member, and says whether PyTorch was loaded on the way.
TRAIN = f"""
import importlib, sys
for module in {list(STUBS)}:
    module = importlib.import_module(module)
    for name in module.__all__:
        getattr(module, name)
import tiny
sys.argv[1:] = [sys.argv[1], {json.dumps(QUICK)!r}, "1", "0"]
tiny.main()
print("torch" in sys.modules)
"""


def python(code, *arguments, path=()):
    """What a fresh process prints, with `path` before the packages that are installed."""
    folders = [*map(str, path), str(ROOT), str(ROOT / "tests/helpers")]
    folders += filter(None, [os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def listed(stub):
    """The names that a stub imports."""
    nodes = ast.parse(stub.read_text()).body
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {alias.asname for node in imports for alias in node.names}


@pytest.mark.parametrize("package", STUBS)
def test_every_name_of_a_stub_is_there(package):
    module = importlib.import_module(package)
    names = listed(STUBS[package])
    assert len(names) > 2
    assert set(module.__all__) == names
    assert names <= set(dir(module))
    assert all(getattr(module, name) is not None for name in names)


def test_importing_the_library_loads_nothing_else():
    code = "import sys; before = {*sys.modules}; import singan_jax; print(*{*sys.modules} - before)"
    loaded = {name.split(".")[0] for name in python(code)}
    own = loaded - {*sys.stdlib_module_names}
    assert own == {"singan_jax", "lazy_loader"}


def test_a_broken_torch_does_not_matter(tmp_path):
    fake = tmp_path / "fake/torch"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise RuntimeError('torch was imported')")
    import_it = "try:\n  import torch\nexcept RuntimeError as error:\n  print(error)"
    assert python(import_it, path=[fake.parent]) == ["torch", "was", "imported"]
    assert python(TRAIN, tmp_path / "fleet", path=[fake.parent]) == ["False"]
    assert (tmp_path / "fleet/fleet.json").exists()


@pytest.mark.torch
def test_training_does_not_load_torch(tmp_path):
    pytest.importorskip("torch")
    assert python(TRAIN, tmp_path / "fleet") == ["False"]
