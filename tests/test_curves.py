"""The curves of runs, and the table of their best."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT
from PIL import Image

from specgen.runtime import console, curves, report
from specgen.runtime.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("wide")


def a_run(folder: Path, losses: list[float], top1: float = 0.5) -> Path:
    """Write the metrics.csv of a run with these losses, one per epoch."""
    folder.mkdir(parents=True)
    table = []
    for epoch, loss in enumerate(losses, start=1):
        for split, more in (("train", 0.0), ("val", 0.25)):
            scores = (loss + more, top1 + epoch / 100, 0.9 + epoch / 100)
            kind: Any = split
            table.append(report.row(epoch, 4 * epoch, kind, scores, 0.01, 70 + epoch))
    report.write_metrics(folder / "metrics.csv", table)
    return folder


RANGES: dict[str, Callable[[int], float]] = {
    "0.01 to 0.02": lambda i: 0.01 + 0.001 * i,
    "1 to 7": lambda i: 1 + 0.6 * i,
    "0.02 to 0.6": lambda i: 0.02 * 1.4**i,
    "1 to 30": lambda i: 1.4**i,
    "1e-3 to 1e3": lambda i: 10 ** (0.6 * i - 3),
    "1 to 1e25": lambda i: 10 ** (2.5 * i),
    "one value": lambda i: 2.3,
    "to 0": lambda i: 0.1 * (10 - i),
    "with numbers that are none": lambda i: (math.nan, math.inf, 2.0)[i % 3],
}


@pytest.mark.parametrize("name", RANGES)
def test_the_ticks_of_the_loss_can_be_read(name: str, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", [RANGES[name](i) for i in range(11)])
    figure = curves.plot(curves.find([run]))
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    low, high = figure.axes[0].get_ylim()
    ticks = [
        (label, label.get_window_extent())
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        if low <= place <= high
    ]
    minor = [label for label in axis.get_ticklabels(minor=True) if label.get_text()]
    assert minor == []
    assert 3 <= len(ticks) <= 14
    assert len({label.get_text() for label, _ in ticks}) == len(ticks)
    for (_, below), (_, above) in pairwise(ticks):
        assert below.y1 < above.y0


def test_several_runs_are_in_one_picture_and_table(tmp_path: Path) -> None:
    runs = [
        a_run(tmp_path / "plain", [3.0, 2.0, 1.5]),
        a_run(tmp_path / "_with $odd_name$", [3.0, 1.0, 2.0], top1=0.7),
    ]
    ended = subprocess.run(
        [
            sys.executable,
            ROOT / "specgen" / "runtime",
            runs[0],
            runs[1] / "metrics.csv",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "run               epochs       loss      top-1      top-5  images/s",
        "plain                  3  1.750 @ 3  0.530 @ 3  0.930 @ 3        73",
        "_with $odd_name$       3  1.250 @ 2  0.730 @ 3  0.930 @ 3        73",
        "@: the epoch of the best value on the validation images",
        "curves in curves.png",
    ]
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 1000
    legend = curves.plot(curves.find(runs)).axes[0].get_legend()
    assert legend
    names = [text.get_text().strip() for text in legend.get_texts()]
    assert names == ["plain", "_with $odd_name$"]


def test_one_run_is_drawn_next_to_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "run", [2.0])
    for given in (run, run / "metrics.csv"):
        monkeypatch.setattr(sys, "argv", ["runtime", str(given)])
        curves.main()
        assert f"curves in {run / 'curves.png'}\n" in capsys.readouterr().out
        (run / "curves.png").unlink()


def test_a_path_cannot_control_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "x\x1b[31m\nerror: all is lost", [2.0])
    monkeypatch.setattr(sys, "argv", ["runtime", str(run)])
    curves.main()
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert rf"curves in '{tmp_path}/x\x1b[31m\nerror: all is lost/curves.png'" in out
    assert (run / "curves.png").exists()


def test_runs_with_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "x\x1b[31m"]
    histories = curves.find([a_run(folder, [2.0]) for folder in folders])
    names = [str(folders[0]), str(folders[1]), r"'x\x1b[31m'"]
    assert [history.name for history in histories] == names


def test_the_best_is_a_number(tmp_path: Path) -> None:
    histories = curves.find([a_run(tmp_path / "run", [3.0, math.nan, 2.0, math.inf])])
    assert "2.250 @ 3" in curves.table(histories)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot read .*: No such file"),
        ("", "has no epochs yet"),
        ("epoch,step,split\n", "has no epochs yet"),
        ("a,b\n1,2\n", "is not a metrics.csv"),
        ("epoch,loss,top1,top5,images_per_second,split\n1,=1+1,0,0,0,val", "is not a"),
        ("epoch,loss,top1,top5,images_per_second,split\n1,1,0,0,0,test", "is not a"),
        (
            "epoch,loss,top1,top5,images_per_second,split\n1,1,0,0,0,val",
            "no epochs yet",
        ),
    ],
)
def test_other_tables_are_refused(
    content: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(sys, "argv", ["runtime", str(path)])
    with pytest.raises(SystemExit) as ended:
        console.run(curves.main)
    assert ended.value.code == 1
    assert re.match(f"error: .*{expected}", capsys.readouterr().err)
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("name", ["curves.svg", "curves", "-"])
def test_a_picture_is_a_png_file(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = a_run(tmp_path / "run", [2.0])
    monkeypatch.setattr(sys, "argv", ["runtime", str(run), "--picture", name])
    with pytest.raises(SystemExit) as ended:
        console.run(curves.main)
    assert ended.value.code == 2
    assert "error: argument --picture: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [run]


def test_a_picture_needs_its_folder(tmp_path: Path) -> None:
    runs, picture = [a_run(tmp_path / "run", [2.0])], tmp_path / "none" / "x.png"
    with pytest.raises(CheckpointError) as error:
        curves.draw(runs, picture)
    missing = f"there is no folder {picture.parent}"
    assert str(error.value) == f"cannot write {picture}: {missing}"


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.csv")
    with pytest.raises(CheckpointError, match="it is not a file"):
        curves.read(tmp_path / "metrics.csv", "run")
