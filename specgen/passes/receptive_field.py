"""How much of the image one value of the last map can depend on.

Starting at the image, a window of k rows that are d apart (kernel size and dilation)
widens the field by (k - 1) * d * j rows, where neighbors in its input are j rows of the
image apart. If it moves by s rows (stride), neighbors in its output are s * j apart; if
it upsamples, fewer. Of several inputs, the widest field counts. This is equation (2) of
Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks",
Distill 2019.

Padding moves the field but does not change its size: at the edges, part of it is
padding. So it can be larger than the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from specgen.graph import INPUT, Graph
from specgen.ops.base import Shape, Window

PIXEL = Window((1, 1), (1, 1), (0, 0, 0, 0))
# Rows of the image that a value depends on, and those between two neighbors.
Extent = tuple[Fraction, Fraction]


class LastMap(NamedTuple):
    """The output of the last layer that makes maps; the image, if no layer does.

    Attributes:
        shape: channels, height, width.
        field: rows and columns of the image that one value of it can depend on.
    """

    shape: Shape
    field: tuple[int, int]


def last_map(graph: Graph) -> LastMap:
    """Return the last map of a network, and its receptive field."""
    found = fields(graph)
    shapes = {node.name: node.shape for node in graph.nodes}
    last = next(reversed(found))
    return LastMap(shapes.get(last, graph.input_shape), found[last])


def fields(graph: Graph) -> dict[str, tuple[int, int]]:
    """Return the receptive fields of the image and of all maps, by value, in order."""
    one = Fraction(1), Fraction(1)
    found = {INPUT: (one, one)}  # along height and width
    for node in graph.nodes:
        if len(node.shape) == 3 and found.keys() >= {*node.inputs}:
            window = node.applied.window or PIXEL
            rows, columns = (
                _extent([found[name][axis] for name in node.inputs], window, axis)
                for axis in (0, 1)
            )
            found[node.name] = (rows, columns)
    return {
        name: (ceil(height), ceil(width))
        for name, ((height, _), (width, _)) in found.items()
    }


def _extent(read: Sequence[Extent], window: Window, axis: int) -> Extent:
    # A factor for whole maps sees more; its neighbors, if it had any, would be farther.
    size, apart = max(size for size, _ in read), min(apart for _, apart in read)
    steps = (window.kernel_size[axis] - 1) * window.dilation[axis]
    stride = Fraction(window.stride[axis])
    if window.transposed:
        steps, stride = steps // window.stride[axis], 1 / stride
    return size + steps * apart, apart * stride
