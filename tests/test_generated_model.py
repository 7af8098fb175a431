"""The generated model.py: well formed, and the same network wherever it is placed."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import (
    PLACEMENTS,
    ROOT,
    compile_data,
    load,
    model,
    refused,
    towers,
)
from hypothesis import given, settings
from judges import mypy, ruff
from strategies import Data, placed_networks
from torch import Tensor, nn

from specgen import names
from specgen.graph import state_order
from specgen.ops.base import volume
from specgen.passes.shares import LETTERS
from specgen.source import parse


@pytest.fixture(params=PLACEMENTS)
def placement(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def net(placement: str, tmp_path: Path) -> Any:
    return model(towers(placement), tmp_path / placement).eval()


@pytest.fixture
def one(tmp_path: Path) -> Any:
    return model(towers("one"), tmp_path / "one").eval()


def images(net: Any, count: int = 2) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def check_any_network(data: Data, path: Path) -> None:
    """The drawn network is what was planned, and the same as on one device."""
    program = compile_data(data)
    module = load(program, path)
    net = module.Net(["cpu"] * len(program.placed.devices), seed=3).eval()
    nodes = program.graph.nodes
    planned = {k: own.shape for node in nodes for k, own in node.tensors.items()}
    learned = [volume(x) for node in nodes for x in node.parameters.values()]
    state = net.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes == planned
    assert list(state) == state_order(planned)
    assert sum(p.numel() for p in net.parameters()) == sum(learned)
    whole = compile_data({key: data[key] for key in data if key != "placement"})
    reference = load(whole, path.with_name(f"{path.stem}_whole.py")).Net(
        ["cpu"], seed=3
    )
    for name, tensor in reference.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    x = torch.randn(2, *program.graph.input_shape, dtype=torch.float64)
    logits = net.double()(x)
    torch.testing.assert_close(
        logits, reference.double().eval()(x), rtol=1e-10, atol=1e-10
    )
    assert hasattr(net, "probabilities") == ("softmax" in str(data["layers"]))


def test_any_network_in_any_placement(tmp_path: Path) -> None:
    files = iter(range(10_000))

    @settings(max_examples=40)
    @given(placed_networks())
    def check(data: Data) -> None:
        check_any_network(data, tmp_path / f"net{next(files)}.py")

    check()
    ruff("format --check", tmp_path)
    ruff("check", tmp_path)
    mypy(*tmp_path.glob("net?.py"), cwd=ROOT)


def test_the_most_devices_possible(tmp_path: Path) -> None:
    count = len(LETTERS)
    network = f"""
specgen: 1
name: Net
input: {{channels: 3, height: 4, width: 4}}
layers:
  conv1: {{op: conv2d, out_channels: {count}, kernel_size: 3}}
  relu1: {{op: relu}}
  conv2: {{op: conv2d, out_channels: {count}, kernel_size: 1}}
  flat: {{op: flatten}}
  fc3: {{op: linear, out_features: 2}}
"""
    devices = "{" + ", ".join(f"device{i}: {{}}" for i in range(count)) + "}"
    layers = "{conv1..flat: split, fc3: device0}"
    placed = f"{network}placement: {{devices: {devices}, layers: {layers}}}\n"
    check_any_network(parse(placed.encode(), "").data, tmp_path / "net.py")
    ruff("format --check", tmp_path)
    ruff("check", tmp_path)
    # So many devices cannot share layers either, which is reported, too.
    *_, problem = refused(placed.replace("{device0", "{more: {}, device0"))
    assert (
        problem.message == f"a placement has from 1 to {count} devices, not {count + 1}"
    )


WEIGHTS = {
    "conv1.weight": (8, 3, 3, 3),
    "conv1.bias": (8,),
    "conv2.weight": (16, 8, 3, 3),
    "conv3.weight": (8, 4, 3, 3),
    "conv3.bias": (8,),
    "fc4.weight": (16, 8),
    "fc4.bias": (16,),
    "fc5.weight": (5, 16),
    "fc5.bias": (5,),
}


def test_state_dict_has_whole_tensors_in_spec_order(net: Any) -> None:
    state = net.state_dict()
    assert [(name, tuple(tensor.shape)) for name, tensor in state.items()] == list(
        WEIGHTS.items()
    )
    assert {tensor.device.type for tensor in state.values()} == {"cpu"}
    assert not any(tensor.requires_grad for tensor in state.values())


def test_a_seed_starts_the_same_network_everywhere(net: Any, one: Any) -> None:
    expected = one.state_dict()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    before = net.state_dict()["conv1.weight"].clone()
    net.reset_parameters(1)
    assert not torch.equal(before, net.state_dict()["conv1.weight"])
    net.reset_parameters(0)
    assert torch.equal(before, net.state_dict()["conv1.weight"])


def test_the_start_is_that_of_the_spec(one: Any) -> None:
    state = one.state_dict()
    for name, std in (("fc4.weight", 0.5), ("conv2.weight", (2 / (8 * 9)) ** 0.5)):
        # The measured deviation of n normal numbers is off by about std / sqrt(2 n).
        stray = std / (2 * state[name].numel()) ** 0.5
        assert abs(state[name].std().item() - std) < 4 * stray, name
    biases = {name: state[name].unique().tolist() for name in state if "bias" in name}
    assert biases.pop("conv3.bias") == [1]
    assert set(map(tuple, biases.values())) == {(0,)}


@pytest.mark.parametrize("source", PLACEMENTS)
def test_weights_load_under_any_placement(
    source: str, net: Any, tmp_path: Path
) -> None:
    other = model(towers(source), tmp_path / "source", seed=7).eval()
    assert not torch.allclose(net(images(net)), other(images(net)))
    done = net.load_state_dict(other.state_dict())
    assert (done.missing_keys, done.unexpected_keys) == ([], [])
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    torch.testing.assert_close(net(images(net)), other(images(net)))


def test_state_dict_is_a_copy_that_load_puts_back(net: Any) -> None:
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    net.load_state_dict(state)
    assert all(torch.equal(state[name], x) for name, x in net.state_dict().items())


def test_state_dict_shares_the_memory_of_what_is_not_split(net: Any) -> None:
    """As that of a module of torch does."""
    own = dict(net.named_parameters())
    state = net.state_dict()
    for name in own.keys() & state.keys():
        assert state[name].data_ptr() == own[name].data_ptr(), name
    assert {"fc5.weight", "fc5.bias"} <= own.keys()


def test_on_meta_it_has_shapes_and_no_values(net: Any) -> None:
    devices = ["meta"] * sum(isinstance(d, torch.device) for d in vars(net).values())
    empty = type(net)(devices)
    state = empty.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == WEIGHTS
    assert all(tensor.is_meta for tensor in state.values())
    assert empty(images(net).to("meta")).shape == (len(images(net)), 5)
    empty.load_state_dict(state)
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(net.state_dict())
    assert torch.equal(filled.eval()(images(net)), net.eval()(images(net)))


def errors_of_loading(net: Any, state: dict[str, Tensor]) -> str:
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    return str(caught.value)


def test_errors_of_loading_name_whole_tensors(net: Any) -> None:
    state = net.state_dict()
    state["fc4.weight"] = state["fc4.weight"][:, :3]
    state["conv9.weight"] = state.pop("conv1.weight")
    message = errors_of_loading(net, state)
    assert "conv1.weight" in message
    assert "conv9.weight" in message
    assert "fc4.weight" in message
    for share in ("conv1a", "conv1b", "fc4a", "fc4b", "conv9a"):
        assert share not in message


def test_errors_of_loading_name_shares_as_unexpected(net: Any) -> None:
    state = net.state_dict()
    state["conv1a.weight"] = state["conv1.weight"][:4]
    assert "conv1a.weight" in errors_of_loading(net, state)


def test_loading_without_strict_takes_what_fits(net: Any) -> None:
    other = {name: torch.ones_like(x) for name, x in net.state_dict().items()}
    kept = net.state_dict()["fc5.bias"].clone()
    del other["fc5.bias"]
    done = net.load_state_dict(other | {"more": torch.ones(1)}, strict=False)
    assert done.missing_keys == ["fc5.bias"]
    assert done.unexpected_keys == ["more"]
    assert torch.equal(net.state_dict()["fc5.bias"], kept)
    assert net.state_dict()["conv1.weight"].eq(1).all()


def test_a_failed_load_of_one_tensor_keeps_it(net: Any) -> None:
    state = net.state_dict()
    kept = state["conv1.weight"].clone()
    errors_of_loading(net, state | {"conv1.weight": torch.zeros(8, 3, 3, 2)})
    assert torch.equal(net.state_dict()["conv1.weight"], kept)


def test_deep_copies_are_independent(net: Any) -> None:
    twin = copy.deepcopy(net)
    kept = net.state_dict()["conv1.weight"].clone()
    twin.load_state_dict({k: torch.zeros_like(x) for k, x in twin.state_dict().items()})
    assert list(twin.state_dict()) == list(WEIGHTS)
    assert twin.state_dict()["conv1.weight"].eq(0).all()
    assert torch.equal(net.state_dict()["conv1.weight"], kept)
    assert twin(images(net)).eq(0).all()


class Outer(nn.Module):
    """A network that is a part of another, next to one with similar names."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.net = net
        self.net2 = nn.Linear(2, 2)


def test_it_can_be_a_part_of_another_module(net: Any, one: Any) -> None:
    outer, other = Outer(net), Outer(one)
    expected = ["first.weight", "first.bias", *(f"net.{name}" for name in WEIGHTS)]
    expected += ["net2.weight", "net2.bias"]
    assert list(outer.state_dict()) == expected
    ones = {name: torch.ones_like(x) for name, x in other.state_dict().items()}
    outer.load_state_dict(ones)
    assert all(x.eq(1).all() for x in outer.state_dict().values())
    state = outer.state_dict()
    del state["net.conv1.weight"]
    message = errors_of_loading(outer, state)
    assert "net.conv1.weight" in message
    assert "conv1a" not in message


def test_shares_join_and_cut(net: Any, placement: str) -> None:
    if placement == "one":
        return
    functions = type(net).forward.__globals__
    shares = dict(net.named_parameters())
    whole = functions["join_shares"](shares)
    assert {name: tuple(tensor.shape) for name, tensor in whole.items()} == WEIGHTS
    cut = functions["cut_shares"](whole)
    assert cut.keys() == shares.keys()
    assert all(torch.equal(cut[name], tensor) for name, tensor in shares.items())


def test_probabilities_are_the_softmax(net: Any) -> None:
    x = images(net)
    torch.testing.assert_close(net.probabilities(x), net(x).softmax(1))


def test_an_empty_batch_passes(net: Any) -> None:
    assert net(images(net)[:0]).shape == (0, 5)


def test_it_moves_as_a_whole(net: Any, placement: str) -> None:
    devices = towers(placement).placed.devices
    outer = Outer(net)
    assert outer.to("meta") is outer  # in place of a GPU on a machine without one
    assert {w.device.type for w in net.parameters()} == {"meta"}
    assert {getattr(net, device).type for device in devices} == {"meta"}
    assert net(images(net)).device.type == "meta"
    net.to_empty(device="cpu").reset_parameters(0)
    assert {getattr(net, device).type for device in devices} == {"cpu"}
    assert net(images(net)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_computes_in_other_types(net: Any, dtype: torch.dtype) -> None:
    x = images(net)
    expected = net(x)
    found = net.to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)
    net.to(memory_format=torch.channels_last).float()
    assert net(x).dtype == torch.float32


def test_the_number_of_devices_is_checked(net: Any, placement: str) -> None:
    count = len(towers(placement).placed.devices)
    plural = "s" if count > 1 else ""
    with pytest.raises(ValueError, match=f"^expected {count} device{plural}, got 7$"):
        type(net)(["cpu"] * 7)


def public(names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_no_layer_can_hide_what_a_module_has(net: Any) -> None:
    found = public(dir(nn.Module())) | public(vars(type(net)))
    assert found == names.MODULE_ATTRIBUTES


def test_no_class_can_hide_what_its_file_defines(tmp_path: Path) -> None:
    module = load(towers("two"), tmp_path / "names.py")
    found = public(vars(module)) - {"Towers"}
    assert [name for name in found if names.class_problem(name) is None] == []
