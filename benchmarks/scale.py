"""How `specgen build` grows with a network: chains, groups, and ResNet-1001.

    python benchmarks/scale.py [--rounds 3]

Whole processes take turns; of each, the least processor time counts, and its peak of
memory. The time per layer is without that of a network of ten layers, most of which are
imports.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
CHAIN = """
specgen: 1
name: Chain
input: {{channels: 3, height: 8, width: 8}}
layers:
{layers}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 10}}
  prob: {{op: softmax}}
"""
# He et al., "Identity Mappings in Deep Residual Networks", 2016: 3 x 111 bottlenecks.
RESNET = """
specgen: 1
name: ResNet1001
input: {channels: 3, height: 32, width: 32}
blocks:
  bottleneck:
    params: {channels: , stride: 1}
    layers:
      bn1: {op: batch_norm2d}
      relu1: {op: relu}
      shortcut:
        when: $(stride != 1 or in.channels != 4 * channels)
        layers:
          - op: conv2d
            out_channels: $(4 * channels)
            kernel_size: 1
            stride: $stride
            bias: false
      conv1:
        {op: conv2d, from: relu1, out_channels: $channels, kernel_size: 1, bias: false}
      bn2: {op: batch_norm2d}
      relu2: {op: relu}
      conv2:
        op: conv2d
        out_channels: $channels
        kernel_size: 3
        stride: $stride
        padding: 1
        bias: false
      bn3: {op: batch_norm2d}
      relu3: {op: relu}
      conv3:
        {op: conv2d, out_channels: $(4 * channels), kernel_size: 1, bias: false}
      add: {op: add, from: [conv3, shortcut]}
layers:
  conv1: {op: conv2d, out_channels: 16, kernel_size: 3, padding: 1, bias: false}
  layer1: {block: bottleneck, with: {channels: 16}, repeat: 111}
  layer2: {block: bottleneck, with: {channels: 32}, repeat: 111, first: {stride: 2}}
  layer3: {block: bottleneck, with: {channels: 64}, repeat: 111, first: {stride: 2}}
  bn: {op: batch_norm2d}
  relu: {op: relu}
  pool: {op: adaptive_avg_pool2d, output_size: 1}
  flat: {op: flatten}
  fc: {op: linear, out_features: 10}
  prob: {op: softmax}
"""


class Cost(NamedTuple):
    """Processor seconds, and the peak of memory in MB."""

    seconds: float
    megabytes: float


def chain(count: int) -> str:
    """Return a spec of this many layers."""
    conv = "{op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}"
    lines = (f"  conv{index}: {conv}" for index in range(count - 3))
    return CHAIN.format(layers="\n".join(lines))


def groups(count: int) -> str:
    """Return a spec with this many groups, of which each has a class of its own."""
    conv = "{op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}"
    inner = f"a: {conv}, b: {{op: relu}}, c: {{op: relu, from: a}}"
    group = f"{{layers: {{{inner}, d: {{op: add, from: [b, c]}}}}}}"
    lines = (f"  group{index}: {group}" for index in range(count))
    return CHAIN.format(layers="\n".join(lines))


def build(spec: Path, output: Path) -> Cost:
    """Build a spec in a process of its own."""
    command = [sys.executable, "-m", "specgen", "build", "--quiet", str(spec)]
    process = subprocess.Popen([*command, "--output", str(output)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{spec.name} does not build")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Time builds of large networks.")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    layers = {f"a chain of {n:,}": n for n in (10, 1_000, 10_000)}
    texts = {name: chain(count) for name, count in layers.items()}
    texts["2,500 groups"], layers["2,500 groups"] = groups(2_500), 4 * 2_500 + 3
    texts["ResNet-1001"], layers["ResNet-1001"] = RESNET, 3 * 111 * 11 + 2 + 7
    best: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        os.environ["PYTHONPATH"] = str(ROOT)
        for turn in range(rounds):
            for index, (label, text) in enumerate(texts.items()):
                spec = folder / f"net{index}.yaml"
                spec.write_text(text)
                cost = build(spec, folder / f"{turn}-{index}")
                best[label] = min(cost, best.get(label, cost))
    least = best["a chain of 10"].seconds
    print(f"{'least of ' + str(rounds):20}{'seconds':>9}{'MB':>6}{'us per layer':>14}")
    for label, cost in best.items():
        each = (cost.seconds - least) / layers[label] * 1e6
        shown = f"{each:14.0f}" if cost.seconds > least else ""
        print(f"{label:20}{cost.seconds:9.2f}{cost.megabytes:6.0f}{shown}")


if __name__ == "__main__":
    main()
