"""Run directories as Ultralytics 8.4 leaves them, small and true in every part that the importer reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from torch_saves import fake_modules, finished, pickled, zipped

STARTED = 1709294400.0  # 2024-03-01T12:00:00Z
SECONDS = 10.0  # an epoch
COLUMNS = (
    "epoch time train/box_loss train/cls_loss train/dfl_loss metrics/precision(B) metrics/recall(B) metrics/mAP50(B) "
    "metrics/mAP50-95(B) val/box_loss val/cls_loss val/dfl_loss lr/pg0 lr/pg1 lr/pg2"
).split()
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
ARGS = yaml.safe_load(
    "{task: detect, mode: train, model: yolo11n.pt, data: coco8.yaml, epochs: 3, time: null, patience: 100, batch: 16, "
    "imgsz: 640, save: true, save_period: -1, cache: false, device: null, workers: 8, project: null, name: train, "
    "exist_ok: false, pretrained: true, optimizer: auto, verbose: true, seed: 0, deterministic: true, "
    "single_cls: false, rect: false, cos_lr: false, close_mosaic: 10, resume: false, amp: true, fraction: 1.0, "
    "profile: false, freeze: null, multi_scale: 0.0, compile: false, overlap_mask: true, mask_ratio: 4, dropout: 0.0, "
    "val: true, split: val, save_json: false, conf: null, iou: 0.7, max_det: 300, half: false, dnn: false, "
    "plots: true, source: null, vid_stride: 1, stream_buffer: false, visualize: false, augment: false, "
    "agnostic_nms: false, classes: null, retina_masks: false, embed: null, show: false, save_frames: false, "
    "save_txt: false, save_conf: false, save_crop: false, show_labels: true, show_conf: true, show_boxes: true, "
    "line_width: null, format: torchscript, keras: false, optimize: false, int8: false, dynamic: false, "
    "simplify: true, opset: null, workspace: null, nms: false, lr0: 0.01, lrf: 0.01, momentum: 0.937, "
    "weight_decay: 0.0005, warmup_epochs: 3.0, warmup_momentum: 0.8, warmup_bias_lr: 0.1, box: 7.5, cls: 0.5, "
    "dfl: 1.5, pose: 12.0, kobj: 1.0, rle: 1.0, angle: 1.0, nbs: 64, hsv_h: 0.015, hsv_s: 0.7, hsv_v: 0.4, "
    "degrees: 0.0, translate: 0.1, scale: 0.5, shear: 0.0, perspective: 0.0, flipud: 0.0, fliplr: 0.5, bgr: 0.0, "
    "mosaic: 1.0, mixup: 0.0, cutmix: 0.0, copy_paste: 0.0, copy_paste_mode: flip, auto_augment: randaugment, "
    "erasing: 0.4, cfg: null, tracker: botsort.yaml}"
)


def make_run(
    save_dir: Path,
    *,
    epochs: int = 3,
    args: Mapping[str, object] | bytes | None = None,
    results: str | bytes | None = None,
    files: Mapping[str, bytes | None] | None = None,
    started: float = STARTED,
) -> Path:
    """A finished training's directory, its files as old as the training would have left them.

    `args` are laid over those of a default training, or are the bytes of args.yaml; `results` is the text of
    results.csv; `files` adds files by their path or, with None, takes them away.
    """
    args_text = args if isinstance(args, bytes) else args_yaml(save_dir, epochs, args or {})
    results_text = results_csv(epochs) if results is None else results
    ended = started + SECONDS * epochs
    content: dict[str, tuple[bytes | None, float]] = {
        "args.yaml": (args_text, started),
        "labels.jpg": (IMAGE, started + 1),
        "train_batch0.jpg": (IMAGE, started + 2),
        "results.csv": (results_text if isinstance(results_text, bytes) else results_text.encode(), ended),
        "results.png": (IMAGE, ended + 2),
    }
    content.update({path: (raw, ended) for path, raw in (files or {}).items()})
    save_dir.mkdir(parents=True, exist_ok=True)
    for path, (raw, at) in content.items():
        if raw is not None:
            (save_dir / path).parent.mkdir(parents=True, exist_ok=True)
            (save_dir / path).write_bytes(raw)
            os.utime(save_dir / path, (at, at))
    return save_dir


def args_yaml(save_dir: Path, epochs: int, changed: Mapping[str, object]) -> bytes:
    """The args.yaml of a default training with some args changed."""
    args = {**ARGS, "epochs": epochs, "name": save_dir.name, "save_dir": str(save_dir), **changed}
    return yaml.safe_dump(args, sort_keys=False).encode()


def results_csv(epochs: int = 3, columns: list[str] = COLUMNS) -> str:
    """The text of a results.csv; no two cells of it are the same but by chance."""
    lines = [",".join(columns)]
    for epoch in range(1, epochs + 1):
        cells = [str(epoch), f"{SECONDS * epoch:g}"] if columns[1] == "time" else [str(epoch)]
        cells += [f"{at / 16 + 1 / (epoch + at):.5g}" for at in range(len(columns) - len(cells))]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def last_pt(save_dir: Path, epochs: int = 3, **changed: object) -> bytes:
    """The last.pt of that default training: stripped, with its args and results inside."""
    rows = [line.split(",") for line in results_csv(epochs).splitlines()]
    columns = {name: [float(row[at]) for row in rows[1:]] for at, name in enumerate(rows[0])}
    args = yaml.safe_load(args_yaml(save_dir, epochs, {}))
    with fake_modules() as modules:
        told = {**finished(modules), "train_args": args, "train_results": columns, "train_metrics": {}}
        return zipped(pickled({**told, "date": "2024-03-01T12:00:30+00:00", **changed}))
