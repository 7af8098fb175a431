"""train.py --compile: on CPUs it stays off; elsewhere, networks learn the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scripts import BASE, LAYERS, TWO_DEVICES, generate, module, run
from torch import nn

from specgen.runtime import devices


def test_compile_stays_off_on_cpus(data: Path, tmp_path: Path) -> None:
    code = generate(tmp_path / "code" / "tiny", BASE)  # with dropout
    train = (code / "train.py", "--data", data, "--workers", 0, "--steps", 2)
    outputs = tmp_path / "without", tmp_path / "with"
    said = "--compile stays off: on a CPU, compiled steps are no faster\n"
    for output, flags in zip(outputs, ([], ["--compile"]), strict=True):
        ended = run(*train, "--output", output, *flags)
        assert ended.code == 0, ended.err
        assert (said in ended.out) == bool(flags)
    first, second = (load_file(path / "checkpoint.safetensors") for path in outputs)
    torch.testing.assert_close(second, first, rtol=0, atol=0)


def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("there is no g++")
    # Without dropout: compiled, it draws different numbers.
    layers = {name: layer for name, layer in LAYERS.items() if name != "drop2"}
    split = TWO_DEVICES | {"layers": {"conv1..relu2": "split", "fc3..prob": "gpu0"}}
    code = generate(tmp_path / "code", BASE, layers=layers, placement=split)
    names = "model", "train", "recipe"
    model, train, recipe = (module(code, name) for name in names)
    nets = [model.Tiny(["cpu", "cpu"], seed=0) for _ in range(2)]
    learners = nets[0], devices.Compiled(nets[1])
    torch.manual_seed(0)
    for count in (8, 0):  # the last batch may leave a process without images
        x = torch.randn(count, 3, 24, 24).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(4, (count,))
        for net, learner in zip(nets, learners, strict=True):
            sgd = recipe.optimizer(net, recipe.Recipe(), True)
            train.backward(learner, x, labels, 8, recipe.Recipe(), 4)
            recipe.update(sgd, 0.01)
    expected, found = (net.state_dict() for net in nets)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_network_is_compiled_if_any_device_is_not_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    on_cpu, elsewhere = nn.Linear(1, 1), nn.Linear(1, 1, device="meta")
    assert devices.compile_network(on_cpu) is on_cpu
    said = "--compile stays off: on a CPU, compiled steps are no faster\n"
    assert capsys.readouterr().out == said
    mixed = nn.Sequential(on_cpu, elsewhere)
    assert isinstance(devices.compile_network(mixed), devices.Compiled)
    assert not capsys.readouterr().out
