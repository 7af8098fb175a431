"""Whether generated code is right on CUDA: the first half of gpu.py.

Everything is compared with the same code on the CPU, in float64. In float32, rounding
decides which of several numbers that are almost equal a pooling takes, and gradients
through it go elsewhere: those of AlexNet differed by 2%, and its outputs by 6e-7. A
check whose hardware is missing says so.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import gpu_memory
import numpy as np
import torch
from common import GENERATED
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, distributed, nn

TOLERANCE = 1e-6  # of a difference, relative to the largest number
IMAGES = 4  # compared at once


class Finding(NamedTuple):
    """What a check found."""

    check: str
    found: str
    ok: bool | None  # None: it could not run

    def row(self) -> str:
        """Return the row of a table."""
        verdict = {True: "yes", False: "**NO**", None: "not run"}[self.ok]
        return f"| {self.check} | {verdict} | {self.found} |"


class Folder(NamedTuple):
    """A generated network, and what builds it."""

    stem: str
    model: Any
    size: tuple[int, int]  # of its input

    def build(self, devices: Sequence[str]) -> nn.Module:
        """Return the network, its devices bound to these in turn."""
        count = len(self.model.DEVICES)
        bound = [devices[index % len(devices)] for index in range(count)]
        kinds = [k for k in vars(self.model).values() if isinstance(k, type)]
        kind = next(k for k in kinds if hasattr(k, "reset_parameters"))
        net: nn.Module = kind(bound)
        return net


def folders(stems: Sequence[str]) -> Iterator[Folder]:
    """Import the models of generated folders, under names of their own."""
    for stem in stems or sorted(
        path.parent.name for path in GENERATED.glob("*/model.py")
    ):
        model, data = (_load(stem, name) for name in ("model", "data"))
        yield Folder(stem, model, (data.HEIGHT, data.WIDTH))


def _load(stem: str, name: str) -> Any:
    path = GENERATED / stem / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{stem}_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as torch.compile asks
    spec.loader.exec_module(module)
    return module


def run(check: str, function: Callable[[], tuple[str, bool | None]]) -> Finding:
    """Return what a check found; whatever it raises is a finding."""
    try:
        return Finding(check, *function())
    except Exception as error:
        return Finding(check, explain(error), False)


def explain(error: Exception) -> str:
    """Return in a line, which may stand in a table, what was raised."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, subprocess.CalledProcessError):  # say what the script said
        text = error.stderr.strip()[-300:] or f"exit status {error.returncode}"
    return " ".join(text.replace("|", "/").split())[:300]


def script(*command: object) -> None:
    """Run a script. Raises CalledProcessError, or TimeoutExpired after 3 minutes."""
    subprocess.run(
        [sys.executable, *map(str, command)],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )


def placements(folder: Folder, gpus: Sequence[str]) -> dict[str, list[str]]:
    """Return, by name, where a network is compared with the CPU."""
    found = {gpus[0]: [gpus[0]]}
    if len(folder.model.DEVICES) > 1:
        found[f"{gpus[0]} and cpu"] = [gpus[0], "cpu"]
        if len(gpus) > 1:
            found[" and ".join(gpus[:2])] = list(gpus[:2])
    return found


def equals_cpu(folder: Folder, devices: Sequence[str]) -> tuple[str, bool]:
    """Compare outputs and gradients, without dropout."""
    torch.manual_seed(0)
    x = torch.randn(IMAGES, 3, *folder.size) * 2
    nets = [folder.build(devices).eval(), folder.build(["cpu"]).eval()]
    x = x.double()
    with torch.no_grad():
        outputs = _difference(*(net.double()(_nhwc(x)) for net in nets))
    found, expected = (_gradients(net, x) for net in nets)
    gradients = max(map(_difference, found, expected))
    said = f"outputs differ by {outputs:.1e}, gradients by {gradients:.1e}"
    return said, max(outputs, gradients) <= TOLERANCE


def compiled(
    folder: Folder, gpu: str, compile_network: Callable[[nn.Module], nn.Module]
) -> tuple[str, bool | None]:
    """Compare the gradients of a network under --compile with those without."""
    if not gpu.startswith("cuda"):
        return "--compile stays off on CPUs", None
    x = torch.randn(IMAGES, 3, *folder.size).double()
    net = folder.build([gpu]).double().eval()
    expected = _gradients(net, x)
    found = _gradients(compile_network(net), x)
    differ = max(map(_difference, found, expected))
    return f"gradients differ by {differ:.1e}", differ <= TOLERANCE


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the gradients of a sum in which each output counts differently."""
    logits = net(_nhwc(x))
    scale = torch.linspace(-1, 1, logits.shape[1], device=logits.device)
    net.zero_grad()
    torch.autograd.backward((logits * scale).sum())
    return [w.grad.cpu() for w in net.parameters() if w.grad is not None]


def _difference(found: Tensor, expected: Tensor) -> float:
    found, expected = found.cpu().double(), expected.cpu().double()
    largest = expected.abs().max().clamp(min=1e-30)
    return float((found - expected).abs().max() / largest)


def memory_plan(folder: Folder, gpu: str) -> tuple[str, bool | None]:
    """Compare the planned memory of a network on one device with the allocator's."""
    plan = gpu_memory.read_plan(GENERATED / folder.stem / "README.md")
    if not gpu.startswith("cuda"):
        return "only CUDA's allocator counts what it gives out", None

    def images() -> Tensor:
        return torch.zeros(plan.images, 3, *folder.size, device=gpu)

    fused = folder.model._can_compile()
    shapes = gpu_memory.sizes(folder.build([gpu]).eval(), images(), fused=fused)
    found = gpu_memory.measure(lambda: folder.build([gpu]).train(), images)
    return gpu_memory.judge(plan, found, shapes)


def never_waits(step: Callable[[int], object]) -> tuple[str, bool | None]:
    """Take ten steps in which CUDA raises an error if the host waits for the device."""
    for number in range(3):
        step(number)
    if not torch.cuda.is_available():
        return "there is no device to wait for", None
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(10):
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    return "ten steps, from pixels to the update", True


def resumes(gpu: str, stem: str, steps: int) -> tuple[str, bool]:
    """Compare a run with --deterministic, stopped and resumed, to one that was not."""
    with TemporaryDirectory() as folder:
        data, whole, parts = (Path(folder, name) for name in ("data", "whole", "parts"))
        tree(data, images=16 * steps)
        train = [GENERATED / stem / "train.py", "--data", data, "--devices", gpu]
        train += ["--epochs", 1, "--batch-size", 16, "--workers", 1]
        train += ["--deterministic", "--output"]
        script(*train, whole)
        script(*train, parts, "--steps", steps // 2)
        script(*train, parts, "--resume")
        one, other = (
            load_file(output / "checkpoint.safetensors") for output in (whole, parts)
        )
    same = sum(torch.equal(one[name], other[name]) for name in one)
    return f"{same} of {len(one)} tensors are the same to the bit", same == len(one)


def tree(data: Path, images: int, size: int = 128) -> None:
    """Write random images of two classes, and a few to validate on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("val", 4)):
        for number in range(count):
            path = data / split / f"class{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(256, size=(size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path, compress_level=1)


def one_process(folder: Folder, gpu: str) -> tuple[str, bool]:
    """Compare the gradients in a group of one process with those without a group."""
    backend = "cpu:gloo,cuda:nccl" if gpu.startswith("cuda") else "gloo"
    x = torch.randn(IMAGES, 3, *folder.size).double()
    net = folder.build([gpu]).double().eval()
    expected = _gradients(net, x)
    store = distributed.HashStore()  # type: ignore[attr-defined]
    distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        replica = nn.parallel.DistributedDataParallel(net, gradient_as_bucket_view=True)
        found = _gradients(replica, x)
        del replica
    finally:
        distributed.destroy_process_group()
    differ = max(map(_difference, found, expected))
    return f"gradients differ by {differ:.1e}", differ <= TOLERANCE


def two_processes(gpus: Sequence[str], stem: str) -> tuple[str, bool | None]:
    """Compare the first loss of two processes with that of one."""
    if len(gpus) < 2:
        return "this machine has one GPU", None
    with TemporaryDirectory() as folder:
        data = Path(folder, "data")
        tree(data, images=32)
        losses = []
        for count in (1, 2):
            output = Path(folder, str(count))
            launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
            train = (count, GENERATED / stem / "train.py", "--data", data)
            flags = ("--batch-size", 32, "--steps", 1, "--output", output)
            on = ("--devices", gpus[0]) if count == 1 else ()
            script(*launch, *train, *flags, *on)
            rows = (output / "metrics.csv").read_text().splitlines()
            losses.append(float(rows[2].split(",")[3]))  # on the validation images
    one, two = losses
    return f"validation loss {one:.5f} and {two:.5f}", abs(one - two) < 1e-3 * one
