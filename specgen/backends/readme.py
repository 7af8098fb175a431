"""The README of a generated folder: what the network is, as git hosts show it.

A spec's text is escaped, and its names are in code spans. Only a few lines depend on
all layers, so that changing one layer makes a small diff.
"""

from __future__ import annotations

from collections.abc import Iterator

from specgen.backends.layout import enumeration
from specgen.backends.recipe import recipe, said
from specgen.backends.report import from_cells, traffic_rows
from specgen.graph import INPUT
from specgen.markdown import code, escaped, table
from specgen.ops.base import Shape
from specgen.passes.memory import ON_TOP
from specgen.plan import Plan, images, precision, window_cells
from specgen.schema import readable
from specgen.source import Source
from specgen.spec import Spec
from specgen.tables import dimensions, ranges

PICTURE = "architecture.svg"
RUN = """\
Run these in this folder, which needs `runtime/` next to it. `DIR` has images in
`train/<class>/` and `val/<class>/`.

```console
pip install -r ../runtime/requirements.txt
python train.py --data DIR
python evaluate.py runs/{stem}/checkpoint.safetensors --data DIR
python predict.py IMAGE... --model runs/{stem}/checkpoint.safetensors
python export.py runs/{stem}/checkpoint.safetensors
```

Each explains more with `--help`: how to resume, which devices to use. From Python:

```python
from model import {name}

net = {name}(devices={bound})
```"""


def render(spec: Spec, source: Source, stem: str, plan: Plan) -> str:
    """Return the text of README.md; `stem` names the folder of a training run."""
    devices = [device.name for device in plan.devices]
    where = enumeration(devices) if len(devices) < 5 else f"{len(devices)} devices"
    words = [escaped(text) for text in (spec.summary, spec.reference) if text.strip()]
    notes = [f"- {code(name)}: {escaped(words)}" for name, words in said(spec, source)]
    settings = (
        (code(found.path), escaped(found.value), escaped(found.why))
        for found in recipe(spec, source)
    )
    parts = [
        f"# {plan.name}",
        *words,
        f"![{plan.name} on {where}]({PICTURE})",
        "## Layers",
        _layers(plan),
        *(["\n".join(notes)] if notes else []),
        "## Memory and traffic",
        _memory(plan),
        _images(plan),
        *_traffic(plan),
        "## Recipe",
        table(("setting", "value", "why"), "<><", settings),
        "## Commands",
        _run(plan, stem),
    ]
    return "\n\n".join(parts) + "\n"


def _layers(plan: Plan) -> str:
    windows = ("kernel", "stride", "padding", "groups")
    more, sources = from_cells(plan.layers)
    head = ("layer", "op", *windows, "output", "parameters", "MACs", *more)
    none = ["" for _ in more]
    rows: list[tuple[str, ...]]
    rows = [(code(INPUT), *[""] * 5, _shape(plan.input_shape), "", "", *none)]
    for layer, source in zip(plan.layers, sources, strict=True):
        rows.append(
            (
                code(layer.name),
                code(layer.op),
                *window_cells(layer),
                _shape(layer.output_shape),
                *(f"{n:,}" if n else "" for n in (layer.parameters, layer.macs)),
                *(code(names) if names else "" for names in source),
            )
        )
    totals = f"**{plan.parameters:,}**", f"**{plan.macs:,}**"
    rows.append(("**total**", *[""] * 6, *totals, *none))
    return table(head, "<<>>>>>>>" + "<" * len(more), rows)


def _shape(shape: Shape) -> str:
    """A shape that stays on one line in a narrow column."""
    return dimensions(shape).replace(" ", "")


def _memory(plan: Plan) -> str:
    head = ("device", "layers", "parameters", "inference", "training")
    limited = ("of budget", "", "most images")
    order = [layer.name for layer in plan.layers]
    rows = []
    for device in plan.devices:
        held = device.memory
        on = [layer.name for layer in plan.layers if device.name in layer.devices]
        row = [code(device.name), ", ".join(map(code, ranges(on, order)))]
        row.append(f"{device.parameters:,}")
        row += [readable(held.inference), readable(held.training)]
        if held.budget:
            row += [readable(held.budget), f"{held.training / held.budget:.0%}"]
            row.append(f"{held.most_images:,}")
        rows.append(row)
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    return table((*head, *limited)[:width], "<<>>>>>>"[:width], rows)


def _images(plan: Plan) -> str:
    kept = "all activations"
    if plan.training.half:
        kept += ", these and a copy of the weights in bfloat16"
    buffers = any(device.memory.buffers for device in plan.devices)
    held = "the weights and buffers" if buffers else "the weights"
    most = ""
    if plan.most_images is not None:
        most = f" The most images are those that fit the budget; {ON_TOP}."
    return (
        f"For {images(plan)} at once, in float32. Inference takes {held} and the"
        f" largest activations, training {held}, gradients, momentum and {kept}.{most}"
    )


def _traffic(plan: Plan) -> Iterator[str]:
    if not plan.traffic:
        return
    head, *rows = filter(None, traffic_rows(plan, details=True))
    cells = []
    for before, source, target, *counts in rows:
        names = [code(name) if name else "" for name in (before, source, target)]
        cells.append((*names, *counts))
    cells[-1] = ("**total**", "", "", *(f"**{n}**" for n in cells[-1][3:]))
    first = code(plan.devices[0].name)
    yield (
        f"What is copied from device to device before a layer runs, {precision(plan)},"
        f" if the images are on {first} at first. Per image is the forward pass; per"
        " step is forward and backward with all images, which have no gradient:"
    )
    yield table(head, "<<<>>", cells)


def _run(plan: Plan, stem: str) -> str:
    count = len(plan.devices)
    bound = ", ".join(f'"cuda:{index}"' for index in range(count))
    return RUN.format(
        stem=stem,
        name=plan.name,
        bound=f"({bound},)" if count == 1 else f"({bound})",
    )
