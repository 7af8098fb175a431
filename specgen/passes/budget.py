"""Checks the planned memory of each device against its budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from specgen.diagnostics import Diagnostic, Problems
from specgen.graph import PlacedGraph
from specgen.passes import memory
from specgen.passes.memory import ON_TOP, Memory
from specgen.schema import readable, some
from specgen.spec import Placement
from specgen.spec.training import Training

MOST = 4  # layers that an error names
ROOM = 70  # for these, so that they have a line of a terminal


def check_budget(
    placed: PlacedGraph,
    placement: Placement,
    training: Training,
    problems: Problems,
    images: int | None = None,
) -> None:
    """Report every device on which training takes more memory than its budget.

    It has `images` in memory at once; by default, those of the recipe.
    """
    devices = placement.devices
    budgets = {name: d.memory for name, d in devices.items() if d.memory is not None}
    if budgets:
        plans = memory.plan(placed, half=training.half)
        problems.add(*_over(plans, budgets, training, images))


def _over(
    plans: Mapping[str, Memory],
    budgets: Mapping[str, int],
    training: Training,
    asked: int | None,
) -> Iterator[Diagnostic]:
    images = asked or training.images
    fitting = {name: plans[name].fitting(budget) for name, budget in budgets.items()}
    least = min(filter(None, fitting.values()), default=0)  # of anything that can fit
    for name, budget in budgets.items():
        plan = plans[name]
        if plan.training(images) > budget:
            yield Diagnostic(
                "over-budget",
                f"training on {some(images, 'image')} at once takes"
                f" {readable(plan.training(images))} of {name}, which has"
                f" {readable(budget)}",
                ("placement", "devices", name, "memory"),
                notes=(_most(plan, images), *([ON_TOP] if least else [])),
                help=_help(fitting[name] and least, None if asked else training),
            )


def _most(plan: Memory, images: int) -> str:
    """The layers that take the most: one, or as many as fit a line."""
    layers = plan.by_layer(images).most_common(MOST)
    words = [f"{name} {readable(n)}" for name, n in layers]
    while words[1:] and len(", ".join(words)) > ROOM:
        words.pop()
    return f"largest layer{'s' if words[1:] else ''}: {', '.join(words)}"


def _help(fitting: int, recipe: Training | None) -> str:
    """The largest batch that fits all devices, if any fits this one.

    With a recipe, how it can be changed.
    """
    if not fitting:
        return "not even one image fits: place fewer layers there"
    if recipe is None:
        return f"at most {some(fitting, 'image')} at once can fit"
    most = fitting * recipe.accumulate
    passes = -(-recipe.batch_size // fitting)
    return (
        f"training.batch_size can be at most {most},"
        f" or training.accumulate at least {passes}"
    )
