"""Examples of every op, a line or more each: its fields, and a shape that it reads.

A new op needs its line here: `test_every_op.py` tests all of them, and the strategies
draw from them.
"""

from __future__ import annotations

from typing import Any

from specgen.ops.base import Shape

Data = dict[str, Any]
Example = tuple[Data, Shape]

MAPS: Shape = (4, 5, 6)
FEATURES: Shape = (12,)
LRN = {"size": 3, "alpha": 0.5}

ACTIVATIONS: list[Example] = [
    ({"op": "relu"}, MAPS),
    ({"op": "relu6"}, MAPS),
    ({"op": "leaky_relu"}, MAPS),
    ({"op": "leaky_relu", "negative_slope": 0.2}, FEATURES),
    ({"op": "elu"}, MAPS),
    ({"op": "elu", "alpha": 0.5}, FEATURES),
    ({"op": "gelu"}, MAPS),
    ({"op": "gelu", "approximate": "tanh"}, FEATURES),
    ({"op": "silu"}, MAPS),
    ({"op": "sigmoid"}, MAPS),
    ({"op": "tanh"}, FEATURES),
    ({"op": "hardswish"}, MAPS),
    ({"op": "hardsigmoid"}, MAPS),
    ({"op": "softplus"}, MAPS),
    ({"op": "softplus", "beta": 2.5}, FEATURES),
    ({"op": "mish"}, MAPS),
]
DROPOUTS: list[Example] = [
    ({"op": "dropout"}, FEATURES),
    ({"op": "dropout", "p": 0.25}, MAPS),
    ({"op": "dropout", "p": 0}, MAPS),
    ({"op": "dropout2d"}, MAPS),
    ({"op": "dropout2d", "p": 0}, MAPS),
    ({"op": "stochastic_depth", "p": 0.2}, MAPS),
    ({"op": "stochastic_depth", "p": 0.5}, FEATURES),
    ({"op": "stochastic_depth", "p": 0}, MAPS),
]
CONV = {"op": "conv2d", "out_channels": 12}
BACK = {"op": "conv_transpose2d", "out_channels": 6, "kernel_size": 3}
CONVOLUTIONS: list[Example] = [
    (CONV | {"kernel_size": 3}, MAPS),
    (CONV | {"kernel_size": [1, 7], "padding": [0, 3]}, MAPS),
    (CONV | {"kernel_size": [7, 1], "padding": [3, 0], "groups": 2}, MAPS),
    (CONV | {"kernel_size": 3, "groups": 4, "padding": 1}, MAPS),  # depthwise
    (CONV | {"kernel_size": 2, "groups": 4, "dilation": [2, 3]}, MAPS),
    (CONV | {"kernel_size": 3, "groups": 2, "bias": False, "stride": 2}, MAPS),
    (CONV | {"kernel_size": 3, "dilation": 2, "padding": "same"}, MAPS),
    (CONV | {"kernel_size": [2, 4], "dilation": [1, 2], "padding": "same"}, MAPS),
    (CONV | {"kernel_size": 2, "padding": {"bottom": 1}, "groups": 4}, MAPS),
    (BACK, MAPS),
    (BACK | {"stride": 2, "padding": 1, "output_padding": 1}, MAPS),
    (BACK | {"stride": [1, 2], "output_padding": [0, 1], "bias": False}, MAPS),
    (BACK | {"groups": 2, "dilation": [2, 1], "padding": [3, 0]}, MAPS),
]
GLOBAL = {"output_size": 1}
POOLS: list[Example] = [
    ({"op": "max_pool2d", "kernel_size": 3, "stride": 2, "ceil_mode": True}, MAPS),
    ({"op": "avg_pool2d", "kernel_size": 2, "padding": 1}, MAPS),
    ({"op": "adaptive_avg_pool2d"} | GLOBAL, MAPS),
    ({"op": "adaptive_avg_pool2d", "output_size": [2, 3]}, MAPS),
    ({"op": "adaptive_avg_pool2d", "output_size": [5, 1]}, MAPS),
    ({"op": "adaptive_max_pool2d"} | GLOBAL, MAPS),
    ({"op": "adaptive_max_pool2d", "output_size": [2, 3]}, MAPS),
]
UPSAMPLING: list[Example] = [
    ({"op": "upsample", "scale_factor": 2}, MAPS),
    ({"op": "upsample", "scale_factor": [2, 3], "mode": "bilinear"}, MAPS),
    ({"op": "upsample", "scale_factor": 2, "mode": "bilinear"}, (4, 1, 3)),
    (
        {
            "op": "upsample",
            "scale_factor": 2,
            "mode": "bilinear",
            "align_corners": True,
        },
        MAPS,
    ),
]
NORMS: list[Example] = [
    ({"op": "prelu"}, MAPS),
    ({"op": "prelu", "num_parameters": 4}, MAPS),
    ({"op": "prelu", "num_parameters": 12, "init": {"weight": 0.5}}, FEATURES),
    ({"op": "layer_scale"}, MAPS),
    ({"op": "layer_scale", "init": {"weight": 0.5}}, MAPS),
    ({"op": "batch_norm2d"}, MAPS),
    ({"op": "batch_norm2d", "eps": 0.001, "momentum": 0.01}, (4, 2, 1)),
    ({"op": "batch_norm2d", "affine": False}, MAPS),
    ({"op": "batch_norm2d", "synchronized": True, "init": {"weight": 0}}, MAPS),
    ({"op": "group_norm", "num_groups": 2}, MAPS),
    ({"op": "group_norm", "num_groups": 4, "affine": False, "eps": 0.01}, MAPS),
    ({"op": "layer_norm", "axis": "channels"}, MAPS),
    ({"op": "layer_norm", "axis": "channels"}, (4, 1, 1)),
    ({"op": "layer_norm", "axis": "channels"}, (1, 5, 6)),
    ({"op": "layer_norm", "axis": "channels", "affine": False}, MAPS),
    ({"op": "layer_norm", "axis": "last", "eps": 1e-6}, MAPS),
    ({"op": "layer_norm", "axis": "last", "affine": False}, FEATURES),
    ({"op": "local_response_norm", "groups": 2} | LRN, MAPS),
    ({"op": "spatial_response_norm"} | LRN, MAPS),
]
TOKENS: Shape = (5, 12)
ATTENTION: list[Example] = [
    ({"op": "multi_head_attention", "num_heads": 3}, TOKENS),
    ({"op": "multi_head_attention", "num_heads": 1, "bias": False}, TOKENS),
    ({"op": "multi_head_attention", "num_heads": 12}, (6, 12)),
    ({"op": "multi_head_attention", "num_heads": 3, "dropout": 0.25}, TOKENS),
    ({"op": "multi_head_attention", "num_heads": 1, "dropout": 0.5}, (2, 4)),
    ({"op": "multi_head_attention", "num_heads": 2}, (1, 4)),
    ({"op": "class_token"}, TOKENS),
    ({"op": "class_token", "init": {"weight": {"trunc_normal": {"std": 0.5}}}}, (1, 4)),
    ({"op": "position_embedding"}, TOKENS),
    ({"op": "position_embedding", "init": {"weight": 0.5}}, (4, 3)),
    ({"op": "select", "index": 0}, TOKENS),
    ({"op": "select", "index": 4}, TOKENS),
]
FEATURE_OPS: list[Example] = [
    ({"op": "linear", "out_features": 6}, FEATURES),
    ({"op": "linear", "out_features": 7, "axis": "last"}, MAPS),
    ({"op": "linear", "out_features": 7, "axis": "last", "bias": False}, (4, 5)),
    ({"op": "flatten"}, MAPS),
    ({"op": "softmax"}, FEATURES),
]
ARRANGEMENTS: list[Example] = [
    ({"op": "chunk", "chunks": 2, "index": 1}, MAPS),
    ({"op": "chunk", "chunks": 3, "index": 0}, FEATURES),
    ({"op": "identity"}, MAPS),
    ({"op": "reshape", "shape": [12, -1]}, MAPS),
    ({"op": "reshape", "shape": [8, 5, 3]}, MAPS),
    ({"op": "reshape", "shape": [-1, 2, 2]}, FEATURES),
    ({"op": "permute", "dims": [0, 2, 3, 1]}, MAPS),
    ({"op": "permute", "dims": [0, 1, 3, 2]}, MAPS),
    ({"op": "channel_shuffle", "groups": 2}, MAPS),
]
EXAMPLES = [
    *ACTIVATIONS,
    *DROPOUTS,
    *CONVOLUTIONS,
    *POOLS,
    *UPSAMPLING,
    *ARRANGEMENTS,
    *NORMS,
    *ATTENTION,
    *FEATURE_OPS,
]
