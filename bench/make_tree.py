"""Make a tree of finished runs to measure on: `python bench/make_tree.py TREE --runs 1000`.

Each run has the shape of a detect training: results.csv of 100 epochs x 15 columns with `time`, args.yaml of 110 keys,
two checkpoints of 50 kB that carry a trainer's facts, and eight plots.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import yaml

LOSSES = ("box_loss", "cls_loss", "dfl_loss")
SCORES = ("precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)")
COLUMNS = (
    *(f"train/{loss}" for loss in LOSSES),
    *(f"metrics/{score}" for score in SCORES),
    *(f"val/{loss}" for loss in LOSSES),
    *(f"lr/pg{group}" for group in range(5)),
)
PLOTS = ("results.png", "confusion_matrix.png", "BoxF1_curve.png", "BoxPR_curve.png", "BoxP_curve.png",
         "BoxR_curve.png", "labels.jpg", "train_batch0.jpg")  # fmt: skip
STARTED = datetime(2024, 3, 1, tzinfo=timezone.utc)


def make_run(save_dir: Path, number: int, *, epochs: int, weights_bytes: int, plot_bytes: int) -> None:
    """One finished run directory, the same for the same number."""
    dice = random.Random(number)
    (save_dir / "weights").mkdir(parents=True, exist_ok=True)
    args = {"task": "detect", "mode": "train", "model": "yolo11n.pt", "data": "coco8.yaml", "epochs": epochs,
            "batch": 16, "project": None, "name": save_dir.name, "seed": number, "optimizer": "auto",
            "lr0": 0.01, "save_dir": str(save_dir)}  # fmt: skip
    args.update({f"option_{index:02d}": index / 100 for index in range(110 - len(args))})
    (save_dir / "args.yaml").write_text(yaml.safe_dump(args, sort_keys=False))
    rows = [[round(dice.uniform(0.1, 4), 5) for _ in COLUMNS] for _ in range(epochs)]
    lines = [",".join(("epoch", "time", *COLUMNS))]
    for epoch, row in enumerate(rows, 1):
        lines.append(",".join(f"{cell:.6g}" for cell in (epoch, epoch * 3.5, *row)))
    (save_dir / "results.csv").write_text("\n".join(lines) + "\n")
    ended = STARTED + timedelta(hours=number, seconds=epochs * 3.5)
    for name in ("last.pt", "best.pt"):
        _write_checkpoint(save_dir / "weights" / name, args, rows, ended, weights_bytes, dice)
    for name in PLOTS:
        (save_dir / name).write_bytes(dice.randbytes(plot_bytes))
    for path in save_dir.rglob("*"):
        os.utime(path, (ended.timestamp(), ended.timestamp()))


def _write_checkpoint(
    path: Path, args: dict[str, object], rows: list[list[float]], ended: datetime, size: int, dice: random.Random
) -> None:
    kept = max(rows, key=lambda row: row[6]) if path.name == "best.pt" else rows[-1]  # by mAP50-95(B)
    facts = {
        "epoch": -1,
        "date": ended.isoformat(),
        "version": "8.4.190",
        "train_args": {**args, "optimizer": "AdamW", "lr0": 0.002},
        "train_metrics": dict(zip(COLUMNS[3:10], kept[3:10], strict=True)),
        "train_results": {name: [row[at] for row in rows] for at, name in enumerate(COLUMNS)},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps(facts, protocol=2))
        archive.writestr(f"{path.stem}/data/0", dice.randbytes(size))
        archive.writestr(f"{path.stem}/version", "3\n")


def make_tree(
    tree: Path, runs: int, *, epochs: int = 100, weights_bytes: int = 50_000, plot_bytes: int = 4_000
) -> None:
    """`runs` directories, a hundred to a project, each named as a trainer names them."""
    for number in range(runs):
        place = number % 100
        name = "train" if place == 0 else f"train{place + 1}"
        save_dir = tree / f"project{number // 100:03d}" / "detect" / name
        make_run(save_dir, number, epochs=epochs, weights_bytes=weights_bytes, plot_bytes=plot_bytes)


def main() -> None:
    """Make the tree that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--weights-bytes", type=int, default=50_000)
    parser.add_argument("--plot-bytes", type=int, default=4_000)
    options = parser.parse_args()
    make_tree(
        options.tree,
        options.runs,
        epochs=options.epochs,
        weights_bytes=options.weights_bytes,
        plot_bytes=options.plot_bytes,
    )
    print(json.dumps({"tree": str(options.tree), "runs": options.runs}))


if __name__ == "__main__":
    main()
