"""Compare how AlexNet starts in the paper and in the 2012 code.

Trains two networks that differ in the sigma of conv3-5 alone, 0.01 (paper) and 0.03
(code), on the same ten classes of ImageNet, in the same order and from the same seed,
and draws both curves. Before that it prints how much each layer's output, and the
gradient of its weights, still depend on the images. Half an hour on one core.

    SPECGEN_TEST_DATA=... python benchmarks/start.py --picture docs/start.png
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from common import generated, photos
from matplotlib.figure import Figure
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent

data, dataset, loading = generated(
    "alexnet_1gpu", "data", "runtime.dataset", "runtime.loading"
)

STARTS = {"paper": 0.01, "code": 0.03}  # sigma of conv3-5
COLORS = {"paper": "tab:gray", "code": "tab:blue"}
CLASSES = 10
BATCH_SIZE = 32
MOMENTUM = 0.9


def build(folder: Path, std: float, lr: float, epochs: int) -> Path:
    """Generate the network into the folder; return where its files are."""
    init = f"init={{weight: {{normal: {{std: {std}}}}}}}"
    sets = [f"layers.conv{layer}.{init}" for layer in (3, 4, 5)]
    sets += [f"layers.fc8.out_features={CLASSES}", "training.schedule=null"]
    sets += [f"training.optimizer.lr={lr}", f"training.batch_size={BATCH_SIZE}"]
    sets += [f"training.epochs={epochs}"]
    command = [sys.executable, "-m", "specgen", "build", "specs/alexnet_1gpu.yaml"]
    command += ["--output", str(folder), *(a for text in sets for a in ("--set", text))]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "alexnet_1gpu"


def network(code: Path) -> nn.Module:
    """Return the untrained network of a generated folder."""
    spec = importlib.util.spec_from_file_location("model", code / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net: nn.Module = module.AlexNet(("cpu",))
    return net


def first_batch(root: Path) -> tuple[Tensor, Tensor]:
    """Return the crops and labels of the first step."""
    train, val = dataset.open_data(root, data.SIZE)
    statistics, _ = data.measure(train, val, 0)
    order = dataset.batches(len(train), BATCH_SIZE, 0, 0)[:1]
    (batch,) = loading.Loader(train, order, 0)
    crops = data.augment(batch.images, statistics, data.draw(BATCH_SIZE, 0, 0))
    return crops, batch.labels


def measure(net: nn.Module, x: Tensor, labels: Tensor) -> dict[str, float]:
    """Return figures of the start, by the lines of the table; dropout is off."""
    layers = {name: m for name, m in net.named_modules() if hasattr(m, "weight")}
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Tensor], y: Tensor) -> None:
            seen[name] = args[0].detach(), y.detach()

        return hook

    for name, layer in layers.items():
        layer.register_forward_hook(keep(name))
    logits = net.eval()(x)
    torch.autograd.backward(F.cross_entropy(logits, labels))
    found = {f"{name}, between images": spread(seen[name][1]) for name in layers}
    for name, layer in layers.items():
        found[f"{name}, gradient"] = float(layer.weight.grad.norm())
    # The loss is most curved along what all images have in common, fc8's mean input:
    # there its second derivative is the squared length over the number of classes, and
    # momentum descent is stable up to 2 (1 + momentum) over that.
    common = float(seen["fc8"][0].mean(0).square().sum())
    found["largest stable rate"] = 2 * (1 + MOMENTUM) * CLASSES / common
    torch.manual_seed(0)
    with torch.no_grad():
        found["logits, by dropout"] = rms(net.train()(x) - logits)
    return found


def spread(y: Tensor) -> float:
    """Return how much the values of y (N, *) differ between images."""
    return rms(y - y.mean(0))


def rms(y: Tensor) -> float:
    """Return the root mean square."""
    return float(y.square().mean().sqrt())


def train(code: Path, root: Path, output: Path) -> list[dict[str, str]]:
    """Run the generated train.py; return the rows of its metrics."""
    command = [sys.executable, str(code / "train.py"), "--data", str(root)]
    command += ["--devices", "cpu", "--workers", "0", "--output", str(output)]
    subprocess.run(command, check=False)  # it may end early: the loss is not a number
    with (output / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def picture(runs: dict[str, list[dict[str, str]]], path: Path) -> None:
    """Draw loss and accuracy of both runs over the steps."""
    figure = Figure(figsize=(10, 4), layout="tight")
    panels = zip(figure.subplots(1, 2), ("loss", "top1"), strict=True)
    for axes, column in panels:
        for name, rows in runs.items():
            for split, style in (("train", ":"), ("val", "-")):
                points = [row for row in rows if row["split"] == split]
                steps = [int(row["step"]) for row in points]
                values = [float(row[column]) for row in points]
                label = f"sigma {STARTS[name]} ({name}), {split}"
                axes.plot(steps, values, style, color=COLORS[name], label=label)
        chance = math.log(CLASSES) if column == "loss" else 1 / CLASSES
        axes.axhline(chance, color="tab:red", linewidth=0.8, label="chance")
        ylabel = "loss" if column == "loss" else "top-1 accuracy"
        axes.set(xlabel=f"steps of {BATCH_SIZE} images", ylabel=ylabel)
        axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Print the table, train, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--epochs", type=int, default=8, help="0: only the table")
    parser.add_argument("--picture", type=Path, default=Path("runs/start.png"))
    args = parser.parse_args()
    root = photos("imagenette10_mini")
    runs = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        codes = {
            start: build(folder / start, std, args.lr, max(1, args.epochs))
            for start, std in STARTS.items()
        }
        x, labels = first_batch(root)
        tables = [measure(network(code), x, labels) for code in codes.values()]
        print(f"{'sigma of conv3-5':24}", *(f"{std:9}" for std in STARTS.values()))
        for line in tables[0]:
            print(f"{line:24}", *(f"{table[line]:9.3g}" for table in tables))
        if args.epochs:
            for start, code in codes.items():
                print(f"sigma {STARTS[start]}", flush=True)
                runs[start] = train(code, root, folder / f"run_{start}")
    if runs:
        picture(runs, args.picture)
        print(args.picture)


if __name__ == "__main__":
    main()
