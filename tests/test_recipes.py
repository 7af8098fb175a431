"""Recipes: their numbers in the spec, and the code that follows them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT, TOWERS, compile_text
from judges import mypy
from scripts import ONE_DEVICE, assert_same_run, generate, module, photos, run
from torch import nn

from specgen.compiler import render
from specgen.names import LONGEST
from specgen.runtime.checkpoint import Run
from specgen.spec.training import Training, check

BASE = {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 0.01, "weight_decay": 5e-4}}


class Line(nn.Module):
    """A weight and a bias."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.fc = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            self.fc.weight.copy_(torch.from_numpy(weight))
            self.fc.bias.copy_(torch.from_numpy(bias))


SGDS: dict[str, dict[str, Any]] = {
    "paper": {"weight_decay": 5e-4},
    "no decay": {},
    "biases": {
        "weight_decay": 5e-4,
        "decay_biases": False,
        "lr_multipliers": {"bias": 2.0},
    },
    "biases decay": {"weight_decay": 5e-4, "lr_multipliers": {"bias": 2.0}},
    "all slow": {"lr_multipliers": {"weight": 0.25, "bias": 0.5}},
    "weights slow": {"lr_multipliers": {"weight": 0.25}},
    "biases spared": {"weight_decay": 5e-4, "decay_biases": False},
}


class TestUpdate:
    @pytest.mark.parametrize("fused", [True, False])
    @pytest.mark.parametrize("name", SGDS)
    def test_it_is_the_paper_s_rule_across_drops_and_at_0(
        self, name: str, fused: bool, tmp_path: Path
    ) -> None:
        sgd = {"lr": 0.1, "momentum": 0.9} | SGDS[name]
        code = generate(tmp_path / "code", BASE | {"optimizer": sgd})
        recipe = module(code, "recipe")
        rng = np.random.default_rng(1)
        w = {"fc.weight": rng.normal(size=(3, 4)), "fc.bias": rng.normal(size=3)}
        net = Line(w["fc.weight"], w["fc.bias"])
        optimizer = recipe.optimizer(net, recipe.Recipe(), fused)
        v = {n: np.zeros_like(x) for n, x in w.items()}
        stock = Line(w["fc.weight"], w["fc.bias"])
        torch_sgd = torch.optim.SGD(
            stock.parameters(),
            lr=0.1,
            momentum=0.9,
            weight_decay=sgd.get("weight_decay", 0.0),
        )
        for lr in [0.1] * 10 + [0.01] * 10 + [0.0] * 5 + [0.05] * 5:
            g = {n: rng.normal(size=x.shape) for n, x in w.items()}
            for n in w:
                kind = n.removeprefix("fc.")
                rate = lr * sgd.get("lr_multipliers", {}).get(kind, 1.0)
                decay = sgd.get("weight_decay", 0.0)
                if kind == "bias" and not sgd.get("decay_biases", True):
                    decay = 0.0
                v[n] = 0.9 * v[n] - decay * rate * w[n] - rate * g[n]
                w[n] = w[n] + v[n]
            for module_, step in ((net, None), (stock, torch_sgd)):
                for n, p in module_.named_parameters():
                    p.grad = torch.from_numpy(g[n])
                if step:
                    step.param_groups[0]["lr"] = lr
                    step.step()
            recipe.update(optimizer, lr)
        for n, p in net.named_parameters():
            np.testing.assert_allclose(p.detach().numpy(), w[n], rtol=1e-12, atol=1e-13)
        difference = np.abs(stock.fc.weight.detach().numpy() - w["fc.weight"]).max()
        assert difference > 1e-3  # the reference can tell the two rules apart

    def test_accumulated_passes_equal_a_step_on_the_whole_batch(
        self, tmp_path: Path
    ) -> None:
        images = torch.randn(7, 3, 24, 24, dtype=torch.float64)
        labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
        results = []
        for accumulate in (1, 3):
            folder = tmp_path / str(accumulate)
            train = module(
                generate(
                    folder,
                    BASE
                    | {"accumulate": accumulate}
                    | {"label_smoothing": 0.1, "clip_grad_norm": 0.5},
                ),
                "train",
            )
            net = train.model.Tiny(("cpu", "cpu")).double().eval()
            optimizer = train.optimizer(net, train.Recipe(), fused=True)
            sums = train.backward(net, images, labels, 7, train.Recipe(), 2)
            train.update(optimizer, 0.1)
            results.append((net.state_dict(), sums))
        (one, sums), (cut, cut_sums) = results
        torch.testing.assert_close(cut, one, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(cut_sums, sums, rtol=1e-12, atol=1e-12)
        assert sums[3] == 7


class TestGradients:
    """What backward() leaves in `grad`, against formulas written out here."""

    IMAGES = torch.randn(7, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2])

    def gradients(
        self, folder: Path, recipe: dict[str, Any], dtype: torch.dtype = torch.float64
    ) -> tuple[nn.Module, list[torch.Tensor]]:
        """Return a network, and the gradients that a recipe gives it, in order."""
        train = module(generate(folder, BASE | recipe), "train")
        net: nn.Module = train.model.Tiny(("cpu", "cpu")).to(dtype).eval()
        images = self.IMAGES.to(dtype)
        train.backward(net, images, self.LABELS, 7, train.Recipe(), 2)
        return net, [w.grad for w in net.parameters() if w.grad is not None]

    def expected(self, net: nn.Module, smoothing: float) -> list[torch.Tensor]:
        logits = net(self.IMAGES.double())
        wanted = torch.eye(4, dtype=torch.float64)[self.LABELS] * (1 - smoothing)
        wanted += smoothing / 4
        log_softmax = logits - logits.exp().sum(1, keepdim=True).log()
        loss = -(wanted * log_softmax).sum() / 7
        return list(torch.autograd.grad(loss, list(net.parameters())))

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("accumulate", [1, 3])
    def test_the_loss_is_the_mean_over_the_batch(
        self, smoothing: float, accumulate: int, tmp_path: Path
    ) -> None:
        recipe = {"label_smoothing": smoothing, "accumulate": accumulate}
        net, found = self.gradients(tmp_path / "code", recipe)
        expected = self.expected(net, smoothing)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)

    @pytest.mark.parametrize("share", [0.25, 4.0])
    def test_the_total_norm_is_bounded(self, share: float, tmp_path: Path) -> None:
        net, free = self.gradients(tmp_path / "free", {})
        norm = sum(float((g**2).sum()) for g in self.expected(net, 0.0)) ** 0.5
        bound = {"clip_grad_norm": norm * share}
        _, clipped = self.gradients(tmp_path / "clipped", bound)
        scaled = [min(1.0, share) * g for g in free]
        torch.testing.assert_close(clipped, scaled, rtol=1e-5, atol=0)  # it adds 1e-6

    def test_bfloat16_is_for_the_forward_pass_alone(self, tmp_path: Path) -> None:
        code = generate(tmp_path / "code", BASE | {"precision": "bfloat16"})
        train = module(code, "train")
        net = train.model.Tiny(("cpu", "cpu")).eval()
        types = []
        net.fc3.register_forward_hook(lambda *call: types.append(call[2].dtype))
        train.backward(net, self.IMAGES, self.LABELS, 7, train.Recipe(), 2)
        assert types == [torch.bfloat16]
        found = [w.grad for w in net.parameters()]
        assert {g.dtype for g in found} == {torch.float32}
        found = [g.clone() for g in found]
        exact = self.expected(net.double(), 0.0)
        for g, its in zip(found, exact, strict=True):
            error = float((g - its).norm() / its.norm())
            assert 1e-6 < error < 0.2  # 8 binary digits: other maxima are pooled


class TestRate:
    def rates(self, folder: Path, training: dict[str, Any]) -> list[float]:
        """Return the rate of every step of 4 epochs; validation does not improve."""
        train = module(generate(folder, BASE | {"epochs": 4} | training), "train")
        recipe = train.Recipe()
        found = []
        run: Any = Run({}, {}, [], {}, 0)
        for run.step in range(20):
            run.epoch = run.step // 5
            run.history = [{"split": "val", "top1": 0.5}] * run.epoch
            count = train.learning_rate.__code__.co_argcount
            found.append(train.learning_rate(*(recipe, run, 5)[:count]))
        return found

    def test_step(self, tmp_path: Path) -> None:
        schedule = {"kind": "step", "epochs": [1, 3], "factor": 0.5}
        rates = self.rates(tmp_path / "code", {"schedule": schedule})
        assert rates == [0.01] * 5 + [0.005] * 10 + [0.0025] * 5

    def test_plateau(self, tmp_path: Path) -> None:
        schedule = {"kind": "plateau", "patience": 1, "drops": 1, "factor": 0.5}
        rates = self.rates(tmp_path / "code", {"schedule": schedule})
        # The second epoch brings no new best.
        assert rates == [0.01] * 10 + [0.005] * 10

    def test_plateau_waits_for_a_new_best(self, tmp_path: Path) -> None:
        schedule = {"kind": "plateau", "patience": 2, "drops": 2, "factor": 0.5}
        code = generate(tmp_path / "code", BASE | {"schedule": schedule})
        train = module(code, "train")
        # The second 0.2 in a row after the first is a stall, and 0.3 ends it.
        accuracies = [0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.25, 0.2, 0.2, 0.2]
        run: Any = Run({}, {}, [], {}, 0)
        rates = []
        for run.epoch in range(len(accuracies) + 1):
            run.history = [
                {"split": split, "top1": top1 if split == "val" else 0.5}
                for top1 in accuracies[: run.epoch]
                for split in ("train", "val")
            ]
            rates.append(train.learning_rate(train.Recipe(), run))
        assert rates == [0.01] * 4 + [0.005] * 3 + [0.0025] * 4

    def test_cosine(self, tmp_path: Path) -> None:
        schedule = {"kind": "cosine", "final_lr": 0.002}
        rates = self.rates(tmp_path / "code", {"schedule": schedule})
        assert rates[0] == 0.01
        assert rates[10] == pytest.approx(0.006)
        assert 0.002 < rates[-1] < 0.0021
        assert rates == sorted(rates, reverse=True)

    def test_warm_up_and_cosine_multiply(self, tmp_path: Path) -> None:
        cosine = {"schedule": {"kind": "cosine", "final_lr": 0.002}}
        alone = self.rates(tmp_path / "alone", cosine)
        rates = self.rates(tmp_path / "both", cosine | {"warmup_epochs": 0.4})
        assert rates == pytest.approx([alone[0] / 2, *alone[1:]])

    def test_warm_up_and_drops_multiply(self, tmp_path: Path) -> None:
        schedule = {"kind": "step", "epochs": [1], "factor": 0.5}
        training = {"schedule": schedule, "warmup_epochs": 1.6}
        rates = self.rates(tmp_path / "code", training)
        rise = [0.00125, 0.0025, 0.00375, 0.005, 0.00625]
        rise += [0.00375, 0.004375]  # and half of it
        assert rates == pytest.approx(rise + [0.005] * 13)

    def test_warm_up(self, tmp_path: Path) -> None:
        rates = self.rates(tmp_path / "code", {"warmup_epochs": 0.8})
        assert rates == pytest.approx([0.0025, 0.005, 0.0075] + [0.01] * 17)


RECIPES: dict[str, dict[str, Any]] = {
    "constant": {},
    "step": {"schedule": {"kind": "step", "epochs": [1]}},
    "plateau": {"schedule": {"kind": "plateau", "patience": 2, "drops": 3}},
    "cosine": {"schedule": {"kind": "cosine"}},
    "all": {
        "schedule": {"kind": "cosine", "final_lr": 1e-5},
        "accumulate": 2,
        "warmup_epochs": 0.5,
        "label_smoothing": 0.1,
        "clip_grad_norm": 1.0,
        "precision": "bfloat16",
        "optimizer": SGDS["biases"],
    },
}
FILES = ("recipe.py", "train.py")
WORDS = (
    *("cos(", "drop_", "patience", "warmup", "smoothing", "clip", "autocast"),
    *("bias", "weight_lr"),
)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("constant", set()),
        ("step", {"drop_"}),
        ("plateau", {"drop_", "patience"}),
        ("cosine", {"cos("}),
        ("all", set(WORDS) - {"drop_", "patience", "weight_lr"}),
    ],
)
def test_a_file_has_only_what_its_recipe_uses(
    recipe: str, words: set[str], tmp_path: Path
) -> None:
    folder = generate(tmp_path / "code", BASE | RECIPES[recipe])
    text = "".join(path.read_text() for path in map(folder.joinpath, FILES))
    assert {word for word in WORDS if word in text} == words


def test_comments_of_the_spec_are_above_its_figures() -> None:
    recipe = """
training:
  # Section 5.
  optimizer: {lr: 0.02}
  # Three drops.
  schedule: {kind: step, epochs: [1, 2, 3]}
  # As many as fit.
  batch_size: 64
data:
  # A thumbnail.
  size: 14
  # Left is right.
  flip: true
  # Section 4.1.
  color_noise: 0.1
  # A gray level or so.
  std: 64
"""
    files = render(compile_text(TOWERS + recipe))
    text = files["recipe.py"].decode()
    assert "    # Section 5.\n    lr: float = 0.02\n" in text
    assert "    # Three drops.\n    drop_epochs: tuple[int, ...] = (1, 2, 3)\n" in text
    assert "    # As many as fit.\n    batch_size: int = 64\n" in text
    text = files["data.py"].decode()
    assert "\n# A thumbnail.\nSIZE = 14 " in text
    assert '    # Left is right.\n    "flip": True,\n' in text
    assert "\n# Section 4.1.\nCOLOR_NOISE = 0.1 " in text
    assert "\n# A gray level or so.\nSTD = 64.0 " in text


@pytest.mark.parametrize("recipe", ["all", "step"])
def test_recipes_train_on_one_device_and_resume(recipe: str, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    training = BASE | RECIPES[recipe]
    code = generate(tmp_path / "code", training, placement=ONE_DEVICE)
    whole = (code / "train.py", "--data", data, "--output", tmp_path / "whole")
    assert run(*whole).code == 0
    train = (code / "train.py", "--data", data, "--output", tmp_path / "run")
    assert run(*train, "--steps", 3).code == 0
    ended = run(*train, "--resume")
    assert ended.code == 0, ended.err
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_the_layout_is_final_and_the_types_are_strict(tmp_path: Path) -> None:
    recipes = RECIPES | {name: {"optimizer": sgd} for name, sgd in SGDS.items()}
    folders = [
        generate(tmp_path / name, BASE | training) for name, training in recipes.items()
    ]
    long = {"stem": "n" * LONGEST, "name": "N" * LONGEST}
    folders.append(generate(tmp_path / "long", BASE | RECIPES["all"], **long))
    own = sorted(path.stem for path in folders[0].glob("*.py"))
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    first_party = f"lint.isort.known-first-party = {own}"
    for command in (["format", "--check"], ["check", "--config", first_party]):
        done = subprocess.run(
            [*ruff, *command, *settings, *folders], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
    for folder in (folders[0], folders[-1]):  # the least and the most
        mypy("train.py", "evaluate.py", cwd=folder, beside=folder.parent)


@pytest.mark.parametrize(
    ("training", "code", "place"),
    [
        (
            {"optimizer": {"decay_biases": False}},
            "no-effect",
            ("optimizer", "decay_biases"),
        ),
        ({"accumulate": 9}, "training-mismatch", ("accumulate",)),
        ({"warmup_epochs": 2}, "training-mismatch", ("warmup_epochs",)),
        (
            {"schedule": {"kind": "step", "epochs": [1, 1]}},
            "training-mismatch",
            ("schedule", "epochs", 1),
        ),
        (
            {"schedule": {"kind": "step", "epochs": [2]}},
            "no-effect",
            ("schedule", "epochs", 0),
        ),
        (
            {"schedule": {"kind": "cosine", "final_lr": 0.01}},
            "training-mismatch",
            ("schedule", "final_lr"),
        ),
    ],
)
def test_numbers_that_nobody_can_intend_are_errors(
    training: dict[str, Any], code: str, place: tuple[str | int, ...]
) -> None:
    (found,) = check(Training.model_validate({"epochs": 2, "batch_size": 8} | training))
    assert (found.code, found.path) == (code, ("training", *place))


@pytest.mark.parametrize("recipe", RECIPES)
def test_sound_recipes_have_no_errors(recipe: str) -> None:
    assert list(check(Training.model_validate(BASE | RECIPES[recipe]))) == []
