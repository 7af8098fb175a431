"""Each wrong multi-device annotation is named; onnx's own checker ignores them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from annotations import cut, model, on, replace, spec, without_annotations
from onnx import ModelProto, NodeDeviceConfigurationProto, ShardingSpecProto

from specgen.backends.onnx_devices_check import check

Edit = Callable[[ModelProto], object]


def test_a_correctly_annotated_network_has_no_problems() -> None:
    assert list(check(model())) == []


def edit(node: str, tensor: str, **fields: list[int]) -> Edit:
    """Set fields of what a node says about a tensor."""

    def apply(proto: ModelProto) -> None:
        found = spec(proto, node, tensor)
        for name, value in fields.items():
            getattr(found, name)[:] = value

    return apply


def say(node: str, tensor: str, wrong: ShardingSpecProto) -> Edit:
    return lambda proto: replace(spec(proto, node, tensor), wrong)


def configuration(
    node: str, edit: Callable[[NodeDeviceConfigurationProto], object]
) -> Edit:
    """Change everything that a node says."""

    def apply(proto: ModelProto) -> None:
        (found,) = [n for n in proto.graph.node if n.name == node]
        edit(found.device_configurations[0])

    return apply


def fused() -> ShardingSpecProto:
    twice = cut(1, 8, 0, 1)
    twice.sharded_dim[0].simple_sharding.add(dim_value=1, num_shards=1)
    return twice


def both_ways() -> ShardingSpecProto:
    twice = cut(1, 8, 0, 1)
    twice.sharded_dim.add(axis=-3).simple_sharding.add(dim_value=8, num_shards=1)
    return twice


def twice_the_group() -> ShardingSpecProto:
    whole = on(0, 1)
    whole.index_to_device_group_map.add(key=-1, value=[0, 1])
    return whole


WRONG: list[tuple[Edit, str]] = [
    (
        lambda proto: setattr(proto, "ir_version", 10),
        "IR version 10 has no multi-device annotations; 11 is the first that does",
    ),
    (
        lambda proto: proto.configuration.add(name="placement", num_devices=2),
        "there are two device configurations 'placement'",
    ),
    (
        lambda proto: proto.configuration.add(name="spare", num_devices=0),
        "device configuration 'spare' has 0 devices",
    ),
    (
        lambda proto: proto.configuration.add(num_devices=1),
        "a device configuration has no name",
    ),
    (
        lambda proto: proto.configuration[0].device.append("gpu2"),
        "device configuration 'placement' names 3 of 2 devices",
    ),
    (
        lambda proto: proto.configuration[0].device.__setitem__(1, "gpu0"),
        "device configuration 'placement' names 'gpu0' twice",
    ),
    (
        lambda proto: proto.configuration.add(name="spare", num_devices=1),
        "/conv2: no annotation for device configuration 'spare'",
    ),
    (
        configuration(
            "/conv2", lambda said: setattr(said, "configuration_id", "other")
        ),
        "/conv2: there is no device configuration 'other'",
    ),
    (
        lambda proto: proto.graph.node[0].device_configurations.append(
            proto.graph.node[0].device_configurations[0]
        ),
        "/conv1: device configuration 'placement' is given twice",
    ),
    (
        configuration("/conv2", lambda said: said.sharding_spec.pop()),
        "/conv2: no annotation for conv2",
    ),
    (
        configuration(
            "/conv2", lambda said: said.sharding_spec.append(said.sharding_spec[0])
        ),
        "/conv2: pool1 is given twice",
    ),
    (
        configuration("/conv2", lambda said: said.sharding_spec.add(tensor_name="fc3")),
        "/conv2: fc3 is neither an input nor an output",
    ),
    (
        edit("/conv2", "pool1", device=[0, 2]),
        "/conv2: pool1: there is no device 2; devices are 0 to 1",
    ),
    (
        edit("/conv2", "pool1", device=[0, -1]),
        "/conv2: pool1: there is no device -1; devices are 0 to 1",
    ),
    (
        edit("/conv2", "pool1", device=[0, 0]),
        "/conv2: pool1: device 0 is given twice",
    ),
    (
        say("/fc3", "flat", on(0, 5)),
        "/fc3: flat: there is no device 5; devices are 0 to 1",
    ),
    (say("/fc3", "flat", on()), "/fc3: flat: shard 0 is on no device"),
    (
        edit("/fc3", "flat", device=[0]),
        "/fc3: flat: no shard is on device group -1",
    ),
    (
        say("/fc3", "flat", twice_the_group()),
        "/fc3: flat: there are two device groups -1",
    ),
    (
        edit("/conv2", "pool1", device=[0]),
        "/conv2: pool1: 2 shards need as many devices or groups, not 1",
    ),
    (
        edit("/fc4", "logits", device=[]),
        "/fc4: logits: 1 shards need as many devices or groups, not 0",
    ),
    (
        say("/conv2", "pool1", cut(99, 8, 0, 1)),
        "/conv2: pool1: there is no axis 99 in 4 dimensions",
    ),
    (
        say("/conv2", "pool1", cut(-5, 8, 0, 1)),
        "/conv2: pool1: there is no axis -5 in 4 dimensions",
    ),
    (
        say("/drop3", "drop3.ratio", cut(0, 1, 0, 1)),
        "/drop3: drop3.ratio: there is no axis 0 in 0 dimensions",
    ),
    (
        say("/conv2", "pool1", both_ways()),
        "/conv2: pool1: axis 1 is sharded twice",
    ),
    (
        say("/conv2", "pool1", fused()),
        "/conv2: pool1: axis 1 has 2 shardings, not one",
    ),
    (
        say("/conv2", "pool1", cut(1, 12, 0, 1)),
        "/conv2: pool1: axis 1 is 8, not 12",
    ),
    (
        say("/conv2", "pool1", cut(2, 6, 0, 1, 2, 3)),
        "/conv2: pool1: 6 on axis 2 cannot be 4 equal shards",
    ),
    (
        say("/conv2", "pool1", cut(1, 8)),
        "/conv2: pool1: 8 on axis 1 cannot be 0 equal shards",
    ),
    (
        lambda proto: proto.graph.value_info.pop(1),
        "/relu1: relu1: its shape is unknown",
    ),
    (
        say("/conv2", "conv2.bias", ShardingSpecProto(device=[0])),
        "/conv2: device 1 computes but does not receive conv2.bias",
    ),
    (
        say("/fc4", "fc4.bias", on(0, 1)),
        "/fc4: device 1 receives fc4.bias but computes nothing",
    ),
]


@pytest.mark.parametrize(("edit", "problem"), WRONG, ids=[text for _, text in WRONG])
def test_each_wrong_annotation_is_named(edit: Edit, problem: str) -> None:
    proto = model()
    edit(proto)
    assert problem in list(check(proto))


def test_a_file_without_annotations_is_not_correct() -> None:
    assert list(check(without_annotations(model()))) == [
        "there is no device configuration"
    ]


def test_all_problems_are_named_at_once() -> None:
    proto = model()
    replace(spec(proto, "/conv2", "pool1"), cut(99, 8, 0, 5))
    replace(spec(proto, "/fc3", "flat"), cut(1, 9, 0, 1))
    assert [problem.split(":")[0] for problem in check(proto)].count("/conv2") >= 2
    assert any(problem.startswith("/fc3: flat") for problem in check(proto))
