"""`specgen watch --serve`: a page that follows the spec, for this machine only."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from html import unescape
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from helpers import TOWERS

from specgen import cli
from specgen.compiler import Program, compile_file
from specgen.diagnostics import SpecError
from specgen.page import server
from specgen.page.live import Live, policy

WIDER = TOWERS.replace("out_features: 5", "out_features: 7")
WRONG = TOWERS.replace("op: flatten", "op: flaten")
HOSTILE = "</script><img src=http://a.b/c>"


@pytest.fixture(autouse=True)
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("net.yaml")
    path.write_text(TOWERS)
    return path


@pytest.fixture
def live(spec: Path) -> Live:
    return Live(spec)


def compiled(text: str) -> Program:
    Path("net.yaml").write_text(text)
    return compile_file(Path("net.yaml"))


def ask(
    live: Live, path: str = "/", method: str = "GET", host: str = ""
) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", live.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name in host.split() or [f"127.0.0.1:{live.port}"]:
        connection.putheader("Host", name)
    connection.endheaders()
    return connection.getresponse()


def events(port: int) -> Iterator[str]:
    """Yield the bodies that an open page is sent."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/events")
    for line in connection.getresponse():
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def words(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", text)).split())


def flashing(body: str) -> list[str]:
    return re.findall(r"<mark>(.*?)</mark>", body[body.index('class="side"') :])


def test_the_page_follows_the_spec(live: Live) -> None:
    live.right(compiled(TOWERS))
    opened = events(live.port)
    first = next(opened)
    assert 'class="tier right">no errors<' in first
    assert first in ask(live).read().decode()
    assert flashing(first) == []

    live.right(compiled(WIDER))
    second = next(opened)
    assert "layers.fc5.out_features 5 -> 7" in words(second)
    assert flashing(second)[0] == "7"

    with pytest.raises(SpecError) as error:
        compiled(WRONG)
    live.wrong(error.value.diagnostics)
    broken = next(opened)
    assert 'class="tier wrong">1 error<' in broken
    assert "error[unknown-op]: there is no op flaten" in words(broken)
    assert re.search(
        r"--> net.yaml:\d+:14 \| \d+ \| flat4?: {op: flaten}", words(broken)
    )
    (picture,) = re.findall(r"<svg.*?</svg>", second, re.DOTALL)
    assert picture in broken[broken.index('<div class="old">') :]

    live.right(compiled(TOWERS))
    mended = next(opened)
    assert "layers.fc5.out_features 7 -> 5" in words(mended)
    assert 'class="old"' not in mended


def test_without_a_good_version_there_is_no_picture(live: Live) -> None:
    with pytest.raises(SpecError) as error:
        compiled(WRONG)
    live.wrong(error.value.diagnostics)
    text = ask(live).read().decode()
    assert "error[unknown-op]" in words(text)
    assert "<svg" not in text


def test_it_says_what_changed_since_the_last_commit(live: Live) -> None:
    live.right(compiled(WIDER))
    assert "The last commit has no version" in words(ask(live).read().decode())
    Path("net.yaml").write_text(TOWERS)
    user = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], ["add", "net.yaml"], ["commit", "-qm", "first"]):
        subprocess.run(["git", *user, *command], check=True)
    live.right(compiled(WIDER))
    said = words(ask(live).read().decode())
    assert "Since the last commit interface" in said
    assert "layers.fc5.out_features57interface" in said


def test_whatever_a_spec_says_is_text(live: Live) -> None:
    live.right(compiled(TOWERS.replace("summary:", f"summary: '{HOSTILE}' #")))
    with pytest.raises(SpecError) as error:
        compiled(TOWERS.replace("op: flatten", f'op: "{HOSTILE}\\e[31m"'))
    live.wrong(error.value.diagnostics)
    text = ask(live).read().decode()
    escaped = "&lt;/script&gt;&lt;img src=http://a.b/c&gt;"
    assert text.count(f"there is no op {escaped}\\x1b[31m") == 1
    assert text.count(f"op: &quot;{escaped}") == 1  # the quoted line
    assert text.count(escaped) == 3  # and the summary of the last good version
    assert "<img" not in text
    assert text.count("</script>") == 1


def test_it_serves_its_page_and_events_to_this_machine_only(live: Live) -> None:
    live.right(compiled(TOWERS))
    port = live.port
    good = ask(live, host=f"localhost:{port}")
    assert good.status == 200
    sent = good.headers["Content-Security-Policy"]
    assert sent.startswith(policy())
    assert "default-src 'none'" in sent
    assert "frame-ancestors 'none'" in sent
    for host in (
        "localhost",
        f"localhost:{port + 1}",
        f"evil.example:{port}",
        f"127.0.0.1:{port}.evil.example",
        f"127.0.0.1:{port} evil.example",  # two of them
    ):
        for path in ("/", "/events"):
            assert ask(live, path, host=host).status == 403, host
    for path in (
        "/net.yaml",
        "/../net.yaml",
        "/events/",
        "/?",
        "/%2e%2e/net.yaml",
        "http:/",
    ):
        assert ask(live, path).status == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        assert ask(live, "/", method).status == 501, method
    with pytest.raises(OSError, match="refused"):  # another address of this machine
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_the_number_of_clients_is_limited(live: Live) -> None:
    live.right(compiled(TOWERS))
    opened = [events(live.port) for _ in range(server.MOST)]
    assert len({next(each) for each in opened}) == 1
    assert ask(live).status == 503
    opened.clear()  # they leave, which the server notices when it writes to them

    def answered(text: str) -> bool:
        live.right(compiled(text))
        return ask(live).status == 200

    assert any(map(answered, (WIDER, TOWERS) * 50))


def test_watch_serves_what_it_builds(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Act like an editor: look at the page, then save, at every third look of watch."""
    texts, bodies, looks = iter([WIDER, WRONG, WIDER]), [], 0
    opened: Iterator[str] = iter(())

    def sleep(seconds: float) -> None:
        nonlocal opened, looks
        looks += 1
        if looks % 3:
            return
        if looks == 3:
            url = re.search(r"^live at http://127.0.0.1:(\d+)/$", out(), re.MULTILINE)
            assert url
            opened = events(int(url[1]))
        bodies.append(next(opened))
        text = next(texts, None)
        if text is None:
            raise KeyboardInterrupt
        spec.write_text(text)

    def out() -> str:
        return capsys.readouterr().out

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        cli.main(["watch", "net.yaml", "--serve"])
    shown = [re.findall(r'class="tier (\w+)">', body) for body in bodies]
    assert shown == [["right"], ["right"], ["wrong"], ["right"]]
    assert "out_features 5 -> 7" in words(bodies[1])
    assert 'class="old"' in bodies[2]


def test_a_port_that_is_taken(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["watch", "net.yaml", "--serve", "--port", str(live.port)]
    assert cli.main(command) == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith(
        f"error[cannot-serve]: cannot serve on port {live.port}: Address already in use"
    )


@pytest.mark.parametrize(
    ("options", "end"),
    [
        (["net.yaml", "--port", "8000"], "--port works only with --serve"),
        ([".", "--serve"], "--serve shows one spec: give its file"),
        (["a.yaml", "b.yaml", "--serve"], "--serve shows one spec: give its file"),
        (["a.yaml", "--serve", "--port", "80"], "whole number from 1024 to 65535"),
    ],
)
def test_wrong_usage(
    options: list[str], end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["watch", *options])
    assert capsys.readouterr().err.strip().endswith(end)
