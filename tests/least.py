"""What devices must fetch, counted channel by channel."""

from __future__ import annotations

from specgen.graph import Node, PlacedGraph
from specgen.ops.activation import Softmax
from specgen.ops.arrangement import ChannelShuffle, Permute, Reshape
from specgen.ops.base import volume
from specgen.ops.conv import Conv2d
from specgen.ops.join import Chunk, Concat
from specgen.ops.linear import Flatten, Linear
from specgen.ops.norm import LocalResponseNorm


def reads(node: Node, index: int, channel: int) -> range:
    """The channels of an input that a channel of the output depends on."""
    x = node.input_shapes[index]
    match node.op:
        case Conv2d(groups=groups):
            size = x[0] // groups
            group = channel * groups // node.shape[0]
            return range(group * size, (group + 1) * size)
        case Linear() | Softmax() if len(x) == 1:
            return range(x[0])
        case Flatten():
            channel //= volume(x[1:])
        case Reshape():
            size, read = volume(node.shape[1:]), volume(x[1:])
            return range(channel * size // read, -(-(channel + 1) * size // read))
        case Permute(dims=dims) if dims[1] != 1:
            return range(x[0])
        case ChannelShuffle(groups=groups):
            size = x[0] // groups
            channel = channel % groups * size + channel // groups
        case LocalResponseNorm(groups=groups):
            size = x[0] // groups
            return range(channel // size * size, (channel // size + 1) * size)
        case Chunk(index=part):
            channel += part * node.shape[0]
        case Concat():
            channel -= sum(before[0] for before in node.input_shapes[:index])
            return range(max(channel, 0), min(channel + 1, x[0]))
    return range(channel, channel + 1)


def check_least(placed: PlacedGraph) -> None:
    """Just what a device reads and does not hold crosses, and so nothing twice."""
    held: dict[tuple[str, str], set[int]] = {}
    for layer in placed.layers:
        node = layer.node
        crossed: dict[tuple[str, str], list[int]] = {}
        for move in layer.moves:
            for piece, read in zip(move.pieces, move.reads, strict=True):
                there = held.get((move.value, piece.device), set())
                if piece.device == move.device:  # or it has just come there
                    there = there | {*crossed.get((move.value, move.device), [])}
                else:
                    crossed.setdefault((move.value, move.device), []).extend(read)
                assert {*read} <= there or piece.device == ""
        needed: dict[tuple[str, str], set[int]] = {}
        for share in layer.shares:
            for index, value in enumerate(node.inputs):
                for channel in share.span:
                    found = needed.setdefault((value, share.device), set())
                    found.update(reads(node, index, channel))
        for key, channels in needed.items():
            before = held.setdefault(key, set())
            assert sorted(crossed.pop(key, [])) == sorted(channels - before)
            before |= channels
        assert not crossed
        held |= {(node.name, share.device): {*share.span} for share in layer.shares}
