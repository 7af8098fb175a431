"""Several processes that train together: they learn what one process learns."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT
from safetensors.torch import load_file
from scripts import LAYERS, TWO_DEVICES, Ended, generate, photos, rows
from torch import distributed, nn

from specgen.runtime import devices, parallel
from specgen.runtime.errors import UserError

# 27 images make batches of 13, 13 and 1: shares of 7 and 6, and of 1 and none.
RECIPE = {
    "epochs": 3,
    "batch_size": 13,
    "accumulate": 3,
    "label_smoothing": 0.1,
    "clip_grad_norm": 1.0,
    "optimizer": {"lr": 0.01, "weight_decay": 5e-4},
}
SOAK = int(os.environ.get("SPECGEN_SOAK", "2"))  # runs, all of which must end cleanly
LOST = "error: a process of this run was lost: start all of them again; train.py "


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two towers, without dropout, which every process draws for itself."""
    layers = {name: layer for name, layer in LAYERS.items() if name != "drop2"}
    split = TWO_DEVICES | {"layers": {"conv1..relu2": "split", "fc3..prob": "gpu0"}}
    folder = tmp_path_factory.mktemp("code") / "tiny"
    return generate(folder, RECIPE, layers=layers, placement=split)


@pytest.fixture(scope="module")
def alone(code: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run in one process."""
    output = tmp_path_factory.mktemp("alone")
    (ended,) = train(1, code, data, output)
    assert ended.code == 0, ended.err
    return output


def train(
    processes: int, code: Path, data: Path, output: Path, *flags: str, **accidents: str
) -> list[Ended]:
    """Train in float64; return how each process ended."""
    script = Path(__file__).with_name("train_exactly.py")
    command = [sys.executable, str(script), str(code), "--data", str(data)]
    command += ["--output", str(output), "--workers", "0", "--devices", "cpu", *flags]
    return launch(processes, command, accidents)


def launch(
    processes: int, command: list[str], environment: dict[str, str]
) -> list[Ended]:
    """Run a command as torchrun does; return how each process ended."""
    # As with torchrun, the store is not in a process that may be killed.
    tcp_store: Any = distributed.TCPStore  # type: ignore[attr-defined]
    store = tcp_store("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    together |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    together |= {"TORCHELASTIC_RESTART_COUNT": "0"}
    together |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            command,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)}
            # If a connection ends, torch's C++ side may log a warning of its own.
            | {"TORCH_CPP_LOG_LEVEL": "ERROR", "COLUMNS": "9999"}
            | (together if processes > 1 else {})
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    said = [process.communicate() for process in started]
    return [
        Ended(process.returncode, out, err)
        for process, (out, err) in zip(started, said, strict=True)
    ]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, velocities and the figures of metrics.csv are equal in float64."""
    a, b = (load_file(path / "checkpoint.safetensors") for path in (one, other))
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert a["conv1.weight"].dtype == torch.float64
    figures = ("epoch", "step", "loss", "top1", "top5", "lr")
    tables = [
        [[float(row[name]) for name in figures] for row in rows(path)]
        for path in (one, other)
    ]
    assert tables[0] == [pytest.approx(row, rel=1e-10) for row in tables[1]]


def test_two_processes_learn_what_one_does(
    code: Path, data: Path, tmp_path: Path
) -> None:
    # Some images go bad after the survey, two of them in the same class.
    spoiled = (
        "train/class0/1.jpg train/class0/2.jpg train/class2/5.jpg val/class1/0.jpg"
    )
    outputs = []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        outputs.append(output)
        flags = ("--bad-images", "skip")
        first, *others = train(processes, code, data, output, *flags, SPOILED=spoiled)
        assert first.code == 0, first.err
        assert first.err == ""
        for name in spoiled.split():
            assert first.out.count(name) == RECIPE["epochs"]
        assert others == [Ended(0, "", "")] * (processes - 1)
    assert_same_run(*outputs)
    assert rows(outputs[0])[0]["top1"] != rows(outputs[0])[-1]["top1"]  # it learns


def test_torchrun_starts_it_and_it_resumes_alone(
    code: Path, data: Path, alone: Path, tmp_path: Path
) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [str(Path(__file__).with_name("train_exactly.py")), str(code)]
    flags = ["--data", str(data), "--output", str(tmp_path), "--steps", "4"]
    done = subprocess.run(
        [sys.executable, *launch, *script, *flags], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("epoch 2: train loss") == 1
    (ended,) = train(1, code, data, tmp_path, "--resume")
    assert ended.code == 0, ended.err
    assert_same_run(tmp_path, alone)


def test_one_is_killed_the_other_says_so_and_the_run_resumes(
    code: Path, data: Path, alone: Path, tmp_path: Path
) -> None:
    flags = ("--checkpoint-every", "1")
    kill = f"1 5 {signal.SIGKILL:d}"
    survivor, victim = train(2, code, data, tmp_path, *flags, SIGNAL=kill)
    assert victim.code == -signal.SIGKILL
    assert survivor.code == 1
    assert survivor.err.startswith(LOST)
    assert survivor.err.count("\n") == 1
    for_three = shutil.copytree(tmp_path, tmp_path / "three")
    for processes, output in ((2, tmp_path), (3, for_three)):
        for ended in train(processes, code, data, output, "--resume"):
            assert ended.code == 0, ended.err
        assert_same_run(output, alone)


def test_a_signal_to_one_stops_all_after_the_same_step(
    code: Path, data: Path, alone: Path, tmp_path: Path
) -> None:
    stop = f"1 5 {signal.SIGTERM:d}"
    first, second = train(2, code, data, tmp_path, SIGNAL=stop)
    assert first.out.splitlines()[-2] == "stopped after step 5 of 9; resume with:"
    assert (first.code, first.err) == (143, "")
    assert second == Ended(143, "", "")
    for ended in train(2, code, data, tmp_path, "--resume"):
        assert ended.code == 0, ended.err
    assert_same_run(tmp_path, alone)


def test_an_error_in_all_processes_is_reported_once(
    code: Path, data: Path, alone: Path
) -> None:
    both = train(2, code, data, alone)
    assert [ended.code for ended in both] == [1, 1]
    path = alone / "checkpoint.safetensors"
    error = f"error: {path} exists: give --resume, or another --output\n"
    assert sorted(ended.err for ended in both) == ["", error]


def test_a_usage_error_is_reported_once(code: Path) -> None:
    both = launch(2, [sys.executable, str(code / "train.py"), "--lr", "fast"], {})
    assert [ended.code for ended in both] == [2, 2]
    silent, said = sorted(ended.err for ended in both)
    assert silent == ""
    usage, error = said.splitlines()
    assert usage.endswith("train.py [-h] --data DIR [option...]")
    assert error == "error: argument --lr: invalid float value: 'fast'"


@pytest.mark.parametrize("again", range(SOAK))
def test_they_end_cleanly(again: int, code: Path, data: Path, tmp_path: Path) -> None:
    # If the group is destroyed before DistributedDataParallel, one in five aborts.
    for ended in train(2, code, data, tmp_path, "--steps", "2"):
        assert (ended.code, ended.err) == (0, "")


def test_a_compiled_network_learns_the_same_in_two_processes(
    code: Path, data: Path, alone: Path, tmp_path: Path
) -> None:
    for ended in train(2, code, data, tmp_path, "--compile"):
        assert (ended.code, ended.err) == (0, "")
    assert_same_run(tmp_path, alone)


def test_deterministic_averages_do_not_depend_on_groups() -> None:
    command = [sys.executable, str(Path(__file__).with_name("averaging.py"))]
    first, *others = launch(3, command, {"PYTHONPATH": str(ROOT)})
    assert first == Ended(0, "14 of 14 are the same\n", "")  # and no warning
    assert others == [Ended(0, "", "")] * 2


def test_dropout_differs_between_processes_and_repeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    drawn = []
    for rank in (0, 1, 2, 1):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        devices.seed_dropout(3, 7, [cpu, cpu])
        drawn.append(torch.rand(4).tolist())
    assert drawn[1] == drawn[3]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_dropout_differs_between_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    four = [torch.device("cuda", index) for index in range(4)]
    seeds: dict[torch.device, int] = {}
    current = [torch.device("cpu")]

    @contextlib.contextmanager
    def device(name: torch.device) -> Iterator[None]:
        current.append(name)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", device)

    def seed_current(seed: int) -> None:
        seeds[current[-1]] = seed

    def seed_all(seed: int) -> None:
        seeds.update(dict.fromkeys(four, seed))

    monkeypatch.setattr(torch.cuda, "manual_seed", seed_current)
    monkeypatch.setattr(torch, "manual_seed", seed_all)
    devices.seed_dropout(3, 7, four)
    assert len(set(seeds.values())) == 4
    first = dict(seeds)
    devices.seed_dropout(3, 7, four)
    assert seeds == first
    devices.seed_dropout(3, 8, four)
    assert not set(seeds.values()) & set(first.values())


@pytest.mark.parametrize(
    ("names", "cuda", "chosen"),
    [
        (None, 4, ["cuda:2", "cuda:3"]),
        (None, 3, ["cuda:1", "cuda:1"]),
        (None, 1, ["cpu", "cpu"]),
        ("cpu", 4, ["cpu", "cpu"]),
        ("cuda:3,cuda:1,cuda:2,cuda:0", 4, ["cuda:2", "cuda:0"]),
    ],
)
def test_each_process_takes_devices_of_its_own(
    names: str | None,
    cuda: int,
    chosen: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(parallel, "identity", str)
    monkeypatch.setattr(devices, "probe", lambda name: None)  # all work
    monkeypatch.setattr(torch.cuda, "set_device", lambda name: None)
    monkeypatch.setattr(parallel, "rank", lambda: 1)
    monkeypatch.setattr(parallel, "all_gather", lambda items: items * 2)
    found = devices.choose_devices(names, ("gpu0", "gpu1"))
    assert [str(device) for device in found] == chosen


@pytest.mark.parametrize(
    ("name", "cuda", "built", "why"),
    [
        ("cuda", 0, False, "device cuda:0 cannot be used: this torch has no CUDA"),
        ("cuda:0", 0, True, "device cuda:0 cannot be used: there is no such device"),
        ("cuda:2", 2, True, "device cuda:2 cannot be used: there is no such device"),
    ],
)
def test_a_cuda_device_that_is_not_there_is_named(
    name: str, cuda: int, built: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(parallel, "identity", str)
    with pytest.raises(UserError, match=f"^{why}$"):
        devices.choose_devices(name, ("gpu0",))


def test_cuda_without_a_number_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(parallel, "identity", str)
    monkeypatch.setattr(devices, "probe", lambda name: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda name: None)
    found = devices.choose_devices("cuda", ("gpu0",))
    assert found == [torch.device("cuda:0")]


def test_devices_of_two_types_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    net = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1, device="meta")])
    with pytest.raises(UserError, match=r"devices of one type, not cpu and meta"):
        parallel.replicate(net)


@pytest.mark.parametrize("flags", ["--batch-size 4", "--steps 1", "--data {other}"])
def test_processes_with_different_flags_or_images_do_not_wait_for_each_other(
    flags: str, code: Path, data: Path, tmp_path: Path
) -> None:
    other = photos(tmp_path / "photos", val=3)
    output = tmp_path / "run"
    given = flags.format(other=other)
    ended = train(2, code, data, output, SECOND_FLAGS=given)
    assert [process.code for process in ended] == [1, 1]
    expected = "error: the processes were started with different flags or images\n"
    assert "".join(process.err for process in ended) == expected
    assert not output.exists()
