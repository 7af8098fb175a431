"""What transformers need: attention, a class token, and a position embedding.

Tokens are (L, E): L of them, of E features each.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.ops.base import (
    FLOAT32,
    Autocast,
    Call,
    Infix,
    OnnxNode,
    Op,
    Owned,
    Part,
    Saved,
    Shape,
    TorchForm,
    divisible,
    need_tokens,
    volume,
)
from specgen.ops.linear import projection
from specgen.ops.start import Normal, NormalDistribution, Rule, Start
from specgen.ops.weighted import Init, Weighted, fans
from specgen.schema import Count, Figure, Strict

IN, OUT = ("in_proj_weight", "in_proj_bias"), ("out_proj.weight", "out_proj.bias")


class MultiHeadAttention(Weighted):
    """Each token reads all tokens (`torch.nn.MultiheadAttention` of x with itself).

    Vaswani et al., "Attention Is All You Need", 2017.
    """

    op: Literal["multi_head_attention"]
    training_fields: ClassVar[frozenset[str]] = frozenset({"dropout"})
    spec_init: ClassVar[bool] = False
    num_heads: Annotated[
        Count,
        Field(
            description="number of heads: parts of the features that attend separately"
        ),
    ]
    dropout: Annotated[
        float,
        Field(
            ge=0, lt=1, description="fraction of the attention weights that is zeroed"
        ),
    ] = 0.0

    init: Annotated[
        Init,
        Field(
            description="initial values of both matrices and both biases; by default,"
            " PyTorch's"
        ),
    ] = Init()

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        if x[-1] % self.num_heads:
            yield Diagnostic(
                "shape-mismatch",
                f"{x[-1]} features cannot be divided into {self.num_heads} heads",
                ("num_heads",),
                help=divisible(x[-1]),
            )

    def output(self, x: Shape) -> Shape:
        need_tokens(self.op, x)
        return x

    def tensors(self, x: Shape) -> dict[str, Owned]:
        size = x[-1]
        return {
            **self._matrix(IN, (3 * size, size), "xavier_uniform"),
            **self._matrix(OUT, (size, size), "uniform"),
        }

    def _matrix(
        self, leaves: tuple[str, str], shape: Shape, usual: Rule
    ) -> dict[str, Owned]:
        """A matrix and perhaps its bias; PyTorch initializes the matrix by `usual`."""
        weight, bias = leaves
        rules: dict[str, Rule] = {"weight": usual, "bias": 0}
        rules |= self.init.given()
        found = {weight: Owned(shape, Start(rules["weight"], fans(shape)))}
        if self.bias:
            found[bias] = Owned(shape[:1], Start(rules["bias"], fans(shape)))
        return found

    def macs(self, x: Shape) -> int:
        # Four products with weights; each token with all tokens, twice.
        return volume(x) * (4 * x[1] + 2 * x[0])

    def part(self, share: range, x: Shape) -> Part:
        reason = "each token reads all tokens: multi_head_attention cannot be split"
        return self.undivided(share, x, reason)

    def torch(self, x: Shape) -> TorchForm:
        args = [str(x[-1]), str(self.num_heads)]
        args += [] if self.bias else ["bias=False"]
        args += [f"dropout={self.dropout!r}"] if self.dropout else []
        names, defaults = ("embed_dim", "num_heads"), {"bias": "True", "dropout": "0.0"}
        call = Call("SelfAttention", tuple(args), names, defaults)
        size, sums = volume(x), self.num_heads * x[0]
        if self.dropout:
            # Queries, keys and values; weights, mask and product; what they give.
            values, other = size, FLOAT32 * 3 * (size + sums * x[0])
        else:
            # The same without weights; the logarithm of each sum of exponentials.
            values, other = 4 * size, FLOAT32 * sums
        # Inference has queries, keys and values twice, and those logarithms.
        scratch = FLOAT32 * (6 * size + sums - values) - other
        weights = ("out_proj.weight",)
        saved = Saved(True, False, other, values, weights=weights, scratch=scratch)
        return TorchForm(saved, call)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        (tokens, size), heads, shapes = x, self.num_heads, self.shapes(x)
        each = size // heads
        apart, turned = (tokens, 3 * heads, each), (3 * heads, tokens, each)
        part, pairs = (heads, tokens, each), (heads, tokens, tokens)
        into, back = {"into": (0, *apart)}, {"back": (0, *x)}
        swap = {"perm": (0, 2, 1, 3)}
        inputs, outputs = (
            {leaf: shapes[leaf] for leaf in leaves if leaf in shapes}
            for leaves in (IN, OUT)
        )
        scale = {"scale": 1 / sqrt(each)}
        return [
            *projection("x", inputs, (tokens, 3 * size), "in_proj"),
            OnnxNode("Reshape", ("in_proj", "into"), {}, into, "apart", apart),
            OnnxNode("Transpose", ("apart",), swap, name="heads", shape=turned),
            OnnxNode(
                "Split", ("heads",), {"axis": 1}, name="qkv", shape=part, outputs=3
            ),
            OnnxNode(
                "Transpose",
                ("qkv_1",),
                {"perm": (0, 1, 3, 2)},
                name="keys",
                shape=(heads, each, tokens),
            ),
            OnnxNode("MatMul", ("qkv_0", "keys"), name="products", shape=pairs),
            OnnxNode("Mul", ("products", "scale"), {}, scale, "scores", pairs),
            OnnxNode("Softmax", ("scores",), {"axis": -1}, name="weights", shape=pairs),
            OnnxNode("MatMul", ("weights", "qkv_2"), name="means", shape=part),
            OnnxNode(
                "Transpose",
                ("means",),
                swap,
                name="turned",
                shape=(tokens, heads, each),
            ),
            OnnxNode("Reshape", ("turned", "back"), {}, back, "joined", x),
            *projection("joined", outputs, x),
        ]


class ClassTokenInit(Strict):
    """Initial values of the class token."""

    weight: Annotated[
        Figure | NormalDistribution,
        Field(description="a number for all values, or {normal: {std: 0.02}}"),
    ] = 0.0


class PositionEmbeddingInit(Strict):
    """Initial values of the position embedding."""

    weight: Annotated[
        Figure | NormalDistribution,
        Field(description="a number for all values, or {trunc_normal: {std: 0.02}}"),
    ] = NormalDistribution(normal=Normal(std=0.02))


class ClassToken(Op):
    """Puts a learned token before the others, for the classifier to read (ViT).

    It is a parameter without a module, (1, 1, E): in a checkpoint it has the name of
    the layer.
    """

    op: Literal["class_token"]
    autocast: ClassVar[Autocast] = "float32"  # the type of the token
    init: Annotated[
        ClassTokenInit, Field(description="initial values of the token")
    ] = ClassTokenInit()

    def output(self, x: Shape) -> Shape:
        need_tokens(self.op, x)
        return (1 + x[0], x[1])

    def tensors(self, x: Shape) -> dict[str, Owned]:
        return {"": Owned((1, 1, x[-1]), Start(self.init.weight))}

    def part(self, share: range, x: Shape) -> Part:
        reason = "only one device can have the class token, so it cannot be split"
        return self.undivided(share, x, reason)

    def torch(self, x: Shape) -> TorchForm:
        shape, names = ("1", "1", str(x[-1])), ("batch", "tokens", "embed_dim")
        return TorchForm(Saved(), Call("parameter", shape, names), Call("prepend"))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        # A Concat would need a copy of the token for each image. Instead, both parts
        # are padded with zeros where the other goes, and added.
        before, after = {"before": (0, 1, 0, 0, 0, 0)}, {"after": (0, 0, 0, 0, x[0], 0)}
        shape = self.output(x)
        return [
            OnnxNode("Pad", ("x", "before"), {}, before, "others", shape),
            OnnxNode(
                "Pad", ("", "after"), {}, after, "token", (1, *shape), per_image=False
            ),
            OnnxNode("Add", ("others", "token")),
        ]


class PositionEmbedding(Op):
    """Adds learned values to each token, which say where it is.

    They are a parameter without a module, (1, L, E): in a checkpoint they have the name
    of the layer.
    """

    op: Literal["position_embedding"]
    autocast: ClassVar[Autocast] = "float32"  # the type of the values
    init: Annotated[
        PositionEmbeddingInit, Field(description="initial values of the embedding")
    ] = PositionEmbeddingInit()

    def output(self, x: Shape) -> Shape:
        need_tokens(self.op, x)
        return x

    def tensors(self, x: Shape) -> dict[str, Owned]:
        return {"": Owned((1, *x), Start(self.init.weight), cut=1)}

    def torch(self, x: Shape) -> TorchForm:
        shape, names = ("1", *map(str, x)), ("batch", "tokens", "embed_dim")
        return TorchForm(Saved(), Call("parameter", shape, names), Infix("+"))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Add", ("x", ""))]
