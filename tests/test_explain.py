"""`specgen explain CODE`, and the errors that name it."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

import pytest
from helpers import ROOT

from specgen.cli import main
from specgen.diagnostics import LIMITS
from specgen.explain import codes, explain


@pytest.mark.parametrize("code", codes())
def test_every_error_is_explained_as_plain_text(code: str) -> None:
    text = explain(code)
    kind = "warning" if "\n\nA warning:" in text else "error"
    assert text.startswith(f"{kind}[{code}]\n\n")
    assert text.strip() == text
    prose = [line for line in text.splitlines() if not line.startswith("    ")]
    assert max(map(len, prose)) <= 80
    assert "](" not in text
    assert "```" not in text
    assert "\n## " not in text


def test_an_example_is_indented(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "no-layers"]) == 0
    shown = capsys.readouterr().out
    text = (
        "The network has no layers, so there is nothing to compute, or none of them"
        " has parameters, so there is nothing to train."
    )
    assert shown == f"error[no-layers]\n\n{fill(text, 80)}\n\n    layers: {{}}\n"


def test_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert LIMITS == "specgen explain limits"
    assert main(LIMITS.split()[1:]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("The limits of specgen:\n\n- A network is ")
    assert "](" not in shown
    page = (ROOT / "docs/spec.md").read_text().partition("\n## Limits\n")[2]
    _, _, *items = shown.splitlines()
    assert all(re.match("- [A-Z]|  [^ -]", line) for line in items)
    assert sum(line.startswith("- ") for line in items) == page.count("\n- ")
    assert not re.search(r"\S  ", shown)


def test_a_code_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", "shape-missmatch"])
    assert ended.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "there is no error shape-missmatch" in message
    assert message.endswith("the nearest name is shape-mismatch")


def test_errors_name_what_explains_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text("specgen: 2\nname: Net\nname: Twice\n")
    assert main(["show", str(spec)]) == 1
    *_, count, more = capsys.readouterr().err.splitlines()
    assert count == "4 errors"
    assert more == "To learn more, run: specgen explain missing-key"
    assert main(["show", str(spec), "--errors", "github"]) == 1
    assert "specgen explain" not in capsys.readouterr().err
