"""The picture of a network is valid and legible, whatever the network is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers import ROOT, compile_data, compile_text, spec_text, towers
from hypothesis import given
from pictures import Picture
from strategies import placed_networks

from specgen.compiler import Program, compile_file
from specgen.picture import draw
from specgen.picture.words import text
from specgen.plan import make_plan

SPECS = sorted((ROOT / "specs").glob("*.yaml"))
GOLDEN = Path(__file__).with_name("architecture.svg")


def picture(program: Program) -> str:
    return draw(make_plan(program.spec, program.placed))


def network(layers: dict[str, Any], placement: dict[str, Any]) -> Program:
    data = {
        "specgen": 1,
        "name": "N" * 40,
        "input": {"channels": 3, "height": 1024, "width": 2048},
        "layers": layers,
        "placement": placement,
        "training": {"batch_size": 2},
    }
    return compile_data(data)


def long_name(start: str) -> str:
    """Return a name that is as long and wide as a spec allows."""
    return start + "W" * (38 - len(start))


def deep(count: int, devices: int) -> Program:
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


def wide(devices: int) -> Program:
    """Compile layers that are all split over many devices and exchange everything."""
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


HARD = {
    "one device, fifty layers": lambda: deep(50, 1),
    "eight devices, fifty layers": lambda: deep(50, 8),
    "all to all over eight devices": lambda: wide(8),
    "all to all over three devices": lambda: wide(3),
    "four devices": lambda: towers("four"),
    "devices in another order": lambda: towers("mixed"),
}


def is_legible(svg: str) -> None:
    """No words overlap or leave the page; arrows lead from block to block."""
    found = Picture(svg)
    for a, b in combinations(found.words, 2):
        assert not a.overlaps(b), (a, b)
    for box in (*found.words, *found.blocks, *found.lanes):
        assert box.left >= 0, box
        assert box.right <= found.width == 1000, box
        assert box.top >= 0, box
        assert box.bottom <= found.height, box
    for words in found.words:
        for block in found.blocks:
            assert not words.overlaps(block), (words, block)
    for line in found.lines:
        if line.arrow:
            x, y = line.end
            assert any(
                abs(block.left - 3 - x) < 0.2 and block.top <= y <= block.bottom
                for block in found.blocks
            ), line


@given(placed_networks())
def test_labels_never_overlap_and_arrows_end_at_blocks(data: dict[str, Any]) -> None:
    program = compile_data(data)
    svg = picture(program)
    is_legible(svg)
    plan = make_plan(program.spec, program.placed)
    red = [line for line in Picture(svg).lines if line.red and line.arrow]
    targets = {(edge.before, edge.target) for edge in plan.traffic}
    assert len(red) >= len(targets)


@pytest.mark.parametrize("name", HARD)
def test_hard_cases_are_legible(name: str) -> None:
    is_legible(picture(HARD[name]()))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_the_networks_of_this_repository_are_legible(spec: Path) -> None:
    is_legible(picture(compile_file(spec)))


def test_it_is_unchanged() -> None:
    """A change here changes every folder: look at it, then copy it."""
    assert picture(towers("two")) == GOLDEN.read_text()


def test_it_says_what_is_where_and_what_crosses() -> None:
    svg = picture(compile_text(spec_text("alexnet")))
    words = [box.words for box in Picture(svg).words]
    for said in (
        "949.91 MiB of 3.00 GiB, 31%",
        "901.03 MiB of 3.00 GiB, 29%",
        "3 x 224 x 224",
        "conv2d 11 x 11,",
        "stride 4",
    ):
        assert words.count(said) == 1, said
    # On both devices, except what only one fetches: fc8.
    assert words.count("48 x 55 x 55") == words.count("86,528 B") == 2
    assert words.count("8,192 B") == 3
    assert words.count("1000") == 1
    assert "logarithmic scale" in svg
    assert "prefers-color-scheme:dark" in svg


def test_a_device_that_reads_nothing_of_its_own_has_no_arrow_along_its_lane() -> None:
    elsewhere = "conv1..flat: gpu1\n    fc6..drop7: gpu0"
    spec = spec_text("alexnet").replace("conv1..drop7: split", elsewhere)
    svg = picture(compile_text(spec))
    fc6 = re.search(r"<title>fc6: .*?</g>\n<g transform", svg, re.DOTALL)
    assert fc6
    assert fc6[0].count('class="x"') == 1
    assert 'class="a"' not in fc6[0]


def test_it_requests_nothing_and_runs_nothing() -> None:
    """A host shows it as an image only then."""
    svg = picture(towers("two")).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"http|<script|<image|href|url\((?!#)|@import|<foreign", svg)


def test_words_are_escaped() -> None:
    """A spec's names do not need it today: they are letters, digits and underscores."""
    written = text('<b> & "c"\x00\x1b', 1.25, 2, "m")
    element = ElementTree.fromstring(written)
    assert element.text == '<b> & "c"\\x00\\x1b'
    assert element.attrib == {"class": "m", "x": "1.2", "y": "2"}


MEASURE = """<body>SVG<script>
const boxes = [...document.querySelectorAll("text")].map(text => {
  const box = text.getBoundingClientRect();
  return [box.left, box.top + 2, box.right, box.bottom - 2, text.textContent];
});
document.body.textContent = JSON.stringify(boxes);
</script>"""


@pytest.mark.parametrize("name", ["eight devices, fifty layers", "four devices"])
def test_a_browser_shows_no_overlapping_words(name: str, tmp_path: Path) -> None:
    """What is estimated above, measured with a real font."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("Chromium, which measures the words, is not installed")
    page = tmp_path / "page.html"
    page.write_text(MEASURE.replace("SVG", picture(HARD[name]())))
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [chromium, *flags, profile, page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"<body>(\[.*\])", done.stdout)
    assert found, done.stdout[:500]
    boxes = json.loads(found[1])
    assert len(boxes) > 10
    for a, b in combinations(boxes, 2):
        across = a[0] < b[2] and b[0] < a[2]
        assert not (across and a[1] < b[3] and b[1] < a[3]), (a, b)
