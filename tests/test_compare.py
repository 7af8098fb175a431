"""`specgen compare`: which rows there are, how they are shown, what is built."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path

import pytest
from helpers import ROOT

from specgen import cli
from specgen.compiler import compile_file
from specgen.diagnostics import SpecError
from specgen.plan import make_plan
from specgen.source import Source, parse
from specgen.variants import Variant, compare, spreadsheet
from specgen.variants.text import markdown, table

ALEXNET, MINI = "specs/alexnet.yaml", "specs/alexnet_mini.yaml"
WIDTHS = "layers.conv3.out_channels=256,384,385"
PAGE = (ROOT / "docs/compare.md").read_text()


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """Specs are named as people name them."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def widths() -> list[Variant]:
    return compare([str(ROOT / ALEXNET)], sweeps=[WIDTHS])


def printed(command: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert cli.main(shlex.split(command)) == status
    return capsys.readouterr().out


# --- the page

EXAMPLES = re.findall(r"```console\n\$ specgen ([^\n]*)\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_the_page_shows_what_is_printed(
    command: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(command, capsys) == output


def test_the_page_has_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    (command,) = re.findall(r"output of\n`specgen (.*)`\. `name`", PAGE)
    out = printed(f"{command} --format json", capsys)
    assert json.loads(out) == json.loads(shown)


# --- what is compared


def test_figures_are_those_of_the_spec_with_these_options() -> None:
    sets = ["training.batch_size=64"]
    sweeps = ["layers.conv1.padding=0,{top: 1}", "layers.norm1=null,{size: 3}"]
    found = compare([ALEXNET], sets, sweeps)
    expected = [
        [*sets, f"layers.conv1.padding={padding}", f"layers.norm1={norm}"]
        for padding in ("0", "{top: 1}")
        for norm in ("null", "{size: 3}")
    ]
    assert [list(variant.options) for variant in found] == expected
    for variant in found:
        assert variant.sound
        program = compile_file(Path(ALEXNET), variant.options)
        assert variant.sound.program == program
        assert variant.sound.plan == make_plan(program.spec, program.placed)
        assert variant.name == program.variant
    changes = {"training.batch_size": 64, "layers.conv1.padding": 0}
    assert found[0].changes == changes | {"layers.norm1": None}


def test_files_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def recorded(text: bytes, file: str) -> Source:
        read.append(file)
        return parse(text, file)

    monkeypatch.setattr("specgen.frontend.overlay.parse", recorded)
    assert len(compare([MINI], sweeps=["training.epochs=3,4,5"])) == 3
    assert read == [MINI]


def test_a_variant_that_equals_the_spec_is_the_spec(
    widths: list[Variant],
) -> None:
    assert [v.sound and v.sound.is_spec for v in widths] == [False, True, None]
    (default,) = compare([MINI], sweeps=["layers.conv1.dilation=1"])
    assert default.sound
    assert default.sound.is_spec  # although nobody wrote it


def test_a_variant_that_reads_other_values_is_not_the_spec() -> None:
    spec = "specs/zoo/googlenet.yaml"
    path = "blocks.inception.layers.all.from"
    names = "branch1, branch2, branch3, branch4"
    sweep = f"{path}=[{names}],[branch4, branch3, branch2, branch1]"
    found = compare([spec], sweeps=[sweep])
    assert [v.sound and v.sound.is_spec for v in found] == [True, False]


def test_more_images_at_once() -> None:
    one, many = (compare([MINI], images=images)[0].sound for images in (1, 64))
    assert one
    assert many
    assert (one.plan.images, many.plan.images) == (1, 64)
    assert one.plan.devices[0].memory.training < many.plan.devices[0].memory.training


def test_names_tell_files_with_one_name_apart(tmp_path: Path) -> None:
    copy = tmp_path / "alexnet_mini.yaml"
    copy.write_bytes(Path(MINI).read_bytes())
    found = compare([MINI, str(copy), MINI], sweeps=["training.epochs=3"])
    assert [v.name for v in found] == [
        f"{spec} training.epochs=3" for spec in (MINI, str(copy))
    ]
    assert str(MINI) in table(found)


def test_too_many_are_refused_before_any_is_compiled() -> None:
    values = ",".join(map(str, range(1, 33)))
    sweeps = [f"training.epochs={values}", f"training.batch_size={values}"]
    with pytest.raises(SpecError) as caught:
        compare([MINI], sweeps=sweeps)
    (error,) = caught.value.diagnostics
    assert error.code == "too-many-variants"
    assert "1,024 variants (32 of training.epochs x 32 of" in error.message


def test_unreadable_input_gives_all_errors_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        compare(["a.yaml", MINI, "b.yaml"], ["x"], ["y"])
    codes = [error.code for error in caught.value.diagnostics]
    assert codes == ["cannot-read", "cannot-read", "bad-sweep", "bad-set"]


# --- how it is shown


def test_tables_fit_a_terminal() -> None:
    sweeps = ["layers.conv1.kernel_size=7,11", "training.batch_size=32,64,100000"]
    for specs in ([ALEXNET], sorted(map(str, Path("specs").glob("*.yaml")))):
        assert max(map(len, table(compare(specs, sweeps=sweeps)).splitlines())) <= 80


def test_what_differs_from_the_first_is_marked() -> None:
    found = compare([ALEXNET], sweeps=["layers.conv3.out_channels=385,384,256"])
    lines = [line.split() for line in table(found).splitlines()]
    assert ["384", "60,965,224", "724,406,816", "949.9", "901.0", "598"] in lines
    assert ["256", "60,449,000*", "637,186,592*", "941.7*", "892.8*", "604*"] in lines
    rows = markdown(found).splitlines()
    assert rows[3].startswith("| `384` | 60,965,224 | 724,406,816 |")
    assert rows[4].startswith("| `256` | **60,449,000** | **637,186,592** |")


def test_budgets_are_for_the_batch_that_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for recipe in (128, 900):
        sets = [f"training.batch_size={recipe}"]
        (variant,) = compare([ALEXNET], sets, images=598)
        assert variant.sound
        assert variant.sound.plan.images == variant.sound.plan.most_images == 598
        (variant,) = compare([ALEXNET], sets, images=599)
        assert [problem.code for problem in variant.problems] == ["over-budget"]
        assert variant.reasons[0].startswith("training on 599 images at once takes")
    swept = f"compare {ALEXNET} --sweep training.epochs=1,2"
    assert "at most 598 images fit" in " ".join(printed(swept, capsys).split())
    swept = f"compare {MINI} --sweep training.epochs=1,2"
    assert "images fit" not in " ".join(printed(swept, capsys).split())


def test_a_batch_that_was_asked_for_is_not_built() -> None:
    with pytest.raises(SystemExit):
        cli.main(shlex.split(f"compare {MINI} --batch-size 1 --build out"))


def test_a_reason_names_the_place() -> None:
    sweeps = ["training.batch_size=0", "layers.conv3.groups=5"]
    (variant,) = compare([MINI], sweeps=sweeps)
    said = variant.as_json()["error"].split("; ")
    assert "training.batch_size: must be at least 1, got 0" in said
    assert any(sentence.startswith("conv3: ") for sentence in said)
    assert len(said) == len(variant.problems)


def test_warnings_name_their_variants() -> None:
    found = compare([MINI], sweeps=["data.std=64,1,2,3,4"])
    said = "warning[large-values]: data.std=1; data.std=2; data.std=3; 1 more"
    assert table(found).endswith(f"\n{said}")
    assert markdown(found).endswith(f"\n- `{said}`")
    one, other = "specs/alexnet_1gpu.yaml", MINI
    found = compare([one, other], ["data.std=1"])
    assert f"warning[large-values]: {other}" in table(found).splitlines()


def test_traffic_is_of_several_devices() -> None:
    one = ["specs/alexnet_1gpu.yaml"]
    assert "between" not in table(compare(one)) + markdown(compare(one))
    assert "between" in table(compare([*one, MINI])).splitlines()[0]


def test_json_has_these_keys_and_no_others(widths: list[Variant]) -> None:
    for variant in widths:
        assert list(variant.as_json()) == [
            *("name", "changes", "parameters", "macs", "devices"),
            *("traffic_bytes_per_image", "error"),
        ]


def test_csv_has_numbers(widths: list[Variant]) -> None:
    rows = list(csv.DictReader(io.StringIO(spreadsheet.table(widths))))
    assert rows[1]["layers.conv3.out_channels"] == "384"
    assert rows[1]["parameters"] == "60965224"
    assert rows[1]["training_bytes.gpu0"] == "996054496"
    assert rows[1]["receptive_field_width"] == "195"
    assert rows[1]["error"] == rows[2]["parameters"] == ""
    assert rows[2]["error"].startswith("conv3: 385 channels")


# What reverses the text after it is not a control character, and is allowed in YAML.
HOSTILE = ['"=1+1"', '"@x"', "+x", "-x", '"\\e[31m|`"', "\u202e<b>", "-1", "-1.5"]


def test_texts_do_no_harm(tmp_path: Path) -> None:
    evil = tmp_path / "=\x1b[31m`|.yaml"
    evil.write_text("x: 1")
    found = compare([str(evil), MINI], sweeps=[f"summary={','.join(HOSTILE)}"])
    for text in (table(found), markdown(found), spreadsheet.table(found)):
        assert all(line.isprintable() for line in text.splitlines())
    rows = list(csv.reader(io.StringIO(spreadsheet.table(found))))
    for row in rows:
        assert not any(re.match(r"[=@+-](?!\d+(\.\d+)?$)", cell) for cell in row)
    assert [row[2] for row in rows[3:5]] == ["'+x", "'-x"]
    assert [row[2] for row in rows[7:9]] == ["-1", "-1.5"]
    for line in markdown(found).splitlines()[2 : 2 + len(HOSTILE)]:
        first = re.split(r"(?<!\\)\|", line)[1]
        assert re.fullmatch(r" (`+)(.*?)\1 ", first)


# --- the command


def test_a_refused_spec_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("specgen: 1\nname: Net\n")
    assert cli.main(["compare", MINI, str(wrong), "--format", "csv"]) == 1
    out, said = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "error[missing-key]" in said
    assert f"--> {wrong}:1:1" in said


def test_all_values_but_one_may_be_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweep = "compare specs/alexnet_mini.yaml --sweep training.batch_size="
    assert "refused[out-of-range]" in printed(f"{sweep}0,-1,4", capsys)
    assert printed(f"{sweep}0,-1", capsys, status=1).count("refused") == 2


def test_a_folder_stands_for_its_specs(capsys: pytest.CaptureFixture[str]) -> None:
    stems = sorted(path.stem for path in Path("specs").glob("*.yaml"))
    rows = printed("compare specs", capsys).partition("---\n")[2].splitlines()
    assert [row.split()[0] for row in rows[: len(stems)]] == stems


def test_force_works_only_with_build(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["compare", MINI, "--force"])
    assert "--force works only with --build" in capsys.readouterr().err
