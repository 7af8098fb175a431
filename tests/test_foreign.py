"""What other programs call things: each of their names gets an answer."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from specgen.diagnostics import LIMITS
from specgen.frontend import foreign
from specgen.frontend.annotations import fields, plain, tagged, tags
from specgen.ops import AnyOp
from specgen.spec import Spec
from specgen.spec.training import Sgd, Training

TORCH = [
    name
    for name, item in vars(nn).items()
    if inspect.isclass(item) and issubclass(item, nn.Module)
]
KERAS = """
InputLayer Dense Activation Embedding Masking Lambda Conv1D Conv2D SeparableConv2D
DepthwiseConv2D Conv1DTranspose Conv2DTranspose MaxPooling2D AveragePooling2D
GlobalMaxPooling2D GlobalAveragePooling2D LSTM GRU Rescaling Resizing RandomFlip
BatchNormalization LayerNormalization Dropout SpatialDropout2D GaussianNoise
MultiHeadAttention Reshape Flatten Permute Cropping2D UpSampling2D ZeroPadding2D
Concatenate Average Maximum Add Subtract Multiply Dot ReLU Softmax LeakyReLU PReLU ELU
"""
CAFFE = """
AbsVal Accuracy ArgMax BatchNorm Bias Clip Concat Convolution Crop Data Deconvolution
Dropout Eltwise ELU EuclideanLoss Flatten HDF5Data ImageData InnerProduct Input LRN
MVN Pooling Power PReLU Python Reduction ReLU Reshape Scale Sigmoid Silence Slice
Softmax SoftmaxWithLoss Split Swish TanH Tile
"""
TORCHVISION = """
Conv2dNormActivation DeformConv2d DropBlock2d FrozenBatchNorm2d MLP Permute RoIAlign
SqueezeExcitation StochasticDepth FeaturePyramidNetwork
"""


@pytest.mark.parametrize(
    "names",
    [TORCH, KERAS.split(), CAFFE.split(), TORCHVISION.split()],
    ids=["torch", "keras", "caffe", "torchvision"],
)
def test_every_one_of_their_ops_has_an_answer(names: list[str]) -> None:
    ours = tags(AnyOp)
    unknown = {name: foreign.tag_help("op", name, ours) for name in names}
    assert [name for name, help in unknown.items() if help is None] == []


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("Conv2d", "conv2d"),
        ("nn.Conv2d", "conv2d"),
        ("torch.nn.functional.max_pool2d", "max_pool2d"),
        ("InnerProduct", "linear"),
        ("LRN", "local_response_norm"),
        ("AveragePooling2D", "avg_pool2d"),
        ("nn.ReLU6", "relu6"),
        ("h_swish", "hardswish"),
        ("Mish", "mish"),
        ("SpatialDropout2D", "dropout2d"),
        ("DropPath", "stochastic_depth"),
        ("nn.MultiheadAttention", "multi_head_attention"),
        ("pos_embed", "position_embedding"),
        ("cls_token", "class_token"),
    ],
)
def test_our_name(word: str, ours: str) -> None:
    assert foreign.our_tag("op", word, tags(AnyOp)) == ours
    assert foreign.tag_help("op", word, tags(AnyOp)) == f"it is called {ours} here"


def test_global_pooling_is_said_in_one_way() -> None:
    for word in ("GlobalAveragePooling2D", "GlobalAveragePool", "global_avg_pool2d"):
        help = foreign.tag_help("op", word, tags(AnyOp))
        assert help == "write adaptive_avg_pool2d with output_size: 1"


def test_a_new_op_is_called_by_its_name() -> None:
    assert LIMITS in str(foreign.tag_help("op", "BatchNormalization", ["relu"]))
    later = foreign.tag_help("op", "BatchNormalization", ["relu", "batch_norm2d"])
    assert later == "it is called batch_norm2d here"


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (nn.Conv2d, "conv2d"),
        (nn.Linear, "linear"),
        (nn.MaxPool2d, "max_pool2d"),
        (nn.AvgPool2d, "avg_pool2d"),
        (nn.LocalResponseNorm, "local_response_norm"),
        (nn.ConvTranspose2d, "conv_transpose2d"),
        (nn.AdaptiveAvgPool2d, "adaptive_avg_pool2d"),
        (nn.AdaptiveMaxPool2d, "adaptive_max_pool2d"),
        (nn.Upsample, "upsample"),
        (nn.ChannelShuffle, "channel_shuffle"),
        (nn.Dropout, "dropout"),
        (nn.Dropout2d, "dropout2d"),
        (nn.LeakyReLU, "leaky_relu"),
        (nn.ELU, "elu"),
        (nn.GELU, "gelu"),
        (nn.Softplus, "softplus"),
        (nn.Flatten, "flatten"),
        (nn.Softmax, "softmax"),
        (nn.MultiheadAttention, "multi_head_attention"),
    ],
)
def test_every_argument_of_a_module_of_torch_has_an_answer(
    function: type[nn.Module], op: str
) -> None:
    names = fields(plain(tagged(plain(AnyOp)[0], "op", op))[0])
    for key in set(inspect.signature(function).parameters) - set(names):
        assert foreign.key_help(key, names), key


def test_every_optimizer_and_schedule_of_torch_has_an_answer() -> None:
    kinds = tags(Training.model_fields["schedule"].annotation)
    theirs = {**vars(torch.optim), **vars(torch.optim.lr_scheduler)}
    bases = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    words = [
        name
        for name, item in theirs.items()
        if inspect.isclass(item) and issubclass(item, bases) and item not in bases
        if name[0] != "_"
    ]
    assert len(words) > 20
    unknown = [word for word in words if not foreign.value_help(word, ["sgd", *kinds])]
    assert unknown == []


def test_our_names_are_not_their_names_for_something_else() -> None:
    for model in (Spec, Training, Sgd):
        names = fields(model)
        for name in names:
            assert foreign.our_key(name, names) in (name, None)
