"""The structure of a network as an ONNX file to review: parameters are graph inputs.

A layer's tensor has the layer's name, and its node the same name after a slash, because
some runtimes confuse equal names: `conv1` and `/conv1`. If a layer takes several nodes,
the others are named below it: `/norm1/Split` gives `norm1.Split_0` and `norm1.Split_1`.
The file has the logical graph, so every placement gives the same file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import onnx
from onnx import TensorProto, helper, printer

from specgen.graph import INPUT, Graph, Node, tensor_name
from specgen.ops.base import Constant, Shape

# Together these load nearly everywhere; onnx's defaults, the newest, do not.
OPSET, IR_VERSION = 17, 8

BATCH = "N"
LOGITS, PROB = "logits", "prob"


def render(graph: Graph, name: str) -> dict[str, bytes]:
    """Return the binary and the text form, by file name."""
    model = build(graph, name)
    return {
        "model.onnx": model.SerializeToString(deterministic=True),
        "model.onnx.txt": to_text(model).encode(),
    }


def to_text(model: onnx.ModelProto) -> str:
    """Return what `onnx.parser.parse_model` reads, with a line for each tensor.

    No line ends with a space: hooks that strip trailing spaces would change the file.
    """
    text: str = printer.to_text(model)
    text = re.sub(r", (?=(float|int64)[\[ ])", ",\n   ", text)
    return "\n".join(line.rstrip(" ") for line in text.split("\n")).strip() + "\n"


def build(graph: Graph, name: str) -> onnx.ModelProto:
    """Return the model of a graph whose shapes are known; `name` names its ONNX graph.

    Inputs are the images (N, C, H, W), then the tensors that layers read, by their
    state_dict keys. Outputs (N, classes) are `logits` and, after a final softmax,
    `prob`.
    """
    model = onnx.ModelProto(
        ir_version=IR_VERSION,
        producer_name="specgen",
        opset_import=[helper.make_opsetid("", OPSET)],
    )
    proto = model.graph
    proto.name = name
    proto.input.add(name=INPUT, type=_batch(graph.input_shape))
    tensors = tensor_names(graph)
    for node in graph.nodes:
        read = {name for step in node.applied.onnx for name in step.inputs}
        for leaf, own in node.applied.tensors.items():
            if leaf in read:
                proto.input.add(
                    name=tensor_name(node.name, leaf), type=_type(own.shape)
                )
        output = tensors[node.name]
        _write_layer(proto, node, [tensors[name] for name in node.inputs], output)
        known = proto.output if output in (LOGITS, PROB) else proto.value_info
        known.add(name=output, type=_batch(node.shape))
    return model


def with_all_outputs(model: bytes) -> bytes:
    """Return the model with every tensor between layers as an output too."""
    proto = onnx.load_model_from_string(model)
    proto.graph.output.extend(proto.graph.value_info)
    content: bytes = proto.SerializeToString()
    return content


def tensor_names(graph: Graph) -> dict[str, str]:
    """Return the tensor of each layer, named after it except for the outputs.

    The tensor of any other layer called `logits` or `prob` is renamed, and that of a
    layer whose name is that of its parameter.
    """
    tensors = {name: name for name in (INPUT, *(node.name for node in graph.nodes))}
    own = [node.name for node in graph.nodes if "" in node.applied.tensors]
    tensors |= {name: f"{name}.output" for name in own}
    tensors |= {name: f"{name}.output" for name in (LOGITS, PROB) if name in tensors}
    last = graph.nodes[-1]
    if graph.has_probabilities:
        return tensors | {last.inputs[0]: LOGITS, last.name: PROB}
    return tensors | {last.name: LOGITS}


def _write_layer(
    proto: onnx.GraphProto, layer: Node, reads: Sequence[str], output: str
) -> None:
    """Add the nodes and constants of a layer that reads tensors and gives one."""
    known = {f"x{index}": tensor for index, tensor in enumerate(reads)}
    if len(reads) == 1:
        known = {"x": reads[0]}
    for step in layer.applied.onnx:
        inputs = [
            known.get(name) or tensor_name(layer.name, name) for name in step.inputs
        ]
        name, outputs = f"/{layer.name}", [output]
        if step.name:
            name = f"{name}/{step.name}"
            outputs = [f"{layer.name}.{result}" for result in step.results]
            type_ = _batch(step.shape) if step.per_image else _type(step.shape)
            for tensor in outputs:
                proto.value_info.add(name=tensor, type=type_)
        for leaf, value in step.constants.items():
            proto.initializer.append(_constant(f"{layer.name}.{leaf}", value))
        proto.node.add(
            op_type=step.op_type,
            input=inputs,
            output=outputs,
            name=name,
            domain="",  # the parser writes it, too, so the text form gives equal bytes
            attribute=[_attribute(*item) for item in sorted(step.attributes.items())],
        )


# Messages are copied into those around them, and most layers have the same ones.
@lru_cache(maxsize=1024, typed=True)
def _attribute(name: str, value: Any) -> onnx.AttributeProto:
    return helper.make_attribute(name, value)


@lru_cache(maxsize=1024)
def _type(shape: tuple[int | str, ...]) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(TensorProto.FLOAT, shape)


def _batch(shape: Shape) -> onnx.TypeProto:
    return _type((BATCH, *shape))


def _constant(name: str, value: Constant) -> onnx.TensorProto:
    """Return a number as a scalar, several as a vector."""
    if not isinstance(value, tuple):
        return helper.make_tensor(name, TensorProto.FLOAT, (), [value])
    whole = {type(number) for number in value} == {int}
    kind = TensorProto.INT64 if whole else TensorProto.FLOAT
    return helper.make_tensor(name, kind, (len(value),), value)
