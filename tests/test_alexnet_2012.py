"""specs/alexnet_2012.yaml against the published code's network, written out here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from placed import exact, model_text, module
from test_specs import spec
from torch import Tensor

from specgen.spec.training import StepSchedule


def norm_across(x: Tensor) -> Tensor:
    """`cmrnorm`, of each tower by itself."""
    towers = x.chunk(2, 1)
    return torch.cat([F.local_response_norm(t, 5, 1e-4, 0.75, 2.0) for t in towers], 1)


def norm_within(x: Tensor) -> Tensor:
    """`rnorm`, which the layer files call cnorm2."""
    ones = torch.ones(x.shape[1], 1, 5, 5, dtype=x.dtype)
    total = F.conv2d(x**2, ones, padding=2, groups=x.shape[1])
    return x / (1 + 1e-3 / 25 * total) ** 0.75


def published(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the logits, in the order of layers-145.cfg, without dropout."""

    def conv(name: str, x: Tensor, padding: int, groups: int = 1) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        stride = 4 if name == "conv1" else 1
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)

    def fc(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2)

    x = F.relu(pool(norm_across(conv("conv1", F.pad(x, (0, 3, 0, 3)), 0))))
    x = pool(norm_within(norm_across(F.relu(conv("conv2", x, 2, 2)))))
    x = F.relu(conv("conv3", x, 1))
    x = F.relu(conv("conv4", x, 1, 2))
    x = F.relu(pool(conv("conv5", x, 1, 2)))
    x = F.relu(fc("fc6", x.flatten(1)))
    return fc("fc8", F.relu(fc("fc7", x)))


def test_it_is_the_published_network() -> None:
    program = spec("alexnet_2012", small=True)
    net = exact(program, ["cpu", "cpu"])
    draw = torch.Generator().manual_seed(0)
    shape = (2, *program.graph.input_shape)
    x = 60 * torch.randn(shape, dtype=torch.float64, generator=draw)
    torch.testing.assert_close(
        net(x), published(net.state_dict(), x), rtol=1e-10, atol=1e-10
    )


def test_its_start() -> None:
    code = module(model_text(spec("alexnet_2012", small=True)))
    state = code.AlexNet(["cpu", "cpu"]).state_dict()
    for name, tensor in state.items():
        layer, leaf = name.split(".")
        if leaf == "weight":
            std = 0.03 if layer in ("conv3", "conv4", "conv5") else 0.01
            assert abs(float(tensor.std()) / std - 1) < 0.03, name
        else:
            ones = ("conv2", "conv4", "conv5", "fc6", "fc7")
            assert tensor.unique().tolist() == [float(layer in ones)], name


def test_its_recipe() -> None:
    training = spec("alexnet_2012").spec.training
    sgd = training.optimizer
    assert (training.epochs, training.batch_size) == (91, 128)
    assert (sgd.lr, sgd.momentum, sgd.weight_decay) == (0.01, 0.9, 5e-4)
    assert not sgd.decay_biases
    assert (sgd.lr_multipliers.weight, sgd.lr_multipliers.bias) == (1, 2)
    assert training.schedule == StepSchedule(kind="step", epochs=(25, 51, 79))
