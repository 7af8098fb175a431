"""Activations: ops on each value separately, and softmax."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specgen.ops.base import Call, OnnxNode, Op, Part, Refusal, Saved, Shape, TorchForm
from specgen.schema import Figure, Positive


def _source(value: float | str) -> str:
    """A value as Python source, as the formatter writes it."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


class Activation(Op):
    """A function of each value, with the op's fields.

    In PyTorch it is called `function`, and as a module `module`.
    """

    function: ClassVar[str]
    module: ClassVar[str]
    saved: ClassVar[Saved] = Saved(input=True)

    def torch(self, x: Shape) -> TorchForm:
        given = {name: _source(value) for name, value in self if name != "op"}
        fields = type(self).model_fields
        # PyTorch has the same.
        defaults = {name: _source(fields[name].default) for name in given}
        args = [f"{k}={v}" for k, v in given.items() if v != defaults[k]]
        function, module = (
            Call(name, tuple(args), defaults=defaults)
            for name in (self.function, self.module)
        )
        return TorchForm(self.saved, function=function, item=module)


class Relu(Activation):
    """max(x, 0)."""

    op: Literal["relu"]
    function = "F.relu"
    module = "nn.ReLU"
    saved = Saved(output=True)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Relu")]


class Relu6(Activation):
    """min(max(x, 0), 6)."""

    op: Literal["relu6"]
    function = "F.relu6"
    module = "nn.ReLU6"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Clip", ("x", "min", "max"), {}, {"min": 0.0, "max": 6.0})]


class LeakyRelu(Activation):
    """x where that is positive, else x * negative_slope."""

    op: Literal["leaky_relu"]
    negative_slope: Annotated[
        Figure, Field(description="factor for negative values")
    ] = 0.01
    function = "F.leaky_relu"
    module = "nn.LeakyReLU"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("LeakyRelu", attributes={"alpha": self.negative_slope})]


class Elu(Activation):
    """x where that is positive, else alpha * (exp(x) - 1)."""

    op: Literal["elu"]
    alpha: Annotated[
        Positive, Field(description="very negative values approach minus this number")
    ] = 1.0
    function = "F.elu"
    module = "nn.ELU"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Elu", attributes={"alpha": self.alpha})]


class Gelu(Activation):
    """x times the probability that a standard normal value is below x.

    `approximate: tanh` is the formula of Hendrycks and Gimpel (2016), section 2.
    """

    op: Literal["gelu"]
    approximate: Annotated[
        Literal["none", "tanh"],
        Field(description="none, or tanh for the formula that GPT-2 and others use"),
    ] = "none"
    function = "F.gelu"
    module = "nn.GELU"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        if self.approximate == "none":
            root = {"root": math.sqrt(2)}
            curve = [
                OnnxNode("Div", ("x", "root"), {}, root, "scaled", x),
                OnnxNode("Erf", ("scaled",), name="curve", shape=x),
            ]
        else:
            cubic, scale = {"cubic": 0.044715}, {"scale": math.sqrt(2 / math.pi)}
            curve = [
                OnnxNode("Mul", ("x", "x"), name="square", shape=x),
                OnnxNode("Mul", ("x", "square"), name="cube", shape=x),
                OnnxNode("Mul", ("cube", "cubic"), {}, cubic, "term", x),
                OnnxNode("Add", ("x", "term"), name="sum", shape=x),
                OnnxNode("Mul", ("sum", "scale"), {}, scale, "scaled", x),
                OnnxNode("Tanh", ("scaled",), name="curve", shape=x),
            ]
        return [
            *curve,
            OnnxNode("Add", ("curve", "one"), {}, {"one": 1.0}, "raised", x),
            OnnxNode("Mul", ("x", "raised"), name="double", shape=x),
            OnnxNode("Mul", ("double", "half"), {}, {"half": 0.5}),
        ]


class Silu(Activation):
    """x * sigmoid(x); also called swish."""

    op: Literal["silu"]
    function = "F.silu"
    module = "nn.SiLU"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        gate = OnnxNode("Sigmoid", name="gate", shape=x)
        return [gate, OnnxNode("Mul", ("x", "gate"))]


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    op: Literal["sigmoid"]
    function = "torch.sigmoid"
    module = "nn.Sigmoid"
    saved = Saved(output=True)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Sigmoid")]


class Tanh(Activation):
    """The hyperbolic tangent."""

    op: Literal["tanh"]
    function = "torch.tanh"
    module = "nn.Tanh"
    saved = Saved(output=True)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Tanh")]


class Hardswish(Activation):
    """x * hardsigmoid(x)."""

    op: Literal["hardswish"]
    function = "F.hardswish"
    module = "nn.Hardswish"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("HardSwish")]


class Hardsigmoid(Activation):
    """min(max(x / 6 + 1/2, 0), 1)."""

    op: Literal["hardsigmoid"]
    function = "F.hardsigmoid"
    module = "nn.Hardsigmoid"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        # alpha has another default in ONNX: 0.2.
        return [OnnxNode("HardSigmoid", attributes={"alpha": 1 / 6, "beta": 0.5})]


class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta.

    PyTorch's `threshold`, above which it is x, is left at 20: from there on, the two
    are equal in float32.
    """

    op: Literal["softplus"]
    beta: Annotated[Positive, Field(description="how sharp the bend at 0 is")] = 1.0
    function = "F.softplus"
    module = "nn.Softplus"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        if self.beta == 1:
            return [OnnxNode("Softplus")]
        return [
            OnnxNode("Mul", ("x", "beta"), {}, {"beta": self.beta}, "scaled", x),
            OnnxNode("Softplus", ("scaled",), name="curve", shape=x),
            OnnxNode("Div", ("curve", "beta")),
        ]


class Mish(Activation):
    """x * tanh(softplus(x))."""

    op: Literal["mish"]
    function = "F.mish"
    module = "nn.Mish"

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [
            OnnxNode("Softplus", name="curve", shape=x),
            OnnxNode("Tanh", ("curve",), name="gate", shape=x),
            OnnxNode("Mul", ("x", "gate")),
        ]


class Softmax(Op):
    """Class probabilities; ends a network, outside `forward`: the loss needs logits."""

    op: Literal["softmax"]
    after_logits: ClassVar[bool] = True

    def output(self, x: Shape) -> Shape:
        if len(x) != 1:
            raise Refusal(
                "shape-mismatch",
                f"softmax needs features, but its input is {x}",
                "op",
                help="insert a layer {op: flatten} before it",
            )
        return x

    def part(self, share: range, x: Shape) -> Part:
        reason = "softmax needs all classes at once and cannot be split"
        return self.undivided(share, x, reason)

    def torch(self, x: Shape) -> TorchForm:
        return TorchForm(Saved(output=True), function=Call("F.softmax", ("dim=1",)))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Softmax", attributes={"axis": 1})]
