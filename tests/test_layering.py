"""Imports follow the order of folders, heavy ones stay in the modules listed, and `__all__` lists what exists."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import fervid

ROOT = Path(__file__).parent.parent / "fervid"

#: The folders and files at the top of fervid/, in order: a module may import from its own and from those before it,
#: lazily too. A new one needs a place here.
ORDER = [
    "errors", "_version", "registry", "clock", "labels", "types", "runtime", "files", "config", "networks",
    "video", "shots", "faces", "tracks", "emotions", "timeline",
    "provenance", "cuda", "models", "pipeline", "self_test", "jobs", "studies", "views", "lab", "diagnostics", "api",
    "", "cli", "__main__",
]  # fmt: skip
#: The one import against the order: the package loads the API by name (PEP 562), and api never imports the package.
LOADS_ITS_API = ("", "api")
#: Libraries that are heavy or optional, and every module that may import them, lazily or not.
HEAVY = {"av", "decord", "openvino", "torch", "torchvision", "torchcodec", "facenet_pytorch", "ray"}
MAY_IMPORT_HEAVY = {
    "cuda.batch_size", "cuda.boxes", "cuda.crops", "cuda.mtcnn", "cuda.pipeline",
    "diagnostics",
    "emotions.torch_classifier",
    "faces.centerface_network", "faces.integral_image", "faces.mtcnn", "faces.mtcnn_boxes", "faces.mtcnn_networks",
    "jobs.ray_actor", "jobs.ray_engine",
    "lab.evaluation.attribution", "lab.evaluation.explain",
    "lab.training.augment", "lab.training.batches", "lab.training.consistency", "lab.training.degrade",
    "lab.training.distillation", "lab.training.distributed", "lab.training.export_model", "lab.training.mixture",
    "lab.training.optimisation", "lab.training.pretrained", "lab.training.resample", "lab.training.targets",
    "lab.training.trainer",
    "networks.base", "networks.dlib_resnet", "networks.downloads", "networks.mobilefacenet", "networks.published",
    "networks.seresnet",
    "runtime.cuda_graphs", "runtime.device",
    "tracks.dlib_embedder", "tracks.facenet_embedder",
    "video.readers.containers", "video.readers.decord", "video.readers.frame_geometry",
    "video.readers.frame_skipping", "video.readers.indexed", "video.readers.nvdec",
    "video.readers.pyav", "video.readers.pyav_frame", "video.readers.segment", "video.readers.tensor_frame",
    "video.readers.tensor_resize", "video.readers.timestamps", "video.readers.torchcodec",
    "video.writers.audio", "video.writers.clip",
}  # fmt: skip
#: Slow to load or optional: only within functions, in these folders.
LATE = {"matplotlib": {"views", "lab"}, "imblearn": {"lab"}}


def modules() -> dict[str, Path]:
    """Every module of fervid by its name within the package; the package itself is ""."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def _imports(tree: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
    """Imports for type checkers alone do not count."""
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
    """Every import as (dotted name, whether it is within a function)."""
    return list(_imports(tree(module), False))


@cache
def own_imports(module: str) -> list[tuple[str, bool]]:
    """The modules of fervid that one of them imports: "types", "networks.base", "" for the package."""
    found = []
    for name, lazy in imports(module):
        if name.split(".")[0] == "fervid":
            inner = name.removeprefix("fervid").removeprefix(".")
            while inner not in MODULES:  # a name within a module
                inner = inner.rpartition(".")[0]
            found.append((inner, lazy))
    return found


def folder(module: str) -> str:
    return module.split(".")[0]


def test_every_folder_has_its_place():
    assert sorted(ORDER) == sorted({folder(module) for module in MODULES})


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_order(module):
    for imported, _ in own_imports(module):
        if (module, imported) != LOADS_ITS_API:
            assert ORDER.index(folder(imported)) <= ORDER.index(folder(module)), (
                f"{module or 'fervid'} imports {imported}"
            )


def test_there_is_no_import_cycle():
    """Lazy imports count, and so do cycles within a folder."""
    waiting = {m: {name for name, _ in own_imports(m)} - {m} for m in MODULES}
    waiting[""].discard("api")
    while free := [m for m, imported in waiting.items() if not imported & waiting.keys()]:
        for module in free:
            del waiting[module]
    assert not waiting, f"these import each other: {sorted(waiting)}"


def test_heavy_imports_stay_in_the_modules_listed():
    heavy = {m for m in MODULES if {name.split(".")[0] for name, _ in imports(m)} & HEAVY}
    assert heavy == MAY_IMPORT_HEAVY


def test_every_exception_is_needed():
    """A stale exception fails."""
    assert LOADS_ITS_API[1] in {name for name, _ in own_imports(LOADS_ITS_API[0])}
    found = {
        library: {folder(m) for m in MODULES for name, _ in imports(m) if _top(name) == library} for library in LATE
    }
    assert found == LATE


def _top(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_late_imports_are_within_functions(module):
    for name, lazy in imports(module):
        if name.split(".")[0] in LATE:
            assert lazy and folder(module) in LATE[name.split(".")[0]], f"{module} imports {name}"


def test_importing_the_command_line_loads_nothing_heavy():
    program = "import sys, fervid, fervid.cli; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"fervid", "typer"} <= loaded
    assert not loaded & (HEAVY | {"numpy", "pandas", "pyarrow", "scipy", "PIL", "matplotlib", "safetensors"})


def test_the_pipeline_itself_loads_no_torch():
    """Only its models do: the fake ones of these tests do not wait for it."""
    program = """
import sys
from pathlib import Path
from fervid.config import Config
from fervid.pipeline import process_video
from tests.helpers.failing_jobs import load_fakes
process_video(Path("sample_videos/one_face.mp4"), None, Config(end_s=1), load_fakes(Config()))
print(*sys.modules)
"""
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "hypothesis"} & set(done.stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_names_in_all_exist(module):
    defined, listed = names(tree(module).body), names_in_all(module)
    if listed is None:
        assert module == "__main__" or MODULES[module].name == "__init__.py", f"{module} has no __all__"
        return
    assert listed <= defined | (names_in_all("api") | set(CLASSES) if module == "" else set())


#: The public classes, which the package loads from where they are.
CLASSES: dict[str, str] = vars(fervid)["_CLASSES"]


def test_public_classes_are_defined_in_their_modules():
    for name, module in CLASSES.items():
        assert name in names_in_all(module.removeprefix("fervid."))


def names_in_all(module: str) -> set[str] | None:
    """What a module lists in `__all__`, once each; None where it has no such list."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = ast.literal_eval(node.value)
            assert len(set(listed)) == len(listed)
            return set(listed)
    return None


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
            assert not name.rpartition(".")[2].startswith("_") or name.startswith("fervid._version."), (
                f"{module}: {name}"
            )
