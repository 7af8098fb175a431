"""The page of `specgen report`: complete, harmless, marked where two differ."""

from __future__ import annotations

import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path

import pytest
from helpers import TOWERS, compile_text, spec_text, towers

from specgen import cli
from specgen.page import page

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
        "conv1 conv2d 11 4 b3 r3 96 x 55 x 55 34,944 105,415,200 gpu0 gpu1",
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
    assert "error[cannot-write]" in capsys.readouterr().err
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


# Run in the page, where its own rules would allow no other script.
POINT = """<script>
const column = columns.filter(({layers}) => layers[0] === "conv3")[1].group;
column.dispatchEvent(new PointerEvent("pointerenter", {clientX: 50, clientY: 50}));
const hot = [...document.querySelectorAll("tr.hot")].map((row) => row.dataset.layer);
const shown = [getComputedStyle(tip).display, tip.innerText, hot.join(" ")];
column.dispatchEvent(new PointerEvent("pointerleave"));
shown.push(tip.hidden, document.querySelectorAll(".hot").length);
shown.push(getComputedStyle(document.body).backgroundColor);
shown.push(document.documentElement.scrollWidth <= innerWidth);
document.body.textContent = shown.join(" | ");
</script>"""


@pytest.mark.parametrize(("scheme", "color"), [(1, "255, 255, 255"), (0, "13, 17, 23")])
def test_a_browser_shows_details_at_the_pointer(
    scheme: int, color: str, both: str, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("Chromium, which shows the page, is not installed")
    file = tmp_path / "page.html"
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", both)
    file.write_text(open_page.replace("</body>", f"{POINT}</body>"))
    done = subprocess.run(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--user-data-dir={tmp_path / 'profile'}",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"<body[^>]*>(.*?)</body>", done.stdout, re.DOTALL)
    assert found
    display, tip, hot, hidden, left, background, fits = found[1].strip().split(" | ")
    assert display == "block"
    assert tip.startswith("conv3 conv2d 3 x 3, 256 x 13 x 13, 590,080 parameters")
    assert hot == "conv3 relu3"
    assert (hidden, left, fits) == ("true", "0", "true")
    assert background == f"rgb({color})"
