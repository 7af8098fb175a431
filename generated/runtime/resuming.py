"""How a run resumes from its checkpoint, if that is from this network and recipe."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from . import checkpoint, console, parallel
from .checkpoint import Run
from .console import shown
from .errors import CheckpointError

FLAGS = ("epochs", "batch_size", "lr", "seed")  # that change the recipe


def resume(
    path: Path,
    args: argparse.Namespace,
    recipe: Any,
    settings: dict[str, Any],
    net: nn.Module,
    shapes: Mapping[str, Sequence[int]],
    *,
    length_matters: bool,
) -> tuple[dict[str, Tensor], Run]:
    """Load a checkpoint; return its tensors, and the state of the run.

    The run keeps what FLAGS can set, and says where `recipe` has something else; a flag
    can still change the learning rate and the number of epochs. `length_matters` if the
    latter changes earlier steps, as it does with a cosine.

    Raises CheckpointError if it is from data that was prepared differently, from a
    network other than `net` with statistics of these `shapes`, or if the recipe differs
    in anything else.
    """
    tensors, run = parallel.rank_zero_only(checkpoint.load)(path)
    checkpoint.refuse_differences(
        f"{shown(path)} is from other data", run.data, settings
    )
    there = run.recipe
    kept = {n: there[n] for n in FLAGS if console.is_sound(n, there.get(n))}
    here = asdict(replace(recipe, **(kept | args.given)))
    free = ["lr"] if length_matters else ["epochs", "lr"]
    there = there | {name: here[name] for name in free if name in kept}
    what = f"{shown(path)} is from another recipe"
    help = keep_recipe(checkpoint.differing(there, here), args.given)
    refuse_all(
        partial(checkpoint.check_network, net, tensors, shapes, path),
        partial(checkpoint.refuse_differences, what, there, here, help),
    )
    console.say(f"resuming after step {run.step} of {shown(path)}")
    for name in FLAGS:
        before, after, own = run.recipe[name], here[name], getattr(recipe, name)
        flag = f"--{name.replace('_', '-')} {own} changes it"
        how = flag if name in free else "only a new run can change it"
        if after != before:
            console.say(f"{name} changes from {before} to {after}")
        elif after != own:
            console.say(f"{name} stays {after}, recipe.py has {own}: {how}")
    run.recipe = here
    if run.deterministic and not args.deterministic:
        print("this run has been deterministic; add --deterministic to keep it so")
    run.deterministic = run.deterministic and args.deterministic
    return tensors, run


def refuse_all(*checks: Callable[[], None]) -> None:
    """Raise one CheckpointError with all problems, and what helps with the first."""
    errors = []
    for check in checks:
        try:
            check()
        except CheckpointError as error:
            errors.append(error)
    if errors:
        problems = [problem for error in errors for problem in error.args]
        raise CheckpointError(*problems, help=errors[0].help)


def keep_recipe(changed: list[str], given: Mapping[str, Any]) -> str:
    """Return how to resume a run of whose recipe these values were changed.

    Those that were `given` were changed by flags.
    """
    flags = [f"--{name.replace('_', '-')}" for name in changed if name in given]
    parts = [f"without {' and '.join(flags)}"] if flags else []
    if len(flags) < len(changed):
        parts.append("with the recipe.py that it began with")
    reason = ""
    if "--epochs" in flags:
        reason = "a cosine schedule depends on the number of epochs from the start: "
    resume = f"resume {' and '.join(parts)}"
    return f"{reason}{resume}, or start a new run with another --output"
