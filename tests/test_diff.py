"""How a difference is shown: text, Markdown, JSON; and what can be compared."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from edits import edited, plain, rename
from helpers import ROOT, compile_data, compile_text

from specgen import cli
from specgen.cli import diff as diff_command
from specgen.compiler import compile_file
from specgen.diff import Difference, Tier, compare
from specgen.diff.markdown import markdown
from specgen.diff.text import text

ALEXNET = Path("specs/alexnet.yaml")
PAGE = (ROOT / "docs/diff.md").read_text()


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are relative, as people see them."""
    monkeypatch.chdir(ROOT)


def changed(*sets: str, stem: str = "alexnet") -> Difference:
    path = Path(f"specs/{stem}.yaml")
    return compare(compile_file(path), compile_file(path, sets))


def squeezed(words: str) -> list[str]:
    return [" ".join(line.split()) for line in words.splitlines()]


# --- the page


EXAMPLES = re.findall(r"```console\n\$ specgen ([^\n]*)\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_the_page_shows_what_is_printed(
    command: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(shlex.split(command)) == 0
    assert capsys.readouterr().out == output


def test_the_page_has_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    (command,) = re.findall(r"This is the output of\n`specgen (.*)`", PAGE)
    assert cli.main([*shlex.split(command), "--format", "json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == json.loads(shown)


def test_the_page_names_every_tier() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.M) == [str(tier) for tier in Tier]
    assert [str(tier) for tier in Tier] == list(diff_command.TIERS)


# --- text


def test_what_fits_on_a_line_is_on_one() -> None:
    lines = text(changed("layers.conv3.out_channels=256")).splitlines()
    assert lines[0] == "checkpoint: an old checkpoint does not load as is"
    assert lines[2].startswith("  layers.conv3.out_channels   384 -> 256    ")
    assert lines[2].endswith("specs/alexnet.yaml:22")
    assert max(map(len, lines[3:])) <= 80


def test_figures_of_a_recipe_are_unchanged() -> None:
    lines = squeezed(text(changed("training.epochs=30")))
    assert "parameters, MACs, memory and traffic are unchanged" in lines
    assert not any("loads" in line for line in lines[1:])
    lines = squeezed(text(changed("training.batch_size=64")))
    assert "images at once 128 -> 64 -50.0%" in lines
    assert "gpu0, training 949.91 MiB -> 661.10 MiB -30.4% of 3.00 GiB" in lines


def test_devices_that_are_added_and_removed() -> None:
    lines = squeezed(
        text(changed("placement={devices: {solo: {}}, layers: {conv1..prob: solo}}"))
    )
    assert "gpu1, training 901.03 MiB -> none 128 images" in lines
    assert "solo, training none -> 1.71 GiB 128 images" in lines
    assert "between devices 836,608 B -> 0 B -100.0% per image" in lines
    assert lines[2].startswith("placement.devices [gpu0, gpu1] -> [solo]")


def test_a_split_over_all_devices_says_which_if_they_are_others_now() -> None:
    four, two = (
        compile_file(Path(f"specs/{s}.yaml")) for s in ("alexnet_2x4", "alexnet")
    )
    lines = squeezed(text(compare(four, two)))
    assert "- {split: [gpu0, gpu1, gpu2, gpu3]}" in lines
    assert "+ {split: [gpu0, gpu1]}" in lines
    assert not any("split -> split" in line for line in lines)


def test_budgets_are_written_as_in_a_spec() -> None:
    sets = ["placement.devices.gpu0={memory: 4000MB}", "training.batch_size=64"]
    shown = text(changed(*sets))
    lines = squeezed(shown)
    assert any(
        line.startswith("placement.devices.gpu0.memory 3GiB -> 4GB ") for line in lines
    )
    assert any(line.endswith("of 3.73 GiB") for line in lines)
    assert any(line.endswith("of 3.00 GiB") for line in lines)
    assert max(map(len, shown.splitlines())) <= 80


def test_many_shapes_and_tensors_are_cut() -> None:
    data = plain(compile_file(ALEXNET))
    old = compile_data(data)
    for index, name in enumerate(list(data["layers"])):
        data = rename(data, name, f"layer{index}")
    difference = compare(old, compile_data(data))
    lines = squeezed(text(difference))
    assert "loads 0 of 16 tensors" in lines
    assert "renamed conv1.weight -> layer0.weight" in lines
    assert "and 4 more" in lines


def test_no_differences() -> None:
    difference = changed()
    assert text(difference) == "same: no differences"
    assert markdown(difference) == "**same**: no differences"
    assert difference.as_json()["changes"] == []


def test_a_summary_that_nobody_wrote_is_not_a_change() -> None:
    program = compile_file(ALEXNET, ["layers.norm1.k=3"])
    assert program.spec.summary.startswith("Based on: ")
    (change,) = compare(compile_file(ALEXNET), program).changes
    assert change.path == "layers.norm1.k"


def test_color_only_repeats_what_the_text_says() -> None:
    for difference in (changed("layers.norm1.alpha=1"), changed("layers.norm1=null")):
        colored = text(difference, color=True)
        assert "\x1b[31m" in colored
        assert re.sub(r"\x1b\[[\d;]*m", "", colored) == text(difference)
    assert str(difference) == text(difference)


def test_values_look_as_in_a_spec() -> None:
    difference = changed(
        "layers.conv1.padding={bottom: null, right: null, top: 1}",
        "layers.pool1.stride=[2, 3]",
        "layers.norm1.alpha=1e-5",
        "data.flip=false",
        "data.std=64",
        "training.clip_grad_norm=2",
        "training.optimizer.lr=0.3",
        "summary='true'",
        "reference='#1: x'",
    )
    lines = squeezed(text(difference))
    places = re.compile(r" specs/alexnet.yaml:\d+$")
    lines = [places.sub("", line) for line in lines]
    for line in (
        "- {bottom: 3, right: 3}",
        "+ {top: 1}",
        "layers.pool1.stride 2 -> [2, 3]",
        "layers.norm1.alpha 0.0001 -> 1e-05",
        "data.flip true -> false",
        "data.std 1 -> 64",
        "training.clip_grad_norm none -> 2",
        "training.optimizer.lr 0.01 -> 0.3",
        'summary AlexNet as published, two towers on two GPUs -> "true"',
        'reference Krizhevsky, Sutskever & Hinton, NIPS 2012 -> "#1: x"',
    ):
        assert line in lines


def test_a_long_place_goes_below() -> None:
    path = ROOT / ALEXNET
    sets = ["training.optimizer.weight_decay=0.25", "layers.norm2=null"]
    lines = text(compare(compile_file(path), compile_file(path, sets))).splitlines()
    for start in (
        "  training.optimizer.weight_decay   0.0005 -> 0.25",
        "  layers.norm2",
    ):
        (index,) = [i for i, line in enumerate(lines) if line.startswith(start)]
        found = lines[index] + lines[index + 1]
        assert str(path) in found
        assert len(lines[index]) <= 80


# --- hostile text


EVIL = "| `` <img src=x> @all #1 \x1b[31m\n[x](http://y) ~~~ ``` &lt; \\| _z_ "


def hostile() -> Difference:
    data = plain(compile_file(ALEXNET))
    data["reference"] = "```"
    old = compile_data(data)
    data = edited(data, ("summary",), EVIL)
    return compare(old, compile_data(data | {"reference": "`|` \x9b2J \u202e"}))


def test_a_spec_cannot_control_the_terminal() -> None:
    shown = text(hostile())
    assert all(line.isprintable() for line in shown.splitlines())
    assert "\\u001b[31m" in shown
    assert "\\u202e" in shown


def test_comments_may_be_on_anything(tmp_path: Path) -> None:
    old = tmp_path / "net.yaml"
    old.write_text((ROOT / "specs/zoo/resnet50.yaml").read_text())
    new = tmp_path / "commented.yaml"
    lines = old.read_text().splitlines(keepends=True)
    bare = [line for line in lines if not line.lstrip().startswith("#")]
    keys = re.compile(r"( *)(\w+:)")
    said = [keys.sub(r"\1# On \2\n\g<0>", line, count=1) for line in bare]
    new.write_text("".join(said))
    found = compare(compile_file(old), compile_file(new))
    assert found.tier is Tier.SAME
    paths = {change.path for change in found.changes}
    assert {"layers", "layers.layer1", "params", "blocks.bottleneck.layers"} <= paths


NETWORK = """\
specgen: 1
name: Net
input: {channels: 3, height: 12, width: 12}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1, bias: true}
  # The first line.
  # The second line.
  # layers: a line that looks like a key.
  relu1: {op: relu}
  flat: {op: flatten}
  fc2: {op: linear, out_features: 10}
"""


def shown(old: str, new: str) -> list[str]:
    """Return the lines about the changes."""
    lines = text(compare(compile_text(old), compile_text(new))).splitlines()
    return [line for line in lines if re.match("    [-+ ] |  layers|  init", line)]


def test_a_comment_is_shown_as_its_lines_that_differ() -> None:
    new = NETWORK.replace(
        "The second line.", f"Another second line, {'long, ' * 9}end."
    )
    assert shown(NETWORK, new)[1:] == [
        "    - # The second line.",
        "    + # Another second line, long, long, long, long, long, long, long, long,",
        "      # long, end.",
    ]
    assert compare(compile_text(NETWORK), compile_text(new)).changes[0].before == (
        "# The first line.\n# The second line.\n# layers: a line that looks like a key."
    )


def test_a_layer_is_shown_as_it_is_written() -> None:
    both = "  both: {op: add, from: [relu1, conv1]}\n  flat:"
    drop = "  drop: {op: dropout, p: 0.5}\n  flat:"
    for line, written in ((both, "{op: add, from: [relu1, conv1]}"), (drop, None)):
        new = NETWORK.replace("  flat:", line)
        written = written or "{op: dropout, p: 0.5}"
        assert f"    + {written}" in shown(NETWORK, new)
        assert f"    - {written}" in shown(new, NETWORK)
    other = "max_pool2d, kernel_size: 3, padding: 1, stride: 1}"
    new = NETWORK.replace(
        "conv2d, out_channels: 8, kernel_size: 3",
        "conv2d, kernel_size: 3, out_channels: 8",
    )
    new = new.replace("conv1: {op", "pool1: {op: " + other + "\n  conv1: {op")
    assert shown(NETWORK, new)[1] == "    + {op: " + other


def test_a_default_that_is_written_out_is_not_a_change() -> None:
    new = f"{NETWORK}init: {{weight: kaiming_normal, bias: 0}}\n"
    assert shown(NETWORK, new) == []
    pool = "  pool: {op: max_pool2d, kernel_size: 2, stride: %s}\n  flat:"
    texts = [
        NETWORK.replace("  flat:", pool % stride).replace(", stride: None", "")
        for stride in (None, 2, 1)
    ]
    assert [shown(texts[0], text) == [] for text in texts] == [True, True, False]
    for size, tier in ((14, Tier.SAME), (15, Tier.RECIPE)):
        new = f"{NETWORK}data: {{size: {size}}}\n"
        difference = compare(compile_text(NETWORK), compile_text(new))
        assert (difference.tier, len(difference.changes)) == (tier, tier != Tier.SAME)
    new = f"{NETWORK}init: {{weight: xavier_normal}}\n"
    assert shown(NETWORK, new)[0].split()[:4] == [
        "init.weight",
        "kaiming_normal",
        "->",
        "xavier_normal",
    ]


def test_a_spec_cannot_escape_its_cell_in_a_comment() -> None:
    """Every value is one code span in one cell, whatever is in it."""
    shown = markdown(hostile())
    rows = [line for line in shown.splitlines() if line.startswith("| `")]
    assert len(rows) == 2
    for row in rows:
        cells = re.split(r"(?<!\\)\|", row)[1:-1]
        assert len(cells) == 4
        for cell in cells[:3]:
            span = re.fullmatch(r" (`+)(.*?)\1 ", cell)
            assert span, cell
            assert span[1] not in re.findall("`+", span[2])
    assert all(line.isprintable() for line in shown.splitlines())


def test_fences_are_longer_than_any_inside() -> None:
    shown = markdown(changed("layers.conv3.out_channels=256"))
    assert shown.count("```text\n") == 2
    assert shown.count("<details>") == shown.count("</details>") == 2
    assert shown.count("|---|---:|---:|---|") == 1  # one table
    assert "| parameters | 60,965,224 | 60,449,000 | -0.8% |" in shown
    assert "between devices" not in shown  # as before


# --- the command


@pytest.mark.parametrize(
    ("limit", "status"),
    [("same", 1), ("recipe", 1), ("function", 1), ("checkpoint", 0), ("interface", 0)],
)
def test_fail_on(limit: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["diff", str(ALEXNET), "--set", "layers.norm1.k=3", "--fail-on", limit]
    assert cli.main(command) == status
    assert capsys.readouterr().out.startswith("function: ")


def test_the_second_spec_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    specs = [str(ALEXNET), "specs/alexnet_1gpu.yaml"]
    command = ["diff", *specs, "--set", "training.epochs=3", "--format", "json"]
    assert cli.main(command) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content) == ["tier", "changes", "figures", "checkpoint"]
    paths = [change["path"] for change in content["changes"]]
    assert "training.epochs" in paths
    assert "placement.devices" in paths


def test_one_spec_alone_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["diff", str(ALEXNET)])
    assert "give a second spec to compare with" in capsys.readouterr().err


def test_errors_of_both_are_reported_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["diff", "a.yaml", "b.yaml"]) == 1
    said = capsys.readouterr().err
    assert "cannot read a.yaml" in said
    assert "cannot read b.yaml" in said
    sets = ["--set", "layers.conv1.groups=7"]
    assert cli.main(["diff", str(ALEXNET), *sets]) == 1
    assert "2 errors\n" in capsys.readouterr().err


def test_color_is_for_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["diff", str(ALEXNET), "--set", "layers.norm1.k=3"]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert cli.main(command) == 0
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert cli.main(command) == 0
    assert "\x1b" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(command) == 0
    assert "\x1b" not in capsys.readouterr().out
