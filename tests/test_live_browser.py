"""`specgen watch --serve` in a browser, from the first save to the last."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from helpers import ROOT, TOWERS

WIDER = TOWERS.replace("out_features: 5", "out_features: 7")
WRONG = TOWERS.replace("op: flatten", "op: flaten")

# What the pages have where.
OUTPUT = 'document.querySelector("tr[data-layer=fc5] td:nth-child(7)")'
WORDS = '[...document.querySelectorAll("svg text")].map((text) => text.textContent)'
NEWS = 'document.querySelector(".news").innerText'


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(TOWERS)
    return path


@pytest.fixture
def watch(spec: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "specgen", "watch", spec.name, "--serve"]
    with subprocess.Popen(
        command,
        cwd=spec.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def served(watch: subprocess.Popen[str]) -> int:
    """Return the port, once the first version is there."""
    assert watch.stdout
    lines = iter(watch.stdout)
    found = re.fullmatch(r"live at http://127.0.0.1:(\d+)/\n", next(lines))
    assert found
    assert any(line.startswith("watching") for line in lines)
    return int(found[1])


def test_the_page_follows_the_saves(
    spec: Path, watch: subprocess.Popen[str], tmp_path: Path
) -> None:
    port = served(watch)
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.see(f'{OUTPUT}.innerText === "5" && {WORDS}.includes("5")')
        assert "no errors" in browser.see(NEWS)

        spec.write_text(WIDER)
        browser.see(f'{OUTPUT}.innerText === "7" && {WORDS}.includes("7")')
        marked = f"{OUTPUT}.firstChild"
        assert browser.see(f"getComputedStyle({marked}).animationName") == "flash"
        assert "layers.fc5.out_features 5 -> 7" in browser.see(NEWS)
        picture = browser.see('document.querySelector("svg").outerHTML')

        spec.write_text(WRONG)
        old = 'document.querySelector(".old")'
        style = browser.see(f"{old} && {{...getComputedStyle({old})}}")
        assert (style["opacity"], style["filter"]) == ("0.5", "grayscale(1)")
        assert browser.see(f'{old}.querySelector("svg").outerHTML') == picture
        said = browser.see(NEWS)
        assert "error[unknown-op]: there is no op flaten" in said
        assert "flat: {op: flaten}" in said
        assert browser.see(
            f'{old}.getBoundingClientRect().right < document.querySelector(".news pre")'
            ".getBoundingClientRect().left"
        )

        spec.write_text(TOWERS)
        browser.see(f'!{old} && {OUTPUT}.innerText === "5"')
        assert "Since the last good save" in browser.see(NEWS)
        assert "layers.fc5.out_features 7 -> 5" in browser.see(NEWS)
        assert browser.see(f"{marked}.tagName") == "MARK"

        watch.send_signal(signal.SIGINT)
        browser.see('document.getElementById("lost").checkVisibility()')


def test_a_name_that_is_made_to_point_here_gets_nothing(
    watch: subprocess.Popen[str], tmp_path: Path
) -> None:
    """DNS rebinding: a site's own name, which now resolves to this machine."""
    port = served(watch)
    rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with Browser(tmp_path / "profile", rebound) as browser:
        browser.open(f"http://evil.example:{port}/")
        said = browser.see(
            'document.body.innerText.includes("403") && document.body.innerText'
        )
        assert "does not serve that host" in said
        assert "flat" not in said
