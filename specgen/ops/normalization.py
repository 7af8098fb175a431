"""Normalization by mean and variance: of a batch, a group of channels, or a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.ops.base import (
    FLOAT32,
    Call,
    OnnxNode,
    Op,
    Owned,
    Part,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    check_division,
    need_maps,
    volume,
)
from specgen.ops.start import constant
from specgen.schema import Count, Figure, Positive, Strict

WEIGHT, BIAS = ("weight", "bias")
# Transposes that make the channels the last axis, and the first again.
LAST, FIRST = {"perm": (0, 2, 3, 1)}, {"perm": (0, 3, 1, 2)}
# Of torch's modules.
DEFAULTS = {"eps": 1e-5, "momentum": 0.1, "affine": True, "elementwise_affine": True}


class NormInit(Strict):
    """What the weight and the bias of a norm start with, all values the same."""

    weight: Annotated[Figure, Field(description="initial value of every weight")] = 1.0
    bias: Annotated[Figure, Field(description="initial value of every bias")] = 0.0


class Norm(Op):
    """(x - mean) / sqrt(variance + eps), times a learned weight, plus a bias."""

    eps: Annotated[Positive, Field(description="added to the variance")] = 1e-5
    affine: Annotated[
        bool, Field(description="whether a weight and a bias are learned")
    ] = True
    init: Annotated[
        NormInit, Field(description="initial values of the weight and the bias")
    ] = NormInit()

    def check_fields(self) -> Iterator[Diagnostic]:
        for leaf, value in self.init:
            if not self.affine and value != getattr(NormInit(), leaf):
                yield Diagnostic(
                    "no-effect",
                    f"this layer has no {leaf} to initialize",
                    ("init", leaf),
                    help="remove it, or remove `affine: false`",
                )

    def _size(self, x: Shape) -> int:
        """Number of weights."""
        return x[0]

    def tensors(self, x: Shape) -> dict[str, Owned]:
        if not self.affine:
            return {}
        return {
            leaf: Owned((self._size(x),), constant(value)) for leaf, value in self.init
        }

    def _call(self, name: str, sizes: dict[str, int], **options: object) -> Call:
        """The module `name`: its sizes, and those options that are not torch's."""
        affine = "elementwise_affine" if isinstance(self, LayerNorm) else "affine"
        written = {"eps": self.eps, **options, affine: self.affine}
        known = {name: DEFAULTS[name] for name in written}
        more = [
            f"{name}={value!r}"
            for name, value in written.items()
            if value != known[name]
        ]
        defaults = {name: repr(value) for name, value in known.items()}
        args = (*map(str, sizes.values()), *more)
        return Call(name, args, tuple(sizes), defaults)

    def _constants(self, size: int) -> dict[str, tuple[float, ...]]:
        """The weight and the bias that ONNX needs where there are none."""
        return {} if self.affine else {WEIGHT: (1.0,) * size, BIAS: (0.0,) * size}

    def _saved(self, numbers: int) -> Saved:
        """Beside x, so many numbers per image: in float32 where there is a weight."""
        if self.affine:
            return Saved(input=True, other=FLOAT32 * numbers)
        return Saved(input=True, values=numbers)


class BatchNorm2d(Norm):
    """Normalizes each channel over a batch (`torch.nn.BatchNorm2d`).

    In evaluation it takes means and variances of training: each step moves them by
    `momentum` to those of its batch.
    """

    op: Literal["batch_norm2d"]
    training_fields: ClassVar[frozenset[str]] = frozenset({"momentum", "synchronized"})
    momentum: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="how far a step moves the running mean and variance",
        ),
    ] = 0.1
    synchronized: Annotated[
        bool,
        Field(description="whether several processes normalize over the images of all"),
    ] = False

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return x

    def least_images(self, x: Shape) -> int:
        return 1 if volume(x[1:]) > 1 else 2

    def tensors(self, x: Shape) -> dict[str, Owned]:
        return {
            **super().tensors(x),
            "running_mean": Owned(x[:1], constant(0), learned=False),
            "running_var": Owned(x[:1], constant(1), learned=False),
            "num_batches_tracked": Owned((), constant(0), learned=False, cut=None),
        }

    def torch(self, x: Shape) -> TorchForm:
        name = "SyncBatchNorm2d" if self.synchronized else "nn.BatchNorm2d"
        call = self._call(name, {"num_features": x[0]}, momentum=self.momentum)
        # Beside x, the mean and the deviation of each channel.
        saved = Saved(input=True, once=2 * FLOAT32 * x[0])
        return TorchForm(saved, call)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        inputs = ("x", WEIGHT, BIAS, "running_mean", "running_var")
        attributes, constants = {"epsilon": self.eps}, self._constants(x[0])
        return [OnnxNode("BatchNormalization", inputs, attributes, constants)]


class LayerNorm(Norm):
    """Normalizes over one axis (`torch.nn.LayerNorm`).

    Over the channels of each pixel, as ConvNeXt does, or over the last axis.
    """

    op: Literal["layer_norm"]
    axis: Annotated[
        Literal["channels", "last"],
        Field(description="channels: over those of each pixel of maps; last: features"),
    ]

    def output(self, x: Shape) -> Shape:
        if self.axis == "channels" and len(x) != 3:
            raise Refusal(
                "shape-mismatch",
                "layer_norm over channels needs maps (channels, height, width), but"
                f" its input is {x}",
                "axis",
                help="write axis: last",
            )
        return x

    def part(self, share: range, x: Shape) -> Part:
        what = "all channels" if self.axis == "channels" else "the whole axis"
        reason = f"layer_norm needs {what} at once and cannot be split"
        return self.undivided(share, x, reason)

    def _size(self, x: Shape) -> int:
        return x[0] if self.axis == "channels" else x[-1]

    def torch(self, x: Shape) -> TorchForm:
        size = self._size(x)
        numbers = 2 * volume(x) // size  # mean and deviation of each vector
        channels = self.axis == "channels"
        name = "LayerNorm2d" if channels else "nn.LayerNorm"
        # Inference has what is normalized, with channels last, beside its copy; by then
        # the means and deviations are gone.
        copied = channels and 1 < size < volume(x)
        scratch = FLOAT32 * (volume(x) - numbers) if copied else 0
        return TorchForm(
            replace(self._saved(numbers), scratch=scratch),
            self._call(name, {"normalized_shape": size}),
        )

    def onnx(self, x: Shape) -> list[OnnxNode]:
        norm = OnnxNode(
            "LayerNormalization",
            ("x", WEIGHT, BIAS),
            {"axis": -1, "epsilon": self.eps},
            self._constants(self._size(x)),
        )
        if self.axis == "last":
            return [norm]
        last = (*x[1:], x[0])
        inputs = ("last", WEIGHT, BIAS)
        return [
            OnnxNode("Transpose", ("x",), LAST, name="last", shape=last),
            replace(norm, inputs=inputs, name="normalized", shape=last),
            OnnxNode("Transpose", ("normalized",), FIRST),
        ]


class GroupNorm(Norm):
    """Normalizes over groups of channels of an image (`torch.nn.GroupNorm`)."""

    op: Literal["group_norm"]
    num_groups: Annotated[
        Count, Field(description="groups of channels, each normalized separately")
    ]

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return x

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        yield from check_division(x[0], self.num_groups, "groups", field="num_groups")
        if volume(x) == self.num_groups:  # torch refuses it for one image
            yield Diagnostic(
                "shape-mismatch",
                "each group has a single value, and normalizing that always gives 0",
                ("num_groups",),
                help=f"divide the {x[0]} channels into fewer groups"
                if x[0] > 1
                else "remove the layer",
            )

    def part(self, share: range, x: Shape) -> Part:
        group = x[0] // self.num_groups
        if share.start % group or share.stop % group:
            devices = x[0] // len(share)
            raise Refusal(
                "cannot-split",
                f"a share of {len(share)} channels cuts through groups of {group}",
                "num_groups",
                help=f"{devices} devices can share a multiple of {devices} groups",
            )
        local = self.changed(num_groups=len(share) // group)
        return Part(local, (share,))

    def torch(self, x: Shape) -> TorchForm:
        sizes = {"num_groups": self.num_groups, "num_channels": x[0]}
        # The mean and the deviation of each.
        saved = replace(self._saved(2 * self.num_groups), packed=True)
        return TorchForm(saved, self._call("nn.GroupNorm", sizes))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        # GroupNormalization came with a later opset than most runtimes have.
        groups, size = self.num_groups, volume(x) // self.num_groups
        into, back = (0, -1, size), (0, -1, *x[1:])
        ones, zeros = (1.0,) * groups, (0.0,) * groups
        inputs, eps = ("grouped", "ones", "zeros"), {"epsilon": self.eps}
        nodes = [
            OnnxNode("Reshape", ("x", "into"), {}, {"into": into}),
            OnnxNode(
                "InstanceNormalization", inputs, eps, {"ones": ones, "zeros": zeros}
            ),
            OnnxNode("Reshape", ("normalized", "back"), {}, {"back": back}),
        ]
        names = ("grouped", "normalized", "maps" if self.affine else "")
        shapes = ((groups, size), (groups, size), x)
        nodes = [
            replace(node, name=name, shape=shape)
            for node, name, shape in zip(nodes, names, shapes, strict=True)
        ]
        if self.affine:
            nodes += per_channel("Mul", "maps", WEIGHT, x, "scaled")
            nodes += per_channel("Add", "scaled", BIAS, x)
        return nodes


def per_channel(
    op_type: str, maps: str, numbers: str, x: Shape, name: str = ""
) -> list[OnnxNode]:
    """Combine `maps` of shape `x` with a vector of `numbers`, one for each channel."""
    column, axes = f"{numbers}_column", f"{numbers}_axes"
    over = {axes: tuple(range(1, len(x)))}
    shape = (x[0], *[1] * (len(x) - 1))
    return [
        OnnxNode(
            "Unsqueeze", (numbers, axes), {}, over, column, shape, per_image=False
        ),
        OnnxNode(op_type, (maps, column), name=name, shape=x),
    ]
