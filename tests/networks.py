"""Networks to test on: those of specs/, and small chains that Hypothesis draws."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

from specgen.backends import torch as torch_backend
from specgen.compiler import Program, compile_spec
from specgen.ops import AnyOp
from specgen.ops.base import Op, Shape
from specgen.source import parse
from specgen.spec import Spec

ROOT = Path(__file__).parent.parent


def compile_text(text: bytes, stem: str) -> Program:
    """Compile the YAML (or JSON) text of a spec."""
    source = parse(text, f"{stem}.yaml")
    return compile_spec(Spec.model_validate(source.data), source, stem)


def compile_data(data: dict[str, Any]) -> Program:
    """Compile the plain data of a spec."""
    return compile_text(json.dumps(data).encode(), "drawn")


def alexnet() -> Program:
    """Compile specs/alexnet.yaml."""
    return compile_text((ROOT / "specs/alexnet.yaml").read_bytes(), "alexnet")


def import_file(path: Path) -> Any:
    """Import a generated file under its own name, beside what is already imported."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torch_model(program: Program, folder: Path) -> Any:
    """Instantiate the generated class on the CPU, ready for inference."""
    files = torch_backend.render(
        program.spec, program.source, program.stem, program.placed
    )
    (folder / "model.py").write_text(files["model.py"])
    network = getattr(import_file(folder / "model.py"), program.spec.name)
    return network(devices=["cpu"] * len(program.placed.devices)).eval()


# How to draw the fields of each op of the language, for an input of a shape.
Fields = Callable[[st.DrawFn, Shape], dict[str, Any]]


def _none(draw: st.DrawFn, x: Shape) -> dict[str, Any]:
    return {}


def _groups(draw: st.DrawFn, x: Shape) -> int:
    return draw(st.sampled_from([n for n in range(1, x[0] + 1) if x[0] % n == 0]))


def _conv2d(draw: st.DrawFn, x: Shape) -> dict[str, Any]:
    groups = _groups(draw, x)
    pad = {side: draw(st.integers(0, 3)) for side in ("top", "bottom", "left", "right")}
    height, width = x[1] + pad["top"] + pad["bottom"], x[2] + pad["left"] + pad["right"]
    dilation = [draw(st.integers(1, 2)), draw(st.integers(1, 2))]
    return {
        "out_channels": groups * draw(st.integers(1, 4)),
        "kernel_size": [
            draw(st.integers(1, min(4, (length - 1) // step + 1)))
            for length, step in zip((height, width), dilation, strict=True)
        ],
        "stride": [draw(st.integers(1, 3)), draw(st.integers(1, 3))],
        "padding": pad,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }


def _pool2d(draw: st.DrawFn, x: Shape) -> dict[str, Any]:
    padding = [draw(st.integers(0, 2)), draw(st.integers(0, 2))]
    kernel_size = [
        draw(st.integers(max(1, 2 * pad), max(1, 2 * pad, min(4, length))))
        for pad, length in zip(padding, x[1:], strict=True)
    ]
    return {
        "kernel_size": kernel_size,
        "stride": [draw(st.integers(1, 5)), draw(st.integers(1, 5))],
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
    }


def _avg_pool2d(draw: st.DrawFn, x: Shape) -> dict[str, Any]:
    fields = _pool2d(draw, x)
    count = not any(fields["padding"]) or draw(st.booleans())
    return fields | {"count_include_pad": count}


def _local_response_norm(draw: st.DrawFn, x: Shape) -> dict[str, Any]:
    return {
        "size": draw(st.sampled_from([1, 3, 5, 7])),
        "alpha": draw(st.sampled_from([1e-4, 0.3, 2.0])),
        "beta": draw(st.sampled_from([0.5, 0.75, 1.25])),
        "k": draw(st.sampled_from([0.5, 1.0, 2.0])),
        "groups": _groups(draw, x),
    }


def _dropout(draw: st.DrawFn, x: Shape) -> dict[str, Any]:
    return {"p": draw(st.sampled_from([0.0, 0.25, 0.5]))}


def _linear(draw: st.DrawFn, x: Shape) -> dict[str, Any]:
    return {"out_features": draw(st.integers(1, 8)), "bias": draw(st.booleans())}


ON_MAPS: dict[str, Fields] = {
    "conv2d": _conv2d,
    "max_pool2d": _pool2d,
    "avg_pool2d": _avg_pool2d,
    "local_response_norm": _local_response_norm,
    "relu": _none,
    "dropout": _dropout,
}
ON_FEATURES: dict[str, Fields] = {"linear": _linear, "relu": _none, "dropout": _dropout}
DRAWN = {*ON_MAPS, *ON_FEATURES, "flatten", "softmax"}
_op: TypeAdapter[Op] = TypeAdapter(AnyOp)


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a spec: a chain of layers on small maps, which end as features."""
    x: Shape = (draw(st.integers(1, 6)), draw(st.integers(3, 12)), 7)
    sizes = dict(zip(("channels", "height", "width"), x, strict=True))
    layers: dict[str, Any] = {}

    def add(op: str, fields: Fields) -> Shape:
        layers[f"layer{len(layers)}"] = layer = {"op": op} | fields(draw, x)
        return _op.validate_python(layer).output(x)

    for op in draw(st.lists(st.sampled_from(sorted(ON_MAPS)), max_size=4)):
        x = add(op, ON_MAPS[op])
    x = add("flatten", _none)
    for op in draw(st.lists(st.sampled_from(sorted(ON_FEATURES)), max_size=3)):
        x = add(op, ON_FEATURES[op])
    if draw(st.booleans()):
        add("softmax", _none)
    init = {"weight": {"normal": {"std": 0.5}}, "bias": 0.25}
    network = {"specgen": 1, "name": "Drawn", "input": sizes, "layers": layers}
    return network | {"init": init}
