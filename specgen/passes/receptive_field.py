"""How much of the image one value of the last map can depend on.

Starting at the image, a window of k rows that are d apart (kernel size and dilation)
widens the field by (k - 1) * d * j rows, where neighbors in its input are j rows of the
image apart. If it moves by s rows (stride), neighbors in its output are s * j apart.
This is equation (2) of Araujo, Norris & Sim, "Computing Receptive Fields of
Convolutional Neural Networks", Distill 2019.

Padding moves the field but does not change its size: at the edges, part of it is
padding. So it can be larger than the image.
"""

from __future__ import annotations

from typing import NamedTuple

from specgen.graph import Graph
from specgen.ops.base import Shape


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
    shape, field, apart = graph.input_shape, [1, 1], [1, 1]
    for node in graph.nodes:
        if len(node.shape) != 3:
            break
        shape = node.shape
        if window := node.op.window(*node.input_shapes):
            for axis in (0, 1):
                steps = (window.kernel_size[axis] - 1) * window.dilation[axis]
                field[axis] += steps * apart[axis]
                apart[axis] *= window.stride[axis]
    return LastMap(shape, (field[0], field[1]))
