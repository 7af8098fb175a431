"""The tier of every edit of every spec, held against what really happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from edits import Edit, edited, edits, insert, plain, rename
from helpers import ROOT, compile_data, import_file
from torch import Tensor, nn

from specgen.backends import torch as backend
from specgen.compiler import Program, compile_file
from specgen.diagnostics import SpecError
from specgen.diff import Difference, Tier, compare
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
# Of these, outputs and files are compared: one has all ops but one, the other that.
RUN = [("alexnet_mini", set()), ("alexnet_2012", {"spatial_response_norm"})]


@cache
def base(stem: str) -> Program:
    sets = () if stem == "alexnet_mini" else SMALL
    return compile_file(ROOT / f"specs/{stem}.yaml", sets)


def compiled(edit: Edit) -> Program | None:
    """Compile an edit, None if it is refused."""
    try:
        return compile_data(edit.data)
    except (SpecError, ValueError):
        return None


def state(program: Program) -> dict[str, tuple[int, ...]]:
    return {
        name: shape
        for node in program.graph.nodes
        for name, shape in node.parameters().items()
    }


def ends(program: Program) -> Any:
    graph = program.graph
    return graph.input_shape, graph.nodes[-1].shape, graph.has_probabilities


def section_tier(edit: Edit, old: Program) -> Tier:
    """How far an edit reaches that leaves every tensor as it is."""
    where = edit.path[0]
    if where == "layers":
        op = old.spec.layers[edit.path[1]]
        training = op.training_only or "init" in edit.path
        return Tier.RECIPE if training else Tier.SAME
    if where in ("init", "data", "training"):
        return Tier.RECIPE
    return Tier.PLACEMENT if where == "placement" else Tier.SAME


def check(difference: Difference, old: Program, new: Program, edit: Edit) -> None:
    """What holds without running anything."""
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
    # What reaches so far is said of a change, and that is the one that was made.
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
    """Twice each field of each op, and of each section."""
    net, files = Net(base(stem), tmp_path), None
    done: Counter[tuple[str, ...]] = Counter()
    for edit, old, new in compiled_edits(stem):
        section, *rest = edit.path
        kind = old.spec.layers[rest[0]].op if section == "layers" else section
        key = (kind, *(rest[1:] if section == "layers" else rest))
        if done[key] == 2 or (only and kind not in only):
            continue
        if state(old) != state(new) or ends(old) != ends(new):
            continue
        done[key] += 1
        tier, files = compare(old, new).tier, files or python(old)
        changed = {name for name, text in python(new).items() if text != files[name]}
        same = net.agrees(new)
        if tier < Tier.FUNCTION:
            assert same, edit
        elif same:  # a row more that no window of the next layer reads
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
    assert len(done) >= (4 if only else 50)


def compiled_edits(stem: str) -> Iterator[tuple[Edit, Program, Program]]:
    """Yield the edits of a spec that compile and say something else, once each."""
    old = compile_data(plain(base(stem)))  # as an edit is compiled: without comments
    # Where only the placement is another than AlexNet's, that is edited.
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
        self.weights = draw_weights(self.build(program), program)
        self.expected = self.run(program)

    def build(self, program: Program) -> nn.Module:
        path = self.folder / "model.py"
        path.write_text(python(program)["model.py"])
        module = import_file(path)
        devices = ["cpu"] * len(program.placed.devices)
        net: nn.Module = getattr(module, program.spec.name)(devices, seed=0)
        return net.double().eval()

    @torch.no_grad()
    def run(self, program: Program) -> Tensor:
        net = self.build(program)
        net.load_state_dict(self.weights)
        found: Tensor = net(self.images)
        return found

    def agrees(self, program: Program) -> bool:
        """Whether the weights load, and the outputs are the same up to rounding."""
        scale = self.expected.abs().max()
        return bool((self.run(program) - self.expected).abs().max() < 1e-12 * scale)


# --- edits of several layers


def apart(new: dict[str, Any], old: Program) -> Difference:
    return compare(old, compile_data(new))


def test_renamed_layers_are_renamed_and_nothing_else() -> None:
    old = compile_data(plain(base("alexnet")))
    for name, op in old.spec.layers.items():
        difference = apart(rename(plain(old), name, "other"), old)
        (change,) = difference.changes
        assert (change.before, change.after) == (name, "other")
        renamed = {t: t.replace(name, "other") for t in state(old) if f"{name}." in t}
        assert difference.checkpoint.renamed == renamed
        assert not difference.checkpoint.missing
        assert not difference.checkpoint.unexpected
        assert difference.tier == (Tier.CHECKPOINT if renamed else Tier.SAME), op


def test_a_renamed_layer_that_is_changed_too() -> None:
    old = compile_data(plain(base("alexnet")))
    data = edited(plain(old), ("layers", "fc6", "out_features"), 32)
    data = edited(data, ("layers", "conv1", "stride"), 2)
    difference = apart(rename(rename(data, "fc7", "wide"), "conv1", "first"), old)
    assert difference.checkpoint.renamed == {
        "conv1.weight": "first.weight",
        "conv1.bias": "first.bias",
        "fc7.weight": "wide.weight",
        "fc7.bias": "wide.bias",
    }
    assert [t.name for t in difference.checkpoint.reshaped] == [
        "fc6.weight",
        "fc6.bias",
        "wide.weight",
    ]
    assert {change.path: str(change.tier) for change in difference.changes} == {
        "layers.conv1": "checkpoint",
        "layers.first.stride": "checkpoint",
        "layers.fc6.out_features": "checkpoint",
        "layers.fc7": "checkpoint",
    }


@pytest.mark.parametrize(
    ("layer", "tier"),
    [
        ({"op": "dropout"}, Tier.RECIPE),
        ({"op": "relu"}, Tier.FUNCTION),
        ({"op": "conv2d", "out_channels": 64, "kernel_size": 1}, Tier.CHECKPOINT),
        (
            {"op": "max_pool2d", "kernel_size": 3, "stride": 1, "padding": 1},
            Tier.FUNCTION,
        ),
        # fc6 reads less.
        ({"op": "max_pool2d", "kernel_size": 2, "stride": 1}, Tier.CHECKPOINT),
    ],
)
def test_a_new_layer(layer: dict[str, Any], tier: Tier) -> None:
    old = compile_data(plain(compile_file(ROOT / "specs/alexnet_1gpu.yaml")))
    difference = apart(insert(plain(old), "pool1", "new", layer), old)
    assert difference.tier == tier
    (change,) = difference.changes
    assert (change.path, change.before, change.after) == ("layers.new", None, layer)


def test_each_change_has_a_tier_of_its_own() -> None:
    old = compile_data(plain(base("alexnet")))
    data = plain(old)
    for path, value in {
        "summary": "x",
        "layers.norm1.alpha": 1e-3,
        "layers.pool1.kernel_size": 2,
        "layers.conv3.out_channels": 96,
        "layers.drop6.p": 0.4,
        "layers.fc8.out_features": 11,
        "training.epochs": 5,
    }.items():
        data = edited(data, tuple(path.split(".")), value)
    difference = apart(data, old)
    assert {change.path: str(change.tier) for change in difference.changes} == {
        "summary": "same",
        "layers.norm1.alpha": "function",
        "layers.pool1.kernel_size": "function",  # fc6 reads as much as before
        "layers.conv3.out_channels": "checkpoint",
        "layers.drop6.p": "recipe",
        "layers.fc8.out_features": "interface",
        "training.epochs": "recipe",
    }


def test_what_reshapes_a_tensor_below_is_blamed_for_it() -> None:
    old = compile_data(plain(base("alexnet")))
    data = edited(plain(old), ("layers", "conv1", "stride"), 2)
    data = edited(data, ("layers", "norm1", "alpha"), 1.0)
    data = edited(data, ("layers", "relu2"), None)
    difference = apart(data, old)
    assert {change.path: str(change.tier) for change in difference.changes} == {
        "layers.conv1.stride": "checkpoint",
        "layers.norm1.alpha": "function",
        "layers.relu2": "function",
    }
    assert [t.name for t in difference.checkpoint.reshaped] == ["fc6.weight"]


def test_a_removed_layer_is_blamed_for_what_it_reshapes() -> None:
    old = compile_data(plain(base("alexnet")))
    difference = apart(edited(plain(old), ("layers", "pool5"), None), old)
    (change,) = difference.changes
    assert (change.path, change.tier) == ("layers.pool5", Tier.CHECKPOINT)


def test_layers_in_another_order() -> None:
    old = compile_data(plain(base("alexnet")))

    def swapped(a: str, b: str) -> Difference:
        data = plain(old)
        names = list(data["layers"])
        i, j = names.index(a), names.index(b)
        names[i], names[j] = b, a
        data["layers"] = {name: data["layers"][name] for name in names}
        return apart(data, old)

    drop = swapped("relu6", "drop6")
    assert [(c.path, c.before, c.after) for c in drop.changes] == [
        ("layers.drop6.after", "relu6", "fc6")
    ]
    assert drop.tier == Tier.RECIPE
    pool = swapped("norm1", "pool1")
    assert pool.tier == Tier.FUNCTION
    assert [c.path for c in pool.changes] in (
        ["layers.norm1.after"],
        ["layers.pool1.after"],
    )


def test_another_op_under_the_same_name() -> None:
    old = compile_data(plain(base("alexnet")))
    data = plain(old)
    data["layers"]["relu1"] = {"op": "dropout"}
    difference = apart(data, old)
    (change,) = difference.changes
    assert (change.before, change.after) == ({"op": "relu"}, {"op": "dropout"})
    assert change.tier == Tier.FUNCTION


def test_devices_with_other_names_are_one_change() -> None:
    old = base("alexnet")
    data = plain(old)
    data["placement"] = {
        "devices": {"left": {}, "right": {}},
        "layers": {"conv1..drop7": "split", "fc8..prob": "left"},
    }
    difference = apart(data, compile_data(plain(old)))
    assert [c.path for c in difference.changes] == ["placement.devices"]
    assert difference.tier == Tier.PLACEMENT


def test_equal_specs_written_otherwise_do_not_differ() -> None:
    old = compile_data(plain(base("alexnet")))
    data = plain(old)
    data["layers"]["conv1"] |= {"groups": 1, "dilation": [1, 1], "bias": True}
    data["training"]["seed"] = 0
    data["placement"]["layers"] = {
        "conv1": "split",
        "relu1..drop7": {"split": ["gpu0", "gpu1"]},
        "fc8..prob": "gpu0",
    }
    difference = apart(data, old)
    assert difference.changes == ()
    assert difference.tier == Tier.SAME
