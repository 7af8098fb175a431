"""specgen from Python: `specgen.load`, and what it returns.

    import specgen

    spec = specgen.load("specs/alexnet.yaml", set={"training.epochs": 30})
    print(spec.plan().parameters)

Nothing here needs torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specgen import build
from specgen.compiler import Program
from specgen.diagnostics import SpecError
from specgen.diff import Difference, compare
from specgen.diff.revision import compile_at
from specgen.passes.memory import MOST_IMAGES
from specgen.plan import Plan, make_plan
from specgen.writer import problem, write

# A value of a spec as a Python object.
Value = None | bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"]


def load(
    path: str | os.PathLike[str],
    *,
    set: Mapping[str, Value] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> CompiledSpec:
    """Read and compile a spec.

    Args:
        path: a file, or `REV:path` of git, as in `git show`.
        set: values by their paths, such as `{"layers.conv1.kernel_size": 7}`: the same
            as `--set` on the command line. None removes a key.
        root: the folder that contains the spec and its bases; by default the
            nearest parent with `.git` or `pyproject.toml`, or that of the spec.

    Raises:
        SpecError: the spec is wrong or cannot be read; `diagnostics` lists all errors.
        TypeError: a value that no spec can have.
    """
    options = tuple(f"{key}={_yaml(value)}" for key, value in (set or {}).items())
    text = os.fspath(path)
    program = compile_at(text, options, Path(root) if root else None)
    return CompiledSpec(text, options, program)


@dataclass(frozen=True, slots=True, repr=False)
class CompiledSpec:
    """A compiled spec, from `load`. It never changes, even if its file does.

    Attributes:
        path: what was read, as it was given.
        options: what was changed, as `--set` options.
        program: the compiled network, for code that works on specgen itself. It may
            change in any version.
    """

    path: str
    options: tuple[str, ...]
    program: Program

    @property
    def name(self) -> str:
        """The network's class in the generated code."""
        return self.program.spec.name

    def plan(self, *, batch_size: int | None = None) -> Plan:
        """Return shapes, parameters, work, memory and traffic, layer by layer.

        Args:
            batch_size: images at once that memory and traffic are planned for; by
                default, those of the recipe.

        Raises:
            ValueError: a batch size that no spec could have.
        """
        if batch_size is not None and not 1 <= batch_size <= MOST_IMAGES:
            raise ValueError(
                f"batch_size must be a whole number from 1 to {MOST_IMAGES}"
            )
        return make_plan(self.program.spec, self.program.placed, batch_size)

    def build(
        self,
        folder: str | os.PathLike[str] = "generated",
        *,
        onnx_devices: bool = False,
        force: bool = False,
    ) -> Path:
        """Write the generated files and return their folder.

        It is in `folder` and named after the spec, next to the run-time modules that it
        shares with others, as with `--output`. Files that are up to date are not
        touched.

        Args:
            folder: where it goes.
            onnx_devices: write the placement into `model.onnx`.
            force: overwrite files that were edited by hand, and keep copies.

        Raises:
            SpecError: some files were edited by hand, and only the others are written;
                or nothing could be written.
        """
        root, program = Path(folder), self.program
        spec = list(program.source.files)[-1]  # bases come first
        folders = build.outputs(
            {spec: program}, self.options, onnx_devices=onnx_devices
        )
        done = write(root, folders, force=force)
        if done.refused:
            raise SpecError(problem(root, change) for change in done.refused)
        return root / program.stem

    def diff(self, other: CompiledSpec) -> Difference:
        """Return what changes from this spec to another."""
        return compare(self.program, other.program)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} of {self.path!r}>"

    def _repr_html_(self) -> str:
        """Return the plan as a table for a notebook."""
        return self.plan()._repr_html_()


def _yaml(value: Value) -> str:
    """Return a value as JSON, which is YAML on one line."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise TypeError(f"not a valid value in a spec: {value!r}") from error
