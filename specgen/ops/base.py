"""What an op is: its fields, shape rule, cost, split, and its two lowerings.

Lowerings return plain data (`TorchForm`, `OnnxNode`), so that ops import neither torch
nor onnx. Shapes leave out the batch: (channels, height, width) or (features,).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from specgen.diagnostics import Diagnostic
from specgen.ops.start import Start
from specgen.schema import Count, Strict

Shape = tuple[int, ...]
# A number, or several, of ONNX nodes.
Constant = float | tuple[int, ...] | tuple[float, ...]

Autocast = Literal["input", "bfloat16", "float32"]

# Bytes.
FLOAT32 = 4
BFLOAT16 = 2
INT64 = 8


class Refusal(Exception):  # noqa: N818 - the network is refused, nothing went wrong
    """An op cannot work as written; `diagnostic.path` is relative to its layer."""

    def __init__(
        self, code: str, message: str, *path: str, help: str | None = None
    ) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(code, message, path, help=help)


@dataclass(frozen=True, slots=True)
class Window:
    """Slides over maps: (height, width); `padding` is (top, bottom, left, right).

    If it is `transposed`, it is not what a value reads but what a value is written to.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int] = (1, 1)
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A Python call to write down: name and arguments as source text.

    The input comes before the arguments; several inputs are one tuple. `names` are
    those of the positional arguments, and `defaults` the values of keyword arguments
    that may be left out: what differs between uses of a block becomes a parameter of
    its class.
    """

    name: str
    args: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)


# Drops the axis of channels or tokens where there is one; of several, an index does.
SQUEEZE = Call("torch.squeeze", ("1",))


@dataclass(frozen=True, slots=True)
class Infix:
    """A Python operator to write between all inputs: x + y."""

    sign: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What an op's forward pass saves for its backward pass, on a CPU.

    Besides the input, the output and parameters, `other` counts bytes per image, and
    `values` counts values of the input's type; `once` counts bytes for all images
    together. `weights` are kept even if the input needs no gradient. `view`: the output
    shares the input's memory. `packed`: an input that is some channels of another
    tensor is copied first. `scratch` is not saved: bytes per image that the op needs
    only while it computes; below 0, if inference needs less than what training saves.
    """

    input: bool = False
    output: bool = False
    other: int = 0
    values: int = 0
    once: int = 0
    weights: tuple[str, ...] = ()
    view: bool = False
    packed: bool = False
    scratch: int = 0


@dataclass(frozen=True, slots=True)
class TorchForm:
    """How an op appears in `model.py`.

    `module` is built in `__init__` and called in `forward`; without one, `function` is
    applied in `forward`. With both, what is built is a parameter, which follows the
    inputs of the function. Without either, what the op reads is what it gives. `pad` is
    (left, right, top, bottom) zeros added first, where torch's own module has no such
    argument; what is saved as the input is then the padded one. `item` is the module in
    a list of modules, for an op that is otherwise a function. The file defines what is
    called by a name of its own, without a module of torch.
    """

    saved: Saved
    module: Call | None = None
    function: Call | Infix | None = None
    pad: tuple[int, int, int, int] | None = None
    item: Call | None = None

    @property
    def begins(self) -> bool:
        """Whether its call begins a statement: inside of another it is hard to read.

        It has a parameter, a shape or an order of axes after its input.
        """
        if not isinstance(self.function, Call):
            return self.function is not None
        return bool(self.module) or any(a[0] == "(" for a in self.function.args)

    @property
    def called(self) -> Call | None:
        """The module, if `forward` calls it."""
        return None if self.function else self.module


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One of the ONNX nodes that an op becomes, in order of execution.

    `inputs` are names within the layer: "x" is what the layer reads, or "x0", "x1", ...
    if it reads several values; the others are its parameters, `constants`, and outputs
    of nodes before. `name` is that of the node and of its output, which has `shape`; if
    there are several `outputs`, all of this shape, they are numbered: "Split_0",
    "Split_1". The last node, of which the output is the layer's, has no name. What is
    not `per_image` comes from parameters alone. A constant is a number, or several: of
    floats there is one for each channel or group.
    """

    op_type: str
    inputs: tuple[str, ...] = ("x",)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Constant] = field(default_factory=dict)
    name: str = ""
    shape: Shape = ()
    outputs: int = 1
    per_image: bool = True

    @property
    def results(self) -> list[str]:
        """Names of the outputs, if they are not the layer's."""
        if self.outputs == 1:
            return [self.name]
        return [f"{self.name}_{index}" for index in range(self.outputs)]


@dataclass(frozen=True, slots=True)
class Owned:
    """A whole tensor of an op.

    What is not `learned` is a buffer: training measures it. Shares cut the tensor along
    axis `cut`; None means that each has its own copy of all of it.
    """

    shape: Shape
    start: Start
    learned: bool = True
    cut: int | None = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One device's part of an op: what it runs, and what that reads of each input.

    Of an input it reads a range of channels (or features), or nothing: that input is
    then none of the part's inputs.
    """

    op: Op
    reads: tuple[range | None, ...]


class Op(Strict):
    """A layer's op. Subclasses add fields named as in PyTorch.

    Methods take the shape of each input: an op with one input declares `x: Shape`, one
    that joins several `*xs: Shape`. The signatures here allow both.
    """

    op: str
    # The least and the most inputs; None is any number.
    inputs: ClassVar[tuple[int, int | None]] = (1, 1)
    # Whether the order of the inputs makes no difference but rounding.
    commutes: ClassVar[bool] = False
    # Ends a network, outside `forward`, which returns the logits that this op reads.
    after_logits: ClassVar[bool] = False
    # Outside training, its output is its input.
    training_only: ClassVar[bool] = False
    # Fields that change nothing outside training.
    training_fields: ClassVar[frozenset[str]] = frozenset()
    # The type that autocast to bfloat16 computes in; "input" keeps that of the input.
    autocast: ClassVar[Autocast] = "input"

    def check_fields(self) -> Iterator[Diagnostic]:
        """What is wrong regardless of the input; paths are relative to the layer."""
        yield from ()

    def check(self, *xs: Any, **_: Any) -> Iterator[Diagnostic]:
        """What is wrong with reading these; paths are relative to the layer."""
        yield from ()

    def output(self, *xs: Any, **_: Any) -> Shape:
        """Shape of the output.

        Raises:
            Refusal: x has no valid output.
        """
        x: Shape = xs[0]
        return x

    def window(self, *xs: Any, **_: Any) -> Window | None:
        """The window that slides over the maps, if there is one."""
        return None

    def tensors(self, *xs: Any, **_: Any) -> dict[str, Owned]:
        """Whole tensors by leaf name, in the order of torch's state_dict.

        A tensor that is the layer itself, rather than one of a module, has the name "".
        """
        return {}

    def shapes(self, *xs: Shape) -> dict[str, Shape]:
        """Shapes of the tensors, by leaf name."""
        return {leaf: own.shape for leaf, own in self.tensors(*xs).items()}

    def parameters(self, *xs: Shape) -> dict[str, Shape]:
        """Shapes of the tensors that are learned."""
        tensors = self.tensors(*xs).items()
        return {leaf: own.shape for leaf, own in tensors if own.learned}

    def least_images(self, *xs: Any, **_: Any) -> int:
        """The fewest images of which it can take statistics; 0 if it takes none."""
        return 0

    def macs(self, *xs: Any, **_: Any) -> int:
        """Multiply-accumulates per image in matrix products; biases do not count."""
        return 0

    def part(self, share: range, *xs: Any, **_: Any) -> Part:
        """What computes the channels (or features) `share` of the output.

        Raises:
            Refusal: that share cannot be computed separately.
        """
        return Part(self, (share,) * len(xs))

    def changed(self, **fields: object) -> Self:
        """The op with other values of some fields; itself if they are the same."""
        if all(getattr(self, name) == value for name, value in fields.items()):
            return self
        return self.model_copy(update=fields)

    def undivided(self, share: range, x: Shape, reason: str, field: str = "op") -> Part:
        """The whole op, which no share can stand for.

        Raises:
            Refusal: it is a share of the output.
        """
        if len(share) < self.output(x)[0]:
            raise Refusal("cannot-split", reason, field, help="place it on one device")
        return Part(self, (range(x[0]),))

    def torch(self, *xs: Any, **_: Any) -> TorchForm:
        raise NotImplementedError

    def onnx(self, *xs: Any, **_: Any) -> list[OnnxNode]:
        raise NotImplementedError


def volume(shape: Shape) -> int:
    """Number of elements."""
    count = 1
    for size in shape:
        count *= size
    return count


def divisors(number: int) -> str:
    """The first few divisors, for a message."""
    small = [n for n in range(1, min(isqrt(number), 10_000) + 1) if number % n == 0]
    found = sorted({*small, *(number // n for n in small)})
    return ", ".join(map(str, found[:8])) + (", ..." if len(found) > 8 else "")


def divisible(number: int) -> str:
    """Return the help about a number that cannot be divided as is asked."""
    listed = divisors(number)
    if listed.count(",") == 1:  # a prime
        listed = listed.replace(",", " and")
    return f"{number} is divisible by {listed}"


def check_division(
    channels: int, count: int, parts: str, *, field: str
) -> Iterator[Diagnostic]:
    """Yield what is wrong if channels cannot be divided into that many equal parts."""
    if channels % count:
        yield Diagnostic(
            "shape-mismatch",
            f"{channels} channels cannot be divided into {count} {parts}",
            (field,),
            help=divisible(channels),
        )


def need_tokens(op: str, x: Shape) -> None:
    """Refuse anything but (tokens, features)."""
    if len(x) != 2:
        raise Refusal(
            "shape-mismatch",
            f"{op} needs tokens (tokens, features), but its input is {x}",
            "op",
            help="make them from maps: a reshape to (C, -1), then a permute",
        )


def need_maps(op: str, x: Shape, help: str = "make maps with a reshape") -> None:
    """Refuse anything but (channels, height, width); `help` is for all but features."""
    if len(x) != 3:
        raise Refusal(
            "shape-mismatch",
            f"{op} needs maps (channels, height, width), but its input is {x}",
            "op",
            help="place it before the flatten layer" if len(x) == 1 else help,
        )


def _pair(value: object) -> object:
    """One whole number means both directions, as in PyTorch."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    raise PydanticCustomError(
        "pair", "expected a whole number or two of them, [height, width]"
    )


def pair_schema(least: int) -> JsonDict:
    """The description of a pair for an editor."""
    number: JsonDict = {"type": "integer", "minimum": least, "maximum": 2**20}
    pair: JsonDict = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    return {"anyOf": [number, pair]}


Padding = Annotated[int, Field(ge=0, le=2**20)]
Pair = Annotated[
    tuple[Count, Count], BeforeValidator(_pair), WithJsonSchema(pair_schema(1))
]
PaddingPair = Annotated[
    tuple[Padding, Padding], BeforeValidator(_pair), WithJsonSchema(pair_schema(0))
]


def py(value: object) -> str:
    """A number, or a pair, as Python source: equal pairs shrink to one number."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    return repr(value)
