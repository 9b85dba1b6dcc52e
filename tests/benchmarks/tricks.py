"""What each trick of training gains, on the corpus that was learned and on one that was left out.

`python -m tests.benchmarks.tricks --data fer=fer2013_train.parquet --validation fer=fer2013_public_test.parquet \\
    --init foamliu.safetensors --own FER+:ferplus=fer2013_public_test.parquet --left-out RAF-DB=rafdb.parquet \\
    --out runs/tricks`

Trains the table [recipe] of `--plan` (tests/benchmarks/tricks.toml) once as it is, and once per table [tricks.NAME]
with those options changed, each run in OUT/NAME; what is there already is not trained again, and a stopped run resumes.
Prints accuracy and mean recall on the corpus learned and on the one left out, the difference from the recipe as it is,
and the CPU time relative to it. A gain on the corpus learned alone is no gain.
"""

import argparse
import json
import time
import tomllib
from pathlib import Path
from typing import Any

from fervid.lab.training.data import DataSource, TrainingData
from fervid.lab.training.recipe import Recipe, load_recipe
from fervid.lab.training.train import train
from tests.benchmarks.generalise import NamedSet, markdown, named_set

PLAN = Path(__file__).with_suffix(".toml")
BASE = "as it is"
_FIGURES = ("accuracy", "mean_recall")


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="training faces, as for `fervid train`")
    parser.add_argument("--validation", action="append", help="faces for validation, as for `fervid train`")
    parser.add_argument(
        "--left-out", action="append", required=True, type=named_set, metavar="NAME[:WORD,...]=PATH", help="other faces"
    )
    parser.add_argument(
        "--own",
        action="append",
        type=named_set,
        default=[],
        metavar="NAME[:WORD,...]=PATH",
        help="own faces to test on",
    )
    parser.add_argument("--init", help="initial weights of the network, as for `fervid train`")
    parser.add_argument("--plan", type=Path, default=PLAN, help="TOML file of the tricks (default %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tricks to train (default all)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--device", default="cpu", help="device to train on (default %(default)s)")
    args = parser.parse_args(arguments)
    plan = tomllib.loads(args.plan.read_text("utf-8"))
    changes: dict[str, dict[str, Any]] = {BASE: {}, **plan["tricks"]}
    if unknown := set(args.only or ()) - set(changes):
        parser.error(f"no trick is called {min(unknown)!r}; expected {', '.join(changes)}")
    names = [name for name in changes if not args.only or name in (BASE, *args.only)]
    data = Data(args)
    rows = [measure(name, {"init": args.init, **plan["recipe"], **changes[name]}, args, data) for name in names]
    print("\n".join(markdown(table(rows))), flush=True)
    return rows


class Data:
    """The faces to train on, read once for all recipes that see the same ones."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self._read: dict[tuple[object, ...], TrainingData] = {}

    def of(self, recipe: Recipe) -> TrainingData:
        """Give the faces for a recipe; their landmarks are kept in the folder of the runs."""
        key = (recipe.labels, recipe.colour, recipe.align, recipe.draws or recipe.size_px)
        if key not in self._read:
            source = DataSource.of(self.args.data, self.args.validation or (), recipe, drop_duplicates=True)
            self._read[key] = source.read(recipe, print, cache=self.args.out)
        return self._read[key]


def measure(name: str, options: dict[str, Any], args: argparse.Namespace, data: Data) -> dict[str, Any]:
    """Train and evaluate one variant, unless that was done before."""
    out = args.out / name.replace(" ", "_")
    done = out / "tricks.json"
    if done.is_file():
        return json.loads(done.read_text("utf-8"))
    args.out.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(**options)
    material = data.of(recipe)
    start = time.process_time()
    weights = train(
        material, out, recipe, device=args.device, on_epoch=lambda line: print(f"{name}: {line}", flush=True)
    )
    row: dict[str, Any] = {"name": name, "options": options, "cpu_s": round(time.process_time() - start, 1), "sets": {}}
    sets: list[NamedSet] = [*args.own, *args.left_out]
    for one in sets:
        facts = one.evaluate(str(weights), device=args.device)
        row["sets"][one.name] = {key: facts[key] for key in ("n", *_FIGURES, "macro_f1", "ece", "classes")}
    done.write_text(json.dumps(row, indent=1) + "\n", "utf-8")
    return row


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Make a table: figures of the first row, then differences from it in points and in parts of 1."""
    base = rows[0]
    columns = [f"{name}: {what}" for name in base["sets"] for what in ("accuracy", "mean recall")]
    lines = [["trick", *columns, "CPU time"]]
    for row in rows:
        cells = []
        for name, facts in row["sets"].items():
            for key, factor, unit in (("accuracy", 100, "%"), ("mean_recall", 1, "")):
                digits = 1 if unit else 3
                value = f"{factor * facts[key]:.{digits}f}{unit}"
                difference = factor * (facts[key] - base["sets"][name][key])
                cells.append(value if row is base else f"{value} ({difference:+.{digits}f})")
        lines.append([row["name"], *cells, f"{row['cpu_s'] / base['cpu_s']:.2f}"])
    return lines


if __name__ == "__main__":
    main()
