"""Imports point one way, the heavy ones stay in their places, and names are what `__all__` says."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "fervid"

#: Every module may import those before it. A new module has to find its place here.
ORDER = (
    "errors", "labels", "stopwatch", "folders", "pairing", "likeness", "batches", "parts",
    "video", "config", "frames", "pieces", "quality", "faces", "adaptive", "shots", "tracks", "emotions",
    "timeline", "smoothing", "persons", "arrays", "store", "paths", "source", "description", "pipeline",
    "inputs", "jobs", "manifest", "worker", "engine", "shards", "engines", "bulk",
    "", "cli.shared", "cli.line", "cli.bulk", "cli.views", "cli.report", "cli.lab", "cli.study", "cli", "__main__",
)  # fmt: skip
#: These stand beside the line: who may import them, and only within a function.
BESIDE = {
    "backends": {"video", "config", "pipeline", "engine", "shards", "engines", "cli", "backends", "lab", "views"},
    "views": {"cli", "views", ""},
    "lab": {"cli", "lab", ""},
    "study": {"cli", "study", ""},
}
#: What a backend may know of the line: the types and protocols that it serves.
FOR_BACKENDS = {
    "errors", "labels", "stopwatch", "batches", "parts", "video", "frames", "likeness", "quality", "faces", "emotions",
    "config", "jobs", "worker", "engine", "persons", "pieces",
}  # fmt: skip
HEAVY = {"av", "decord", "openvino", "torch", "torchvision", "torchcodec", "facenet_pytorch", "ray"}
#: Slow to load or optional: only within a function, by whoever draws or explains or balances.
LATE = {"matplotlib": {"views", "lab"}, "captum": {"lab"}, "imblearn": {"lab"}, "sklearn": {"lab"}}


def modules() -> dict[str, Path]:
    """Every module of fervid by its name within the package; the package itself is ""."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def _imports(tree: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
    """Those for type checkers are no imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", lazy) for alias in node.names)
        else:
            yield from _imports(node, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@cache
def imports(module: str) -> list[tuple[str, bool]]:
    """Every import as (dotted name, whether it waits for a call)."""
    return list(_imports(tree(module), False))


@cache
def own_imports(module: str) -> list[tuple[str, bool]]:
    """The modules of fervid that one of them imports: "store", "backends.nets", "" for the package."""
    found = []
    for name, lazy in imports(module):
        if name.split(".")[0] == "fervid":
            inner = name.removeprefix("fervid").removeprefix(".")
            while inner not in MODULES:  # a name within a module
                inner = inner.rpartition(".")[0]
            found.append((inner, lazy))
    return found


def package(module: str) -> str:
    return module.split(".")[0]


ON_THE_LINE = [m for m in MODULES if package(m) not in BESIDE]
BESIDE_IT = [m for m in MODULES if package(m) in BESIDE]


def test_every_module_has_its_place():
    assert set(ON_THE_LINE) <= set(ORDER)


@pytest.mark.parametrize("module", ON_THE_LINE)
def test_imports_point_one_way(module):
    for imported, lazy in own_imports(module):
        if package(imported) in BESIDE:
            assert lazy and package(module) in BESIDE[package(imported)], f"{module or 'fervid'} imports {imported}"
        elif imported == "":
            assert package(module) in ("pipeline", "jobs", "engine", "cli"), (
                f"{module} imports the package"
            )  # its version
        else:
            assert ORDER.index(imported) < ORDER.index(module), f"{module or 'fervid'} imports {imported}"


@pytest.mark.parametrize("module", BESIDE_IT)
def test_what_stands_beside_the_line_knows_its_place(module):
    for imported, _ in own_imports(module):
        assert package(imported) not in ("cli", "__main__")
        if package(imported) in BESIDE:
            assert package(module) in BESIDE[package(imported)], f"{module} imports {imported}"
        elif package(module) == "backends" and imported:
            assert imported in FOR_BACKENDS, f"{module} imports {imported}"


@pytest.mark.parametrize("room", ["lab", "study"])
def test_lab_and_study_are_imported_by_nothing_on_the_line(room):
    users = {m for m in MODULES for imported, _ in own_imports(m) if package(imported) == room and package(m) != room}
    assert users <= {f"cli.{room}", ""}


@pytest.mark.parametrize("module", MODULES)
def test_heavy_imports_stay_in_backends_and_lab(module):
    heavy = {name.split(".")[0] for name, _ in imports(module)} & HEAVY
    assert not heavy or package(module) in ("backends", "lab"), f"{module} imports {heavy}"


@pytest.mark.parametrize("module", MODULES)
def test_late_imports_wait_for_a_call(module):
    for name, lazy in imports(module):
        if name.split(".")[0] in LATE:
            assert lazy and package(module) in LATE[name.split(".")[0]], f"{module} imports {name}"


def test_importing_the_command_line_loads_nothing_heavy():
    program = "import sys, fervid, fervid.cli; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"fervid", "typer"} <= loaded
    assert not loaded & (HEAVY | {"numpy", "pandas", "pyarrow", "scipy", "PIL", "matplotlib", "safetensors"})


def test_the_line_itself_loads_no_torch():
    """Its models do: who brings others, as the workers in these tests do, does not wait for it."""
    program = """
import sys
from pathlib import Path
from fervid.config import Config
from fervid.pipeline import process_video
from tests.poison import load_fakes
process_video(Path("sample_videos/one_face.mp4"), None, Config(end_s=1), load_fakes(Config()))
print(*sys.modules)
"""
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "hypothesis"} & set(done.stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_names_in_all_exist(module):
    body = tree(module).body
    defined, listed = names(body), None
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = ast.literal_eval(node.value)
    if listed is None:
        assert module in BESIDE or module == "__main__", f"{module} has no __all__"
        return
    assert sorted(set(listed)) == sorted(listed)
    assert set(listed) <= defined


def names(body: list[ast.stmt]) -> set[str]:
    """What statements define at the top of a module."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign):
            found.add(ast.unparse(node.target))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_nothing_private_is_imported_across_modules(module):
    for name, _ in imports(module):
        if name.startswith("fervid."):
            assert not name.rpartition(".")[2].startswith("_") or name == "fervid.__version__", f"{module}: {name}"
