"""The page of `specgen report`: complete, harmless, marked where two differ."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from pathlib import Path

import pytest
from branching import residual
from browser import Browser
from helpers import TOWERS, compile_text, spec_text, towers

from specgen import cli
from specgen.page import page, views
from specgen.plan import make_plan

ALEXNET = spec_text("alexnet")
CHANGED = (
    re.sub(r"(conv3: .*?out_channels): 384", r"\1: 256", ALEXNET)
    .replace("  relu5: {", "  act5: {")
    .replace("  relu2: {op: relu}\n", "")
    .replace("epochs: 90", "epochs: 60")
)
HOSTILE = (
    "</script><script>alert(1)</script><img src=http://a.b/c onerror=alert(1)> &amp;"
)


@pytest.fixture(scope="module")
def alone() -> str:
    return page("alexnet", compile_text(ALEXNET))


@pytest.fixture(scope="module")
def both() -> str:
    return page("alexnet", compile_text(ALEXNET), ("other", compile_text(CHANGED)))


def rows(text: str, layer: str) -> list[str]:
    """Return the rows of a layer, one per side that has it."""
    return re.findall(rf'<tr data-layer="{layer}".*?</tr>', text)


def marks(row: str) -> list[str]:
    return re.findall(r"<mark>(.*?)</mark>", row)


def words(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


def test_it_says_everything_that_is_known(alone: str) -> None:
    said = words(alone)
    for text in (
        "AlexNet as published, two towers on two GPUs",
        "Krizhevsky, Sutskever & Hinton, NIPS 2012",
        "conv1 conv2d 11 4 b3 r3 96 x 55 x 55 11 34,944 105,415,200 gpu0 gpu1",
        "gpu0 949.91 MiB of 3.00 GiB",
        "fc8 gpu1 gpu0 8,192 2,097,152",
        "training.epochs 90 Section 5: roughly.",
        "conv3 The only convolution that reads both towers.",
    ):
        assert text in said, text
    assert "<mark>" not in alone
    assert 'class="mark"' not in alone


def test_it_marks_what_differs(both: str) -> None:
    for layer, before, after in (
        ("conv1", [], []),
        ("conv3", ["384 x 13 x 13", "885,120", "149,520,384"], None),
        ("conv4", ["663,936", "112,140,288"], None),
    ):
        old, new = rows(both, layer)
        assert marks(old) == before
        assert len(marks(new)) == len(marks(old)) if after is None else marks(new) == []
    (old,), (new,) = rows(both, "relu5"), rows(both, "act5")
    assert (marks(old), marks(new)) == (["relu5"], ["act5"])
    (gone,) = rows(both, "relu2")
    assert 'class="alone"' in gone
    said = words(both)
    assert "training.epochs 90 60 recipe" in said
    assert "layers.conv3.out_channels 384 256 checkpoint" in said
    assert "loads 13 of 16 tensors" in said
    for marked, count in (("conv2", 1), ("conv3", 2), ("conv1", 0), ("fc6", 0)):
        column = rf'<title>{marked}: .*\n<rect class="mark"'
        assert len(re.findall(column, both)) == count, marked


def test_equal_specs_have_nothing_marked() -> None:
    text = page("a", towers("two"), ("b", towers("two")))
    assert "No differences." in text
    assert "<mark>" not in text
    assert 'class="alone"' not in text


def test_a_split_and_a_single_device_are_side_by_side() -> None:
    text = page("a", towers("one"), ("b", towers("four")))
    assert text.count("<h2>Between devices</h2>") == 1
    assert len(rows(text, "conv1")) == 2


def test_what_has_nothing_in_it_is_left_out() -> None:
    text = page("a", towers("one"))
    heads = re.findall(r"<th[^>]*>(.*?)</th>", text)
    assert not {"from", "budget"} & {*heads}
    assert "groups" in heads
    assert "between devices" not in text
    both = page("a", compile_text(ALEXNET), ("b", towers("one")))
    assert both.count(">budget</th>") == 2  # in one table or the other


def test_a_bar_is_as_long_as_the_budget() -> None:
    """Or as what training takes, if that is more."""
    for budget, is_over in ((4 * 2**30, False), (2**20, True)):
        program = compile_text(ALEXNET)
        plan = make_plan(program.spec, program.placed)
        held = replace(plan.devices[0].memory, budget=budget)
        device = replace(plan.devices[0], memory=held)
        (bar,) = views.bars(replace(plan, devices=(device,)))
        assert bar.over == is_over
        percents = {part.name: part.percent for part in bar.parts}
        whole = max(budget, held.training)
        assert percents["weights"] == round(100 * held.weights / whole, 2)
        assert sum(percents.values()) <= 100.1


def test_what_is_over_its_budget_is_shown_before_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.html"
    files = {"over": ALEXNET.replace("gpu0: {memory: 3GiB}", "gpu0: {memory: 9MiB}")}
    wrong = files["over"].replace("groups: 2", "groups: 7")
    files |= {"right": ALEXNET, "wrong": wrong}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    over, right, wrong = (str(tmp_path / f"{name}.yaml") for name in files)
    for specs in ([over], [right, over], [over, right]):
        assert cli.main(["report", *specs, "-o", str(out)]) == 1
        wrote, said = capsys.readouterr()
        assert wrote == f"wrote {out}\n"
        assert said.count("error[") == said.count("error[over-budget]") == 1
        text = out.read_text()
        assert text.count('class="over"') == 2  # in the picture, and at the bar
        assert "949.91 MiB of 9.00 MiB: too much" in words(text)
        out.unlink()
    for specs in ([wrong], [over, wrong]):
        assert cli.main(["report", *specs, "-o", str(out)]) == 1
        assert not out.exists()
        capsys.readouterr()


def test_branches_have_a_column_of_what_is_read() -> None:
    rows = views.layers(residual())
    assert rows["layer1.0.add"][-1] == "bn2, maxpool"
    assert rows["layer1.0.conv2"][-1] == ""
    assert len({*map(len, rows.values())}) == 1


@pytest.mark.parametrize("name", ["alone", "both"])
def test_it_requests_nothing(name: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(name).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|\ssrc=|\shref=|@import|<link|<iframe", text)
    assert set(re.findall(r"url\((.)", text)) == {"#"}


def test_it_runs_nothing_but_its_own_script() -> None:
    spec = TOWERS.replace("summary:", f"reference: '{HOSTILE}'\nsummary: '{HOSTILE}' #")
    spec = spec.replace("  conv2:", f"  # {HOSTILE}\n  conv2:")
    text = page(HOSTILE, compile_text(spec), ("b", compile_text(TOWERS)))
    assert "<script>alert" not in text
    assert "<img" not in text
    assert words(text).count("onerror=alert(1)> &amp;") >= 4
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_the_command_overwrites_only_an_older_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, out = tmp_path / "net.yaml", tmp_path / "net.html"
    spec.write_text(TOWERS)
    assert cli.main(["report", str(spec), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    first = out.read_text()
    change = ["--set", "layers.fc5.out_features=7"]
    assert cli.main(["report", str(spec), "-o", str(out), *change]) == 0
    assert '<td class="r">7</td>' in out.read_text() != first
    assert cli.main(["report", str(spec), str(spec), "-o", str(out), *change]) == 0
    assert "layers.fc5.out_features" in out.read_text()
    assert f"<title>{spec} and {spec}, {change[1]}</title>" in out.read_text()
    capsys.readouterr()

    assert cli.main(["report", str(spec), "-o", str(spec)]) == 1
    assert "error[file-exists]" in capsys.readouterr().err
    assert spec.read_text() == TOWERS
    assert cli.main(["report", str(spec), "-o", str(tmp_path)]) == 1
    assert "error[file-exists]" in capsys.readouterr().err
    nowhere = tmp_path / "none" / "net.html"
    assert cli.main(["report", str(spec), "-o", str(nowhere)]) == 1
    said = capsys.readouterr().err
    assert f"error[cannot-write]: there is no folder {nowhere.parent}\n" in said
    assert {path.name for path in tmp_path.iterdir()} == {"net.yaml", "net.html"}


def test_wrong_specs_leave_the_page_unchanged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, out = tmp_path / "net.yaml", tmp_path / "net.html"
    spec.write_text(TOWERS)
    assert cli.main(["report", str(spec), "-o", str(out)]) == 0
    before = out.read_bytes()
    spec.write_text(TOWERS.replace("features: 5", "features: 0"))
    assert cli.main(["report", str(spec), str(spec), "-o", str(out)]) == 1
    assert capsys.readouterr().err.count("error[") == 1
    assert out.read_bytes() == before


COLUMN = 'columns.filter(({layers}) => layers[0] === "conv3")[1].group'
POINT = """[
  [...document.querySelectorAll("tr.hot")].map((row) => row.dataset.layer).join(" "),
  getComputedStyle(tip).display,
  tip.innerText,
]"""
TOPS = """[...document.querySelectorAll("h2")].filter((head) =>
  head.textContent === "Recipe").map((head) => head.getBoundingClientRect().top)"""
BARS = """[...document.querySelectorAll("svg .budget, svg .held")].map((bar) =>
  Math.round(bar.getBBox().height))"""
FITS = "document.documentElement.scrollWidth <= innerWidth"


@pytest.mark.parametrize(("scheme", "color"), [(1, "255, 255, 255"), (0, "13, 17, 23")])
def test_a_browser_shows_details_at_the_pointer(
    scheme: int, color: str, both: str, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(both)
    flag = f"--blink-settings=preferredColorScheme={scheme}"
    with Browser(tmp_path / "profile", flag) as browser:
        browser.open(file.as_uri())
        browser.see(f'{COLUMN}.dispatchEvent(new PointerEvent("pointerenter"))')
        hot, display, said = browser.see(POINT)
        assert hot == "conv3 relu3"
        assert display == "block"
        assert said.startswith("conv3 conv2d 3 x 3, 256 x 13 x 13, 590,080 parameters")
        browser.see(f'{COLUMN}.dispatchEvent(new PointerEvent("pointerleave"))')
        hot, display, _ = browser.see(POINT)
        assert (hot, display) == ("", "none")
        background = "getComputedStyle(document.body).backgroundColor"
        assert browser.see(background) == f"rgb({color})"
        assert browser.see(FITS)
        left, right = browser.see(TOPS)
        assert left == right
        assert browser.see(BARS) == [8, 8] * 4
