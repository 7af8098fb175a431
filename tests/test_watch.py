"""`specgen watch`: what is built again when, and what is said about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from specgen import cli, watch
from specgen.diagnostics import SpecError

SPEC = """\
specgen: 1
name: Net
input: {channels: 3, height: 8, width: 8}
layers:
  flat: {op: flatten}
  fc: {op: linear, out_features: 5}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(SPEC)


class Editor:
    """Replaces time.sleep: a step is done at every second look, then Ctrl-C."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)
        self.looks = 0

    def __call__(self, seconds: float) -> None:
        self.looks += 1
        if self.looks % 3 == 0:
            if not self.steps:
                raise KeyboardInterrupt
            self.steps.pop(0)()


def save(name: str, text: str) -> Callable[[], object]:
    """Save as editors do: a new file in place of the old one."""

    def step() -> None:
        Path(f"{name}~").write_text(text)
        Path(f"{name}~").replace(name)

    return step


def watched(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    *steps: Callable[[], object],
) -> tuple[list[str], str]:
    """Return the lines said, without their times, and stderr."""
    monkeypatch.setattr(time, "sleep", Editor(*steps))
    with pytest.raises(KeyboardInterrupt):
        cli.main(["watch", *arguments])
    out, said = capsys.readouterr()
    return [line[9:] if line[:1].isdigit() else line for line in out.splitlines()], said


def test_what_a_save_means(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wider = SPEC.replace("out_features: 5", "out_features: 6")
    lines, said = watched(
        monkeypatch,
        capsys,
        ["net.yaml"],
        save("net.yaml", wider),
        save("net.yaml", wider + "# nothing\n"),
    )
    first, ready, second, meaning, *_, third, nothing = lines
    assert first.startswith("net.yaml: built; ")
    assert ready == "watching; press Ctrl-C to stop"
    assert second.startswith("net.yaml: interface; ")
    assert meaning.startswith(
        "  layers.fc.out_features 5 -> 6, parameters +20.0%, MACs"
    )
    assert third == "net.yaml: same; 1 file written"  # the lock has the spec's hash
    assert nothing.strip()
    assert said == ""
    assert "6" in Path("generated/net/model.py").read_text()


def test_what_a_layer_reads_is_a_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = "  tanh: {op: tanh}\n  both: {op: concat, from: [flat, tanh]}\n  fc:"
    spec = SPEC.replace("  fc:", both)
    Path("net.yaml").write_text(spec)
    swapped = spec.replace("[flat, tanh]", "[tanh, flat]")
    lines, _ = watched(monkeypatch, capsys, ["net.yaml"], save("net.yaml", swapped))
    assert lines[2].startswith("net.yaml: function; ")
    assert lines[3] == "  layers.both.from [flat, tanh] -> [tanh, flat]"


def test_errors_come_and_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, said = watched(
        monkeypatch,
        capsys,
        ["net.yaml"],
        save("net.yaml", SPEC.replace("flatten", "flaten")),
        save("net.yaml", SPEC),
    )
    assert lines[2:4] == [
        "net.yaml: error; generated/net is unchanged",
        "net.yaml: fixed, same; 0 files written",
    ]
    assert said.startswith("error[unknown-op]")
    assert said.count("1 error\n") == 1


def test_a_base_counts_even_if_it_was_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("top.yaml").write_text("extends: base.yaml\n")
    lines, said = watched(
        monkeypatch,
        capsys,
        ["top.yaml"],
        save("base.yaml", SPEC),
        save("base.yaml", SPEC.replace("out_features: 5", "out_features: 7")),
    )
    assert lines[0] == "top.yaml: error; generated/top is unchanged"
    assert said.startswith("error[cannot-read]: cannot read base.yaml")
    assert lines[2].startswith("top.yaml: fixed, built; ")
    assert lines[3].startswith("top.yaml: interface; ")


def test_one_wrong_spec_does_not_keep_others_from_being_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.yaml").write_text(
        "extends: net.yaml\nlayers: {fc: {out_features: 1}}\n"
    )
    more = "extends: net.yaml\nlayers: {fc: {out_features: 9}}\n"
    lines, said = watched(monkeypatch, capsys, ["."], save("third.yaml", more))
    assert lines[0].startswith("net.yaml: built; ")
    assert lines[1] == "other.yaml: error; generated/other is unchanged"
    assert lines[3].startswith("third.yaml: built; ")
    assert "error[no-classes]" in said


def test_an_edited_file_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def edit() -> None:
        Path("generated/net/model.py").write_text("mine")
        Path("net.yaml").write_text(SPEC.replace("out_features: 5", "out_features: 6"))

    _, said = watched(monkeypatch, capsys, ["net.yaml"], edit)
    assert said.startswith("error[edited-file]")
    assert Path("generated/net/model.py").read_text() == "mine"


def test_a_save_during_a_build_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Path("net.yaml")
    monkeypatch.setattr(time, "sleep", Editor())
    looked = watch.Watch([spec])
    assert looked.wait() == [spec]
    save("net.yaml", SPEC + "# more\n")()
    looked.is_read_from(spec, [spec])
    assert looked.wait() == [spec]
    with pytest.raises(KeyboardInterrupt):
        looked.wait()


def test_a_folder_without_specs_is_refused() -> None:
    Path("empty").mkdir()
    with pytest.raises(SpecError):
        watch.Watch([Path("empty")]).wait()


def test_ctrl_c_ends_it_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "specgen", "watch", "net.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    assert process.stdout
    while "Ctrl-C" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    timer.cancel()
    assert (process.returncode, said) == (130, "")
