"""A spec to start from: made for a data set, copied, or based on another."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from specgen.build import SUFFIXES
from specgen.compiler import Program, compile_file
from specgen.diagnostics import Diagnostic, Problems, SpecError
from specgen.diagnostics import Path as Key
from specgen.frontend.resolved import resolved
from specgen.names import as_class, class_problem
from specgen.yaml12.scalars import NULL

LARGEST = 224  # of the sizes that are chosen automatically: larger ones take long
SAMPLE = 200  # images whose size is looked at
SMALLEST = 8  # maps are halved as long as they have this many rows
LAYOUT = "images belong in DIR/train/<class>/ and DIR/val/<class>/; give DIR"
SCHEMA = "# yaml-language-server:"  # which a copy does not have next to it
CHANNELS = (32, 64, 128, 256)
GRAY = ("1", "L", "LA", "I", "I;16", "I;16B")  # Pillow's modes of gray images


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new spec should be for; None keeps the base's value, or a default.

    `size` is the side of the square that the network sees, in pixels, and `image` that
    of the images that such squares are cut from. `channels` is for a blank spec.
    """

    classes: int | None = None
    size: int | None = None
    image: int | None = None
    channels: int = 3


def shipped() -> dict[str, Path]:
    """Return the specs that come with specgen, by name."""
    package = Path(__file__).resolve().parent
    installed = package / "specs"
    folder = installed if installed.is_dir() else package.parent / "specs"
    own, others = sorted(folder.glob("*.yaml")), sorted(folder.glob("zoo/*.yaml"))
    return {path.stem: path for path in (*own, *others)}


def look_at(folder: Path, wanted: Wanted, *, sizes: bool = True) -> Wanted:
    """Complete what is wanted from the images in `folder/train/<class>`.

    Without `sizes`, only the classes matter.

    Raises:
        SpecError: there are none, or their size is needed and Pillow is not installed.
    """
    train = folder / "train"
    try:
        names = sorted(n for n in os.listdir(train) if not n.startswith("."))
    except FileNotFoundError:
        raise _error("no-images", f"there is no folder {train}", LAYOUT) from None
    except OSError as error:
        message = f"cannot read {train}: {error.strerror}"
        raise _error("no-images", message, LAYOUT) from None
    classes = [train / name for name in names if (train / name).is_dir()]
    if len(classes) < 2:
        message = f"{train} needs at least two folders of images, one per class"
        raise _error("no-images", message, LAYOUT)
    size, image, sample = wanted.size, None, []
    if sizes:
        sample = _sample(classes, required=size is None)
    if size is None and sizes:
        image = int(median(side for side, _ in sample))
        # A bit smaller, so that crops differ; a multiple of 8 halves three times.
        size = min(max(SMALLEST, image * 7 // 8 // 8 * 8), LARGEST)
        image = min(max(image, size), math.ceil(size * 8 / 7))
    gray = bool(sample) and all(is_gray for _, is_gray in sample)
    channels = 1 if gray else wanted.channels
    return Wanted(wanted.classes or len(classes), size, image, channels)


def blank(stem: str, wanted: Wanted) -> str:
    """Return a commented spec of a small convolutional network."""
    size = wanted.size or 96
    image = wanted.image or math.ceil(size * 8 / 7)
    layers = "\n".join(f"  {line}" for line in _layers(size, wanted.classes or 10))
    return f"""\
specgen: 1
name: {_class_name(stem)}
summary: A small convolutional network

# The network's input: a square of pixels, gray (channels: 1) or RGB (channels: 3).
# Images of the other kind are converted.
input: {{channels: {wanted.channels}, height: {size}, width: {size}}}

# Each layer reads the one before it.
layers:
{layers}

data:
  # Side of an image in pixels; each epoch takes new crops of {size} x {size} from it.
  size: {image}
  # Half of the images are mirrored. Turn it off for digits or text.
  flip: true
  # Pixels, from 0 to 255, are divided by this: values around 1 learn best.
  std: 64

training:
  epochs: 25
  batch_size: 32
  optimizer:
    # If the loss grows or is NaN, first try a smaller one.
    lr: 0.01
    momentum: 0.9
    weight_decay: 5e-4
  warmup_epochs: 1
  schedule: {{kind: cosine}}
"""


def copied(spec: Path, wanted: Wanted) -> str:
    """Return the text of a complete spec, with its comments."""
    program = compile_file(spec)
    text = spec.read_text(encoding="utf-8")
    if len(program.source.files) > 1:  # it extends another
        text = resolved(program.spec, program.source)
        program = compile_file(spec, text=text.encode())
    lines = text.splitlines()
    changes = {key: str(value) for key, value in _changes(program, wanted)}
    for key in sorted(changes, key=lambda k: program.source.values[k].column)[::-1]:
        span = program.source.values[key]
        line, start = lines[span.line - 1], span.column - 1
        end = start + span.length
        lines[span.line - 1] = f"{line[:start]}{changes[key]}{line[end:]}"
    return "".join(f"{line}\n" for line in lines if not line.startswith(SCHEMA))


def overlay(base: Path, name: str, wanted: Wanted, root: Path | None = None) -> str:
    """Return a spec that changes another in `root`; `name` is the path to it."""
    program = compile_file(base, root=root)
    sections: dict[str, list[str]] = {}
    for (section, *inner), value in _changes(program, wanted):
        *keys, last = (f'"{key}"' if isinstance(key, int) else key for key in inner)
        text = f"{last}: {value}"
        for key in reversed(keys):
            text = f"{key}: {{{text}}}"
        sections.setdefault(str(section), []).append(f"  {text}")
    changed = "".join(
        f"\n{section}:\n" + "".join(f"{line}\n" for line in lines)
        for section, lines in sections.items()
    )
    first = next(iter(program.source.data["layers"]))
    return f"""\
# Only the differences from the base; everything else stays the same.
extends: {_quoted(name)}
summary: A variant of {base.name}
{changed}
# Refer to layers by name; null removes one, and after: places a new one:
# layers:
#   {first}: null
#   new1: {{op: relu, after: {first}}}
"""


def _changes(program: Program, wanted: Wanted) -> Iterator[tuple[Key, int]]:
    """Yield the changes to a spec, by path."""
    spec = program.spec
    last = [node for node in program.graph.nodes if node.parameters][-1]
    if wanted.classes is not None and wanted.classes != last.shape[0]:
        fields = type(last.op).model_fields
        size = "out_features" if "out_features" in fields else "out_channels"
        path = ("layers", last.name, size)
        yield Problems(program.places).place(path), wanted.classes
    if wanted.size is not None:
        for side in ("height", "width"):
            if getattr(spec.input, side) != wanted.size:
                yield ("input", side), wanted.size
        if spec.data.size:
            yield ("data", "size"), wanted.image or math.ceil(wanted.size * 8 / 7)


def _layers(size: int, classes: int) -> Iterator[str]:
    index = 0
    while size >= SMALLEST or index == 0:
        channels = CHANNELS[min(index, len(CHANNELS) - 1)]
        index += 1
        fields = f"out_channels: {channels}, kernel_size: 3, padding: 1"
        yield f"conv{index}: {{op: conv2d, {fields}}}"
        yield f"relu{index}: {{op: relu}}"
        if size >= SMALLEST:
            yield f"pool{index}: {{op: max_pool2d, kernel_size: 2}}"
            size //= 2
        else:
            break
    yield "flat: {op: flatten}"
    yield f"fc{index + 1}: {{op: linear, out_features: 256}}"
    yield f"relu{index + 1}: {{op: relu}}"
    yield f"drop{index + 1}: {{op: dropout, p: 0.5}}"
    yield "# One score per class: the folders in DIR/train, by name."
    yield f"fc{index + 2}: {{op: linear, out_features: {classes}}}"
    yield "prob: {op: softmax}"


def _quoted(text: str) -> str:
    """Return a text as YAML: in quotes, unless it could not be anything else."""
    plain = re.fullmatch(r"[A-Za-z./][\w ./-]*", text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _class_name(stem: str) -> str:
    name = as_class(stem)
    return "Net" if class_problem(name) or name in NULL else name


def _sample(classes: list[Path], *, required: bool) -> list[tuple[int, bool]]:
    """Look at some images of each class: their shorter sides, and which are gray.

    Without Pillow, or if none can be read, it is empty, or an error if it is required.
    """
    try:
        from PIL import Image
    except ImportError:
        if not required:
            return []
        message = "Pillow, which reads the size of images, is not installed"
        help = "run pip install 'specgen[train]', or give the size: --size 96"
        raise _error("missing-package", message, help) from None
    found = []
    for folder in classes:
        files = (f for f in sorted(folder.iterdir()) if not f.name.startswith("."))
        for file, _ in zip(files, range(max(1, SAMPLE // len(classes))), strict=False):
            try:
                with Image.open(file) as image:
                    found.append((min(image.size), image.mode in GRAY))
            except (OSError, ValueError, Image.DecompressionBombError):
                continue  # training says which, and what to do
    if not found and required:
        raise _error(
            "no-images", f"none of the images in {classes[0].parent} can be read"
        )
    return found


def write(path: Path, text: str, root: Path | None = None) -> Program:
    """Write a spec that is sound into a new file; what it extends lies in `root`.

    Raises:
        SpecError: there is a file, it cannot be written, or the spec is wrong.
    """
    if path.exists() or path.is_symlink():
        help = "give another name, or remove it first"
        raise _error("file-exists", f"{path} already exists", help)
    if not path.parent.exists():
        raise _error("cannot-write", f"there is no folder {path.parent}")
    if other := _same_folder(path):
        message = f"{other} would be built into the same folder as {path}"
        raise _error("file-exists", message, "give another name")
    program = compile_file(path, root=root, text=text.encode())
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise _error("cannot-write", message) from None
    return program


def _same_folder(path: Path) -> Path | None:
    """Return a spec next to this one with the same name except for its ending.

    Some disks ignore case, so it does not count.
    """
    stem = path.stem.casefold()
    beside = (each for end in SUFFIXES for each in path.parent.glob(f"*{end}"))
    return next((each for each in beside if each.stem.casefold() == stem), None)


def summaries() -> Mapping[str, str]:
    """Return a description of each spec that comes with specgen, by name."""
    return {name: compile_file(path).spec.summary for name, path in shipped().items()}


def _error(code: str, message: str, help: str | None = None) -> SpecError:
    return SpecError([Diagnostic(code, message, help=help)])
