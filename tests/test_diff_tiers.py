"""The tier of every edit of every spec, compared with what really happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from edits import Edit, edits, plain
from helpers import ROOT, compile_data, import_file
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Data, placed_networks
from torch import Tensor, nn

from specgen.backends import torch as backend
from specgen.compiler import Program, compile_file, compile_read
from specgen.diagnostics import Path as Keys
from specgen.diagnostics import Span, SpecError
from specgen.diff import Difference, Tier, compare
from specgen.diff.markdown import markdown
from specgen.diff.text import text
from specgen.source import Source
from specgen.verify.measure import draw_weights

# AlexNet's layers with fewer pixels and features.
SMALL = (
    "input.height=67",
    "input.width=67",
    "layers.fc6.out_features=64",
    "layers.fc7.out_features=64",
    "layers.fc8.out_features=10",
)
SPECS = sorted(path.stem for path in ROOT.glob("specs/*.yaml"))
# The outputs and files of these are compared: one has all ops but one, the other that.
RUN = [("alexnet_mini", set()), ("alexnet_2012", {"spatial_response_norm"})]


@cache
def base(stem: str) -> Program:
    sets = () if stem == "alexnet_mini" else SMALL
    return compile_file(ROOT / f"specs/{stem}.yaml", sets)


def compiled(edit: Edit) -> Program | None:
    """Compile an edit; None if it is refused."""
    # Without reading YAML, which takes longer than everything else.
    top: dict[Keys, Span] = {(): Span("net.yaml", 1, 1, 1, "")}
    try:
        return compile_read(Source(edit.data, {}, top, {}, {}), "net")
    except SpecError:
        return None


def state(program: Program) -> dict[str, tuple[int, ...]]:
    return {
        name: shape
        for node in program.graph.nodes
        for name, shape in node.parameters.items()
    }


def ends(program: Program) -> Any:
    graph = program.graph
    return graph.input_shape, graph.nodes[-1].shape, graph.has_probabilities


def section_tier(edit: Edit, old: Program) -> Tier:
    """How far an edit reaches if it leaves every tensor unchanged."""
    where = edit.path[0]
    if where == "layers":
        op = old.spec.layers[edit.path[1]]
        training = op.training_only or "init" in edit.path
        return Tier.RECIPE if training else Tier.SAME
    if where in ("init", "data", "training"):
        return Tier.RECIPE
    return Tier.PLACEMENT if where == "placement" else Tier.SAME


def check(difference: Difference, old: Program, new: Program, edit: Edit) -> None:
    """Check what is true without running anything."""
    tier = difference.tier
    said = difference.as_json()
    assert (ends(old) != ends(new)) == (tier == Tier.INTERFACE), edit.path
    loads = state(old) == state(new)
    if tier != Tier.INTERFACE:
        assert loads == (tier < Tier.CHECKPOINT), edit.path
    assert loads == difference.checkpoint.fits
    found = difference.checkpoint
    assert {*found.loads, *(t.name for t in found.reshaped), *found.missing} | {
        *found.renamed.values()
    } == {*state(new)}
    assert {*found.loads, *found.unexpected, *found.renamed} <= {*state(old)}
    # Some change reaches this far, and it is the one that was made.
    assert said["changes"], edit.path
    assert max(change.tier for change in difference.changes) == tier
    path = ".".join(edit.path)
    assert any(
        path.startswith(change.path) or change.path.startswith(path)
        for change in difference.changes
        if change.tier == tier
    ) or edit.path[:2] == ("placement", "layers"), edit.path
    if tier <= Tier.RECIPE:
        assert tier in (section_tier(edit, old), Tier.SAME), edit.path


@pytest.mark.parametrize("stem", SPECS)
def test_every_field_of_every_spec(stem: str) -> None:
    tiers = dict.fromkeys(Tier, 0)
    for edit, old, new in compiled_edits(stem):
        difference = compare(old, new)
        check(difference, old, new, edit)
        tiers[difference.tier] += 1
    assert min(tiers.values()) >= 1, tiers


@pytest.mark.parametrize(("stem", "only"), RUN)
def test_outputs_and_files_are_as_the_tier_says(
    stem: str, only: set[str], tmp_path: Path
) -> None:
    """Each field of each op twice, and of each section once."""
    net, files = Net(base(stem), tmp_path), None
    done: Counter[tuple[str, ...]] = Counter()
    for edit, old, new in compiled_edits(stem):
        section, *rest = edit.path
        kind = old.spec.layers[rest[0]].op if section == "layers" else section
        key = (kind, *(rest[1:] if section == "layers" else rest))
        if done[key] == 1 + (section == "layers") or (only and kind not in only):
            continue
        if state(old) != state(new) or ends(old) != ends(new):
            continue
        done[key] += 1
        tier, files = compare(old, new).tier, files or python(old)
        found = python(new)
        changed = {name for name, text in found.items() if text != files[name]}
        same = net.agrees(new, found["model.py"])
        if tier < Tier.FUNCTION:
            assert same, edit
        elif same:  # one more row, which no window of the next layer reads
            assert compare(old, new).shapes[-1].reads, edit
        if tier == Tier.FUNCTION:
            assert "model.py" in changed
        if section == "placement" and rest[0] == "layers":
            assert "model.py" in changed
        if section in ("data", "training"):
            assert changed
            assert "model.py" not in changed
        if section == "init" or "init" in edit.path:
            assert changed == ({"model.py"} if tier == Tier.RECIPE else set())
    assert len(done) >= (4 if only else 45)


def compiled_edits(stem: str) -> Iterator[tuple[Edit, Program, Program]]:
    """Yield the edits of a spec that compile and say something else, once each."""
    old = compile_data(plain(base(stem)))  # as an edit is compiled: without comments
    # If only the placement differs from AlexNet's, only that is edited.
    twin = stem != "alexnet" and old.spec.layers == base("alexnet").spec.layers
    for edit in edits(old):
        if twin and edit.path[0] in ("init", "data", "training"):
            continue
        if twin and len(edit.path) > 2 and edit.path[0] == "layers":
            continue
        new = compiled(edit)
        if new and new.spec != old.spec:
            yield edit, old, new


def python(program: Program) -> dict[str, str]:
    """Return the Python files that would be generated."""
    return backend.render(program.spec, program.source, program.stem, program.placed)


class Net:
    """A generated network, its weights, and what it makes of two images."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.folder = folder
        self.images = torch.randn(2, *program.graph.input_shape).double() * 64
        text = python(program)["model.py"]
        self.weights = draw_weights(self.build(program, text), program)
        self.expected = self.run(program, text)

    def build(self, program: Program, text: str) -> nn.Module:
        path = self.folder / "model.py"
        path.write_text(text)
        module = import_file(path)
        devices = ["cpu"] * len(program.placed.devices)
        net: nn.Module = getattr(module, program.spec.name)(devices, seed=0)
        return net.double().eval()

    @torch.no_grad()
    def run(self, program: Program, text: str) -> Tensor:
        net = self.build(program, text)
        net.load_state_dict(self.weights)
        found: Tensor = net(self.images)
        return found

    def agrees(self, program: Program, text: str) -> bool:
        """Whether the weights load, and the outputs are the same up to rounding."""
        scale = self.expected.abs().max()
        return bool(
            (self.run(program, text) - self.expected).abs().max() < 1e-12 * scale
        )


# --- any two networks


@settings(max_examples=30)
@given(placed_networks(), placed_networks())
def test_any_two_networks(first: Data, second: Data) -> None:
    old, new = compile_data(first), compile_data(second)
    assert compare(old, old).changes == ()
    difference = compare(old, new)
    found = difference.checkpoint
    loads = {
        name for name, shape in state(new).items() if state(old).get(name) == shape
    }
    assert {*found.loads} <= loads
    assert found.fits == (state(old) == state(new))
    assert (ends(old) != ends(new)) == (difference.tier == Tier.INTERFACE)
    blamed = max((change.tier for change in difference.changes), default=Tier.SAME)
    assert blamed == difference.tier
    assert text(difference)
    assert markdown(difference)
    back = compare(new, old)
    assert back.tier == difference.tier
    assert {*back.checkpoint.loads} == {*found.loads}


@settings(max_examples=25)
@given(placed_networks(), st.data())
def test_any_edits_of_any_network(data: Data, draw: st.DataObject) -> None:
    old = compile_data(plain(compile_data(data)))
    new, edit = old, Edit((), {})
    for _ in range(draw.draw(st.integers(1, 3))):
        edit = draw.draw(st.sampled_from(list(edits(new))))
        new = compiled(edit) or new
    difference = compare(old, new)
    if new.spec != old.spec:
        blamed = max((change.tier for change in difference.changes), default=Tier.SAME)
        assert blamed == difference.tier
        assert difference.checkpoint.fits == (state(old) == state(new))
        assert compare(new, old).tier == difference.tier
