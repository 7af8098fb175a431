"""One checkpoint for all placements: real runs pass it on from 1 to 2 to 4 to 1."""

from __future__ import annotations

import importlib
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers import write
from safetensors.torch import load_file
from scripts import importing, module, photos, read_run, run
from test_specs import spec

from specgen.runtime import checkpoint, state

STEMS = ("alexnet_1gpu", "alexnet", "alexnet_2x4")  # on 1, 2 and 4 devices
DEVICES = dict(zip(STEMS, (1, 2, 4), strict=True))
ROUND = (*STEMS, STEMS[0])


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is generated for each placement of AlexNet, with fewer pixels."""
    folder = tmp_path_factory.mktemp("codes")
    return {stem: write(spec(stem, small=True), folder / stem) for stem in STEMS}


@pytest.fixture(scope="module")
def handed_on(
    codes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Checkpoints of one run that learns a step on each placement in turn."""
    data = photos(tmp_path_factory.mktemp("photos"), train=4, val=1)
    folder = tmp_path_factory.mktemp("runs")
    train = ("--data", data, "--workers", 0, "--devices", "cpu", "--batch-size", 4)
    checkpoints: list[Path] = []
    for steps, stem in enumerate(ROUND, start=1):
        output = folder / str(steps)
        resume = ("--resume", checkpoints[-1]) if checkpoints else ()
        flags = (*train, "--output", output, "--steps", steps, *resume)
        ended = run(codes[stem] / "train.py", *flags)
        assert ended.code == 0, ended.err
        checkpoints.append(output / "checkpoint.safetensors")
    return checkpoints


def through(code: Path, devices: int, source: Path, target: Path) -> None:
    """Load a checkpoint as train.py resumes from it, and save it as train.py does."""
    with importing(code):
        script = importlib.import_module("train")
        net = script.model.AlexNet(["cpu"] * devices, seed=9)
        sgd = script.optimizer(net, script.Recipe(), fused=False)
        for velocity in state.velocities(net, sgd).values():
            velocity.fill_(1.0)
        tensors, run = checkpoint.load(source)
        split = devices > 1
        cut = script.model.cut_shares if split else dict
        join = script.model.join_shares if split else dict
        found = state.restore(tensors, net, sgd, cut)
        kept = state.collect(net, sgd, found, script.center_crop, join)
        checkpoint.save(target, kept, run)


@pytest.mark.parametrize("steps", range(1, len(ROUND) + 1))
def test_every_placement_passes_on_the_same_bytes(
    steps: int, codes: dict[str, Path], handed_on: list[Path], tmp_path: Path
) -> None:
    path = source = handed_on[steps - 1]
    for index, stem in enumerate(ROUND):
        target = tmp_path / str(index)
        through(codes[stem], DEVICES[stem], path, target)
        assert target.read_bytes() == source.read_bytes(), stem
        path = target


def test_each_placement_learned_a_step(handed_on: list[Path]) -> None:
    tensors = [load_file(path) for path in handed_on]
    names = [name for name in tensors[0] if not name.startswith("data.")]
    for before, after in pairwise(tensors):
        assert [n for n in names if torch.equal(before[n], after[n])] == []
    assert read_run(handed_on[-1])["step"] == len(ROUND)


def test_a_checkpoint_has_a_whole_tensor_and_its_velocity_for_each_parameter(
    handed_on: list[Path],
) -> None:
    graph = spec(STEMS[0], small=True).graph
    whole = {k: v for node in graph.nodes for k, v in node.parameters.items()}
    whole |= {f"momentum_buffer.{name}": shape for name, shape in whole.items()}
    for path in handed_on:
        found = {name: tuple(x.shape) for name, x in load_file(path).items()}
        assert {k: v for k, v in found.items() if not k.startswith("data.")} == whole


def test_a_seed_starts_the_same_network_on_every_placement(
    codes: dict[str, Path],
) -> None:
    states = [
        module(code, "model").AlexNet(["cpu"] * DEVICES[stem], seed=3).state_dict()
        for stem, code in codes.items()
    ]
    assert list(states[0]) == list(states[1]) == list(states[2])
    for name, tensor in states[0].items():
        for other in states[1:]:
            assert torch.equal(other[name], tensor), name
