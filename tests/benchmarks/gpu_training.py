"""Train for minutes on a GPU: several networks side by side, their ensemble, and one network distilled from it.

Before there is a GPU: `python -m tests.benchmarks.gpu_training pack FOLDER --recipe mobilefacenet --init FILE`, with
`--data` and `--validation` as for `fervid train`. It reads the corpora as `fervid train` does, placed by landmarks, and
writes FOLDER/faces.npz (WebP), FOLDER/recipe.toml and FOLDER/start.safetensors: 42 MB for FER2013 and RAF-DB. Choose a
folder that git ignores.

On the GPU: `python -m tests.benchmarks.gpu_training run FOLDER --out OUT [--plan PLAN.toml]`. Each network of the plan
is a process of its own, by the clock; whenever one is better than before on the validation faces, OUT/NAME.safetensors
is replaced. Then one more network learns from all of them. OUT/results.json has the figures of each network and of the
ensemble, and the facts beside each weights file. It needs neither a detector nor a video decoder.

The plan has a table [networks.NAME] per network and one [student], each with the options in which it differs from
FOLDER/recipe.toml (default: tests/benchmarks/gpu_training.toml). `--seconds S` scales all `minutes` so that the whole
run takes this long; `--device cpu` rehearses it.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.faces.crop import FaceAlignment
from fervid.lab.data.datasets import FaceSet
from fervid.lab.evaluation.evaluate import Predictor, choose_head
from fervid.lab.evaluation.metrics import score
from fervid.lab.training.data import Corpus, DataSource, TrainingData
from fervid.lab.training.recipe import Recipe, load_recipe, recipes
from fervid.lab.training.resample import identity, resample
from fervid.lab.training.train import train

PLAN = Path(__file__).with_suffix(".toml")
FACES, START, RECIPE = "faces.npz", "start.safetensors", "recipe.toml"
#: Quality of the packed WebP images, for less than 45 MB: the mean error is 3 grey values.
QUALITY = 75
#: Seconds of a run for starting processes, reading faces, temperatures and figures.
OVERHEAD_S = 60


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "run", "network"), help="what to do (network: one process of run)")
    parser.add_argument("folder", type=Path, help="folder of the packed faces")
    parser.add_argument("--recipe", type=Path, help="pack: the recipe, as for `fervid train`")
    parser.add_argument("--data", action="append", default=[], help="pack: training faces, as for `fervid train`")
    parser.add_argument("--validation", action="append", default=[], help="pack: faces for validation")
    parser.add_argument("--init", type=Path, help="pack: initial weights of the networks")
    parser.add_argument("--plan", type=Path, default=PLAN, help="the networks to train (default %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=460, help="time of the whole run (default %(default)s)")
    parser.add_argument("--device", default="cuda:0", help="device to train on (default %(default)s)")
    parser.add_argument("--name", help="network: its name in the plan")
    args = parser.parse_args(arguments)
    if args.what == "pack":
        if args.recipe is None:
            parser.error("pack needs --recipe")
        source = DataSource.of(args.data, args.validation, load_recipe(args.recipe), drop_duplicates=True)
        pack(source, args.recipe, args.init, args.folder)
        return
    if args.out is None:
        parser.error(f"{args.what} needs --out")
    plan = read_plan(args.plan, args.seconds)
    if args.what == "network":
        train_network(args.folder, args.out, args.name, plan, args.device)
    else:
        run(args.folder, args.out, plan, args)


# -- packing ------------------------------------------------------------------------------------------------


def pack(source: DataSource, recipe: Path, init: Path | None, folder: Path) -> None:
    """Pack the corpora of a run, its recipe and its initial weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pack(source.read(load_recipe(recipe), print), folder / FACES)
    shutil.copyfile(recipe if recipe.exists() else recipes()[str(recipe)], folder / RECIPE)
    if init is not None:
        shutil.copyfile(init, folder / START)
    sizes = {path.name: f"{path.stat().st_size / 1e6:.1f} MB" for path in sorted(folder.iterdir())}
    print(", ".join(f"{name} {size}" for name, size in sizes.items()))


def write_pack(material: TrainingData, path: Path) -> None:
    """Write all corpora into one file without pickled objects."""
    aligned = json.dumps(material.aligned and material.aligned.to_facts())
    names = [corpus.name for corpus in material.corpora]
    arrays: dict[str, np.ndarray] = {"aligned": np.array(aligned), "names": np.array(names)}
    for corpus in material.corpora:
        for part, faces in (("faces", corpus.faces), ("validation", corpus.validation)):
            key = f"{corpus.name}/{part}/"
            encoded = [_encode(image) for image in faces.image]
            arrays |= {
                key + "name": np.array(faces.name), key + "labelling": np.array(faces.labelling),
                key + "labels": np.array(faces.labels),
                key + "side": np.array(faces.image.shape[1]), key + "colour": np.array(faces.image.ndim == 4),
                key + "size": np.array([len(one) for one in encoded], np.int64),
                key + "image": np.frombuffer(b"".join(encoded), np.uint8), key + "label": faces.label,
            }  # fmt: skip
            if faces.votes is not None:
                arrays |= {
                    key + "votes": faces.votes.astype(np.float16),
                    key + "vote_labels": np.array(faces.vote_labels),
                }
            if faces.placement is not None:
                arrays[key + "placement"] = faces.placement
    np.savez(path, **arrays)


def read_pack(path: Path) -> TrainingData:
    """Read what `write_pack` wrote; images are decoded by all cores."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    corpora = []
    for name in map(str, arrays["names"]):
        parts = []
        for part in ("faces", "validation"):
            one = {key.rpartition("/")[2]: value for key, value in arrays.items() if key.startswith(f"{name}/{part}/")}
            ends = np.cumsum(one["size"])
            pieces = [one["image"][end - size : end].tobytes() for end, size in zip(ends, one["size"])]
            mode = "RGB" if one["colour"] else "L"
            with ThreadPoolExecutor() as pool:
                image = np.stack(list(pool.map(lambda data, mode=mode: _decode(data, mode), pieces)))
            votes = one["votes"].astype(np.float32) if "votes" in one else None
            parts.append(
                FaceSet(
                    str(one["name"]),
                    tuple(map(str, one["labels"])),
                    image,
                    one["label"],
                    votes,
                    tuple(map(str, one.get("vote_labels", ()))),
                    placement=one.get("placement"),
                    labelling=str(one["labelling"]),
                )
            )
        corpora.append(Corpus(name, *parts))
    aligned = json.loads(str(arrays["aligned"]))
    return TrainingData(tuple(corpora), aligned and FaceAlignment.from_facts(aligned))


def _encode(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "webp", quality=QUALITY)
    return file.getvalue()


def _decode(data: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(mode))


# -- the plan -----------------------------------------------------------------------------------------------


def read_plan(path: Path, seconds: float) -> dict[str, dict[str, Any]]:
    """Read the options of each network, `student` last, their minutes scaled to the time of the run."""
    written = tomllib.loads(path.read_text("utf-8"))
    networks: dict[str, dict[str, Any]] = dict(written["networks"]) | {"student": dict(written["student"])}
    together = max(one["minutes"] for name, one in networks.items() if name != "student")
    factor = max(seconds - OVERHEAD_S, seconds / 2) / 60 / (together + networks["student"]["minutes"])
    return {name: {**one, "minutes": one["minutes"] * factor} for name, one in networks.items()}


def recipe_of(folder: Path, changes: Mapping[str, Any], teachers: tuple[str, ...]) -> Recipe:
    """Give the recipe of one network; its start is the packed one, its teachers replace those of the recipe."""
    recipe = load_recipe(folder / RECIPE, **changes)
    start = str(folder / START) if (folder / START).is_file() and recipe.init != "scratch" else recipe.init
    return replace(recipe, init=start, teacher=teachers or recipe.teacher)


# -- training -----------------------------------------------------------------------------------------------


def run(folder: Path, out: Path, plan: Mapping[str, Mapping[str, Any]], args: argparse.Namespace) -> None:
    """Train the networks side by side, then the student, and measure them."""
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in plan if name != "student"]
    command = [sys.executable, "-m", "tests.benchmarks.gpu_training", "network", str(folder), "--out", str(out)]
    command += ["--plan", str(args.plan), "--seconds", str(args.seconds), "--device", args.device, "--name"]
    # a rehearsal on a busy CPU takes as long as it takes
    grace_s = OVERHEAD_S if args.device != "cpu" else 3600
    end = start + grace_s + 60 * max(plan[name]["minutes"] for name in names)
    children = {name: subprocess.Popen([*command, name]) for name in names}
    failed = [name for name, child in children.items() if _wait(child, end - time.perf_counter())]
    print(f"networks done after {time.perf_counter() - start:.0f} s; failed: {', '.join(failed) or 'none'}", flush=True)
    if len(failed) < len(names):
        student = subprocess.Popen([*command, "student"])
        failed += ["student"] * bool(_wait(student, grace_s + 60 * plan["student"]["minutes"]))
    results = measure(read_pack(folder / FACES), out, [*names, "student"], args.device)
    results |= {"failed": failed, "seconds": round(time.perf_counter() - start, 1)}
    for name in plan:
        facts = _work(out, name) / "model.json"
        if facts.is_file():
            results[f"{name}.json"] = json.loads(facts.read_text("utf-8"))
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _wait(child: subprocess.Popen[bytes], limit_s: float) -> int:
    """Wait for a process; end it after a time limit. Give its exit status."""
    with suppress(subprocess.TimeoutExpired):
        return child.wait(max(limit_s, 0))
    child.kill()
    return child.wait()


def train_network(folder: Path, out: Path, name: str, plan: Mapping[str, Mapping[str, Any]], device: str) -> None:
    """Train one network; keep its weights in OUT/NAME.safetensors whenever they are better than before."""
    work = _work(out, name)
    others = [_work(out, other) / "model.safetensors" for other in plan if other != "student"]
    teachers = tuple(str(path) for path in others if path.is_file()) if name == "student" else ()
    recipe = recipe_of(folder, plan[name], teachers)
    material = read_pack(folder / FACES)

    def keep(line: str) -> None:
        print(f"{name}: {line}", flush=True)
        checkpoint = work / "checkpoint.pt"
        if checkpoint.is_file():
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            if state["best"]["epoch"] == len(state["history"]):
                (out / f"{name}.safetensors").write_bytes(
                    save({k: v.contiguous() for k, v in state["averaged"].items()})
                )

    weights = train(material, work, recipe, device=device, on_epoch=keep)
    shutil.copyfile(weights, out / f"{name}.safetensors")


def _work(out: Path, name: str) -> Path:
    """Give the folder of a run, beside OUT so that checkpoints do not count as results."""
    return out.with_name(out.name + ".work") / name


def measure(material: TrainingData, out: Path, names: list[str], device: str) -> dict[str, Any]:
    """Measure each network and the ensemble of all but the student on the validation faces of each corpus."""
    weights = {name: _work(out, name) / "model.safetensors" for name in names}
    nets = {name: TorchClassifier(str(path), device) for name, path in weights.items() if path.is_file()}
    figures: dict[str, Any] = {}
    for corpus in material.corpora:
        faces = corpus.validation
        prob = {name: _predict(faces, net) for name, net in nets.items()}
        members = [value for name, value in prob.items() if name != "student"]
        if members:
            prob["ensemble"] = np.mean(members, 0)
        for name, one in prob.items():
            scores = score(one, one, faces.label, faces.labels)
            print(f"{corpus.name}: {name} {scores.accuracy:.4f}, mean recall {scores.mean_recall:.4f}", flush=True)
            figures[f"{corpus.name}: {name}"] = {
                "n": scores.n, "accuracy": scores.accuracy, "mean_recall": scores.mean_recall,
                "ece": scores.calibrated.error, "recall": {k: v.recall for k, v in scores.classes.items()},
            }  # fmt: skip
    return {"figures": figures}


def _predict(faces: FaceSet, net: TorchClassifier) -> np.ndarray:
    """Predict (n, K) by the head that fits the labels best, on faces placed as in training."""
    place = identity(len(faces)) if faces.placement is None else torch.from_numpy(faces.placement)
    x = resample(faces.image, place, net.crop_px, net.channels)
    crops = (x * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    predictor = Predictor(net, choose_head(net.heads, faces.labelling))
    return predictor.probabilities(net.logits(crops)[None, :, predictor.head.outputs], faces.labels)


if __name__ == "__main__":
    main()
