"""Settle in a few minutes what only a GPU can: is generated code right and fast there.

    python benchmarks/gpu.py              # writes benchmarks/gpu.md
    python benchmarks/gpu.py --dry-run    # tiny, on the CPU; prints, writes nothing

It runs what is in generated/: build first. Checks come first (see gpu_checks.py), then
images per second of a training step, with the same optimizer, labels and precision for
all networks (see gpu_bench.py). It needs torch, numpy, pillow, tqdm, safetensors and
matplotlib; specgen need not be there. A part that fails says why, and the others run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gpu_checks as checks
import gpu_exchange
import gpu_profile
import torch
from common import GENERATED
from gpu_bench import (
    BOTH,
    BOTH_COMPILED,
    COMPILED,
    FIRST,
    OURS,
    THEIRS,
    TOWERS,
    WITHOUT,
    Bench,
    settle,
)

MACS = 724_406_816  # of an image's forward pass; training takes three times as many
# Assumed peaks in flop/s, dense, from NVIDIA's data sheets: bfloat16, TF32.
PEAKS = {
    "H200": (989e12, 495e12),
    "H100": (989e12, 495e12),
    "A100": (312e12, 156e12),
    "L4": (121e12, 60e12),
}
TORCHVISION, NN_NORM, WAIT = 0.9, 5.0, 0.05  # targets


def correctness(bench: Bench) -> Iterator[str]:
    """Yield the table of what the checks find."""
    yield "| check | passed | found |\n|---|---|---|"
    for finding in findings(bench):
        yield finding.row()


def findings(bench: Bench) -> Iterator[checks.Finding]:
    """Yield what the checks find."""
    for folder in bench.folders.values():
        for name, devices in checks.placements(folder, bench.gpus).items():
            yield checks.run(
                f"{folder.stem} on {name} equals the CPU",
                lambda f=folder, d=devices: checks.equals_cpu(f, d),  # type: ignore[misc]
            )
    gpu, mini = bench.gpus[0], bench.folders["alexnet_mini"]
    count = bench.batches[0]
    yield checks.run(
        "--compile computes the same",
        lambda: checks.compiled(mini, gpu, bench.devices.compile_network),
    )
    yield checks.run(
        "memory is as planned but for named parts",
        lambda: checks.memory_plan(bench.folders[bench.stem], gpu),
    )
    yield checks.run(
        "a step never waits for the device",
        lambda: checks.never_waits(bench.from_pixels(count)),
    )
    if not bench.dry:  # the tests do it on CPUs
        yield checks.run(
            "--deterministic resumes to the bit",
            lambda: checks.resumes(gpu, "alexnet_mini", steps=8),
        )
    yield checks.run("a group of one process", lambda: checks.one_process(mini, gpu))
    yield checks.run(
        "two processes with NCCL learn what one does",
        lambda: checks.two_processes(bench.gpus, "alexnet_1gpu"),
    )


def speed(bench: Bench) -> Iterator[str]:
    """Yield the table of images per second, and which targets it meets."""
    name = "CPU" if bench.dry else torch.cuda.get_device_name(bench.gpu)
    peaks = next((both for key, both in PEAKS.items() if key in name), None)
    assumed = (
        "unknown" if peaks is None else f"{peaks[0]:.3g} and {peaks[1]:.3g} flop/s"
    )
    yield (
        "Images per second. Utilization: the plan's multiply-accumulates of AlexNet "
        f"over the peak; assumed for bfloat16 and TF32: {assumed}."
    )
    yield "\n| precision | images per step | network | images/s | utilization |"
    yield "|---|--:|---|--:|--:|"
    items: list[str] = []
    for precision in ("bfloat16", "TF32"):
        bf16 = precision == "bfloat16"
        peak = peaks[0 if bf16 else 1] if peaks else None
        for count in bench.batches:
            found: dict[str, float] = {}
            for row in bench.rows(count, bf16):
                start = f"| {precision} | {count} | {row}"
                try:
                    step = bench.step(row, bf16, count)
                    found[row] = count / bench.seconds(step)
                except Exception as error:  # such as too little memory
                    yield f"{start} | {checks.explain(error)} | - |"
                    continue
                ours = peak is not None and row in (OURS, COMPILED, TOWERS)
                used = f"{6 * MACS * found[row] / peak:.1%}" if ours and peak else "-"
                yield f"{start} | {found[row]:,.0f} | {used} |"
            items += verdicts(f"{precision}, {count} images", found)
    yield "\n" + "\n".join(items)
    if not bench.dry and len(bench.gpus) < 2:
        yield "\nThere is one GPU: both towers ran on it, one after the other."


def verdicts(at: str, found: Mapping[str, float]) -> Iterator[str]:
    """Yield which targets these images per second meet, of the rows that ran."""
    if {FIRST, BOTH, OURS} <= found.keys():
        bound = max(found[FIRST], found[BOTH])
        yield target(at, "torchvision's", found[OURS] / bound, TORCHVISION)
    if {THEIRS, OURS, WITHOUT} <= found.keys():
        # What both norms cost, in seconds per image.
        theirs = 1 / found[THEIRS] - 1 / found[WITHOUT]
        its = 1 / found[OURS] - 1 / found[WITHOUT]
        if its > 0:
            yield target(at, "nn.LocalResponseNorm's", theirs / its, NN_NORM)
    if {BOTH_COMPILED, COMPILED, OURS} <= found.keys():
        both = found[COMPILED] / found[BOTH_COMPILED]
        gain = found[COMPILED] / found[OURS]
        yield (
            f"- {at}, both compiled: {both:.2f} of torchvision's speed; AlexNet is "
            f"{gain:.2f} times as fast with --compile as without"
        )


def target(at: str, whose: str, ratio: float, least: float) -> str:
    """Return whether a network, or its norms, are fast enough, as an item of a list."""
    met = "met" if ratio >= least else "**not met**"
    return f"- {at}: {ratio:.2f} of {whose} speed; target {least}: {met}"


def moved(bench: Bench) -> Iterator[str]:
    """Yield the bytes that networks move."""
    size, count = (bench.data.HEIGHT, bench.data.WIDTH), bench.batches[-1]
    found = {}
    for row in (OURS,) if bench.dry else (BOTH, WITHOUT, OURS):  # seconds each
        compiled = gpu_profile.compiled_traffic(bench.network(row), size, count)
        found[row] = gpu_profile.traffic(bench.network(row), size, count), compiled
    yield from gpu_profile.compared(found)


def launches(bench: Bench) -> Iterator[str]:
    """Yield how long steps take to launch."""
    for count in bench.batches:
        step = bench.step(OURS, True, count)
        taken, launched = bench.seconds(step), bench.launching(step)
        yield (
            f"- A step of {OURS} with {count} images, in bfloat16, takes "
            f"{taken * 1e3:.2f} ms; Python takes {launched * 1e3:.2f} ms to launch it. "
            "CUDA graphs save time only where that is as long as the step."
        )


def operations(bench: Bench) -> Iterator[str]:
    """Yield the longest operations."""
    rows = BOTH, WITHOUT, OURS
    steps = {row: bench.step(row, True, bench.batches[-1]) for row in rows}
    yield from gpu_profile.operations(steps, gpu=not bench.dry)


def waiting(bench: Bench) -> Iterator[str]:
    """Yield how much of the time of training from packed shards is spent waiting."""
    count, steps = bench.batches[-1], 2 if bench.dry else 60
    workers = 1 if bench.dry else os.cpu_count() or 1
    step, images = bench.whole_step(count)
    bare = bench.seconds(lambda: step(images, 0))
    with TemporaryDirectory() as folder:
        data, packed = Path(folder, "data"), Path(folder, "packed")
        checks.tree(data, images=count, size=bench.data.SIZE)
        checks.script(GENERATED / bench.stem / "pack.py", data, packed)
        shards, _ = bench.dataset.open_data(packed, bench.data.SIZE)
        order = bench.dataset.batches(len(shards), count, seed=0) * (steps + 10)
        loader = bench.loading.Loader(shards, order, workers, bench.gpu)
        began = 0.0
        for number, batch in enumerate(bench.loading.to_device(loader, bench.gpu)):
            if number == 10:  # read ahead by now
                settle()
                began = time.perf_counter()
            step(batch.images, number)
        settle()
    fed = (time.perf_counter() - began) / steps
    share = max(0.0, 1 - bare / fed)
    met = "met" if share < WAIT else "**not met**"
    yield (
        f"{count} images per step, float32, {workers} workers: {fed * 1e3:.1f} ms from "
        f"packed shards, {bare * 1e3:.1f} ms with a batch that is on the device: "
        f"{share:.1%} is waiting; target {WAIT:.0%}: {met}."
    )


def report(bench: Bench) -> Iterator[str]:
    """Yield the report, in Markdown."""
    name = (
        "a dry run on the CPU" if bench.dry else torch.cuda.get_device_name(bench.gpu)
    )
    yield "# On a GPU\n"
    yield "Written by `make gpu`; benchmarks/gpu.py explains what is compared.\n"
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    cudnn: Any = torch.backends.cudnn
    found = f"{name}; {len(bench.gpus)} device(s); {versions}, cuDNN {cudnn.version()}"
    yield f"{found}; {date.today()}."
    bench.devices.set_up()  # as train.py does
    config: Any = torch._dynamo.config
    config.recompile_limit = 64  # a run has one precision, and this has three
    began = time.monotonic()
    parts = {
        "Right?": correctness(bench),
        "Fast?": speed(bench),
        "Exchange": gpu_exchange.measure(bench),
        "Bytes": moved(bench),
        "Launches": launches(bench),
        "Operations": operations(bench),
        "Waiting for data": waiting(bench),
    }
    for title, lines in parts.items():
        yield f"\n## {title}\n"
        yield from attempted(lines)
    yield f"\nAll of this took {(time.monotonic() - began) / 60:.1f} minutes."


def attempted(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a part, or why it failed."""
    try:
        yield from lines
    except Exception as error:
        traceback.print_exc()
        yield f"\n**This part failed**: {checks.explain(error)}"


def main() -> None:
    """Write the report, or print that of a dry run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dry-run", action="store_true")
    here = Path(__file__).parent
    parser.add_argument("--output", type=Path, default=here / "gpu.md")
    args = parser.parse_args()
    if not args.dry_run and not torch.cuda.is_available():
        sys.exit("error: there is no CUDA device; --dry-run works without one")
    lines: list[str] = []
    try:
        for line in report(Bench(args.dry_run)):
            print(line, flush=True)
            lines.append(line)
    finally:  # also if Ctrl-C comes
        if lines and not args.dry_run:
            args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
