"""The picture of a network is valid and legible, whatever the network is."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from branching import copied, dense, inception, residual
from browser import Browser
from helpers import ROOT, compile_data, compile_text, spec_text, towers
from hypothesis import given
from pictures import Box, Picture, is_legible, leads_where_it_is_read
from strategies import placed_networks

from specgen.compiler import Program, compile_file
from specgen.picture import draw
from specgen.picture.stages import MOST_COLUMNS
from specgen.picture.words import cut, lines, text, width
from specgen.plan import Plan, make_plan

SPECS = sorted((ROOT / "specs").glob("*.yaml"))
SPECS += [
    ROOT / f"specs/zoo/{name}.yaml" for name in ("resnet50", "shufflenet_v2_x1_0")
]
GOLDEN = Path(__file__).with_name("architecture.svg")


def planned(program: Program) -> Plan:
    return make_plan(program.spec, program.placed)


def network(layers: dict[str, Any], placement: dict[str, Any]) -> Plan:
    data = {
        "specgen": 1,
        "name": "N" * 40,
        "input": {"channels": 3, "height": 1024, "width": 2048},
        "layers": layers,
        "placement": placement,
        "training": {"batch_size": 2},
    }
    return planned(compile_data(data))


def long_name(start: str) -> str:
    """Return a name that is as long and wide as a spec allows."""
    return start + "W" * (38 - len(start))


def deep(count: int, devices: int) -> Plan:
    """Compile a chain of convolutions, one device after the other."""
    convs = {
        long_name(f"conv{i}_"): {"op": "conv2d", "out_channels": 640, "kernel_size": 1}
        for i in range(count)
    }
    end = {
        "flat": {"op": "flatten"},
        "fc": {"op": "linear", "out_features": 2},
    }
    names = [long_name(f"gpu{i}_") for i in range(devices)]
    where = {
        layer: names[index * devices // count] for index, layer in enumerate(convs)
    }
    return network(
        convs | end,
        {
            "devices": {name: {"memory": "99999GiB"} for name in names},
            "layers": where | {"flat..fc": names[-1]},
        },
    )


def wide(devices: int) -> Plan:
    """Compile layers that all are split over many devices, and exchange everything."""
    layers = {
        f"conv{i}": {"op": "conv2d", "out_channels": 16 * devices, "kernel_size": 3}
        for i in range(10)
    }
    layers |= {
        "pool": {"op": "avg_pool2d", "kernel_size": [1004, 2028]},
        "flat": {"op": "flatten"},
        "fc": {"op": "linear", "out_features": 1000},
    }
    names = [f"gpu{index}" for index in range(devices)]
    return network(
        layers,
        {
            "devices": {name: {} for name in names},
            "layers": {"conv0..flat": "split", "fc": names[-1]},
        },
    )


HARD: dict[str, Callable[[], Plan]] = {
    "one device, fifty layers": lambda: deep(50, 1),
    "eight devices, fifty layers": lambda: deep(50, 8),
    "all to all over eight devices": lambda: wide(8),
    "all to all over three devices": lambda: wide(3),
    "four devices": lambda: planned(towers("four")),
    "devices in another order": lambda: planned(towers("mixed")),
    "skip connections": residual,
    "branches over two devices": inception,
    "all read all before": dense,
    "a copy that two read": copied,
}


@given(placed_networks())
def test_labels_never_overlap_and_arrows_end_at_blocks(data: dict[str, Any]) -> None:
    plan = planned(compile_data(data))
    svg = draw(plan)
    is_legible(svg)
    leads_where_it_is_read(svg, plan)


@pytest.mark.parametrize("name", HARD)
def test_hard_cases_are_legible(name: str) -> None:
    is_legible(draw(HARD[name]()))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_the_networks_of_this_repository_are_legible(spec: Path) -> None:
    plan = planned(compile_file(spec))
    is_legible(draw(plan))
    leads_where_it_is_read(draw(plan), plan)


def test_it_is_what_it_was() -> None:
    """What changes here changes in every folder: look at it, then copy it."""
    assert draw(planned(towers("two"))) == GOLDEN.read_text()


def test_it_says_what_is_where_and_what_crosses() -> None:
    svg = draw(planned(compile_text(spec_text("alexnet"))))
    words = [box.words for box in Picture(svg).words]
    for said in (
        "949.91 MiB",
        "31%",
        "901.03 MiB",
        "29%",
        "3 x 224 x 224",
        "conv2d 11 x 11",
        "stride 4",
    ):
        assert words.count(said) == 1, said
    # On both devices, except what only one fetches: fc8.
    assert words.count("48 x 55 x 55") == words.count("86,528 B") == 2
    assert words.count("of 3.00 GiB") == 2
    assert words.count("8,192 B") == 3
    assert words.count("1000") == 1
    assert "logarithmic scale" in svg
    assert "prefers-color-scheme:dark" in svg


def test_a_device_that_reads_nothing_of_its_own_has_no_arrow_along_its_lane() -> None:
    elsewhere = "conv1..flat: gpu1\n    fc6..drop7: gpu0"
    spec = spec_text("alexnet").replace("conv1..drop7: split", elsewhere)
    svg = draw(planned(compile_text(spec)))
    fc6 = re.search(r"<title>fc6: .*?</g>\n<g transform", svg, re.DOTALL)
    assert fc6
    assert fc6[0].count('class="x"') == 1
    assert 'class="a"' not in fc6[0]


def test_it_requests_nothing_and_runs_nothing() -> None:
    """A host shows it as an image only then."""
    svg = draw(planned(towers("two"))).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"http|<script|<image|href|url\((?!#)|@import|<foreign", svg)


def test_of_a_very_deep_network_the_first_columns_are_drawn() -> None:
    plan = deep(MOST_COLUMNS + 20, 1)
    svg = draw(plan)
    assert svg.count("conv") > MOST_COLUMNS / 2
    assert f"Only {MOST_COLUMNS} columns are drawn" in svg
    assert plan.layers[-2].name not in svg
    assert "columns are drawn" not in draw(deep(20, 1))


def test_words_are_escaped() -> None:
    """A spec's names do not need it today: they are letters, digits and underscores."""
    written = text('<b> & "c"\x00\x1b', 1.25, 2, "m")
    element = ElementTree.fromstring(written)
    assert element.text == '<b> & "c"\\x00\\x1b'
    assert element.attrib == {"class": "m", "x": "1.2", "y": "2"}


WORDS = """[...document.querySelectorAll("text")].map((text) => {
  const box = text.getBoundingClientRect();
  return [box.left, box.top + 2, box.right, box.bottom - 2, text.textContent];
})"""
POINTS = """[...document.querySelectorAll("path.a, path.x")].flatMap((line) => {
  const points = [], place = line.getScreenCTM();
  for (let at = 0; at < line.getTotalLength(); at += 2)
    points.push(line.getPointAtLength(at).matrixTransform(place));
  return points.map(({x, y}) => [x, y]);
})"""


@pytest.mark.parametrize("name", ["eight devices, fifty layers", "skip connections"])
def test_a_browser_shows_no_words_over_others(name: str, tmp_path: Path) -> None:
    """What is estimated above, measured with a real font."""
    file = tmp_path / "picture.svg"
    file.write_text(draw(HARD[name]()))
    with Browser(tmp_path / "profile") as browser:
        browser.open(file.as_uri())
        boxes = [Box(*measured) for measured in browser.see(WORDS)]
        points = [Box(x, y, x, y) for x, y in browser.see(POINTS)]
    assert len(boxes) > 10
    for a, b in combinations(boxes, 2):
        assert not a.overlaps(b), (a, b)
    assert len(points) > 1000
    assert not [(a, b) for a in points for b in boxes if a.overlaps(b)]


@pytest.mark.parametrize("words", ["", "a", "WWW, WWW, WWW", "i" * 50, "a_b c é" * 9])
@pytest.mark.parametrize("room", [0, 10, 50, 91.5, 400])
def test_a_text_is_cut_as_late_as_possible(words: str, room: float) -> None:
    found = cut(words, room, 11)
    if width(words, 11) <= room:
        assert found == words
        return
    fitting = [n for n in range(len(words)) if width(f"{words[:n]}...", 11) <= room]
    assert found == f"{words[: max(fitting, default=0)].rstrip(' ,')}..."


def test_thousands_of_names_are_cut_without_measuring_each_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = []

    def measure(words: str, size: float, *, bold: bool = False) -> float:
        measured.append(len(words))
        return width(words, size, bold=bold)

    monkeypatch.setattr("specgen.picture.words.width", measure)
    names = [f"relu{number}" for number in range(5000)]
    first, last = lines(names, 100, 11, 2)
    assert first == "relu0 relu1"
    assert last.endswith("...")
    assert sum(measured) < 10_000
