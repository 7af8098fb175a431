"""Layers that are renamed, moved, new or gone, and what each change is blamed for."""

from __future__ import annotations

from typing import Any

import pytest
from edits import edited, insert, plain, rename
from helpers import ROOT, compile_data
from test_diff_tiers import base, state

from specgen.compiler import Program, compile_file
from specgen.diff import Difference, Tier, compare


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


def test_tensors_that_are_a_layer_themselves_load_and_are_renamed() -> None:
    spec = ROOT / "specs" / "zoo" / "vit_b_16.yaml"
    fewer = "params.num_layers=1"
    old = compile_file(spec, [fewer])
    difference = compare(old, compile_file(spec, [fewer, "params.dropout=0.1"]))
    assert difference.tier == Tier.RECIPE
    assert set(difference.checkpoint.loads) == set(state(old))
    text = spec.read_text().replace("class_token:", "cls:")
    new = compile_file(spec, [fewer], text=text.encode())
    assert compare(old, new).checkpoint.renamed == {"class_token": "cls"}


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


def test_a_change_that_reshapes_a_tensor_below_is_blamed_for_it() -> None:
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


def test_equal_specs_written_differently_do_not_differ() -> None:
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
