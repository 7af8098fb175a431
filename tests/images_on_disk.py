"""Trees of images, and the generated files that read them, for several test files."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import compile_data, write
from PIL import Image

from specgen.runtime import console, pack

SIZE, HEIGHT, WIDTH = 24, 16, 20
ALL = {"size": SIZE, "flip": True, "color_noise": 0.1, "std": 64.0}
PLAIN = {"size": SIZE, "std": 1}


def generate(folder: Path, section: dict[str, Any], channels: int = 3) -> Path:
    """Write what is generated for a spec with this `data` section."""
    program = compile_data(
        {
            "specgen": 1,
            "name": "Net",
            "input": {"channels": channels, "height": HEIGHT, "width": WIDTH},
            "layers": {
                "flat": {"op": "flatten"},
                "fc1": {"op": "linear", "out_features": 3},
            },
            "data": section,
        }
    )
    return write(program, folder)


def imported(folder: Path, name: str) -> Iterator[Any]:
    """Import a generated file; while in use, workers find its classes by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        patch.syspath_prepend(folder)
        patch.delitem(sys.modules, name, raising=False)  # another folder's
        yield importlib.import_module(name)
        if loading := sys.modules.get("runtime.loading"):
            loading.idle.clear()  # ends the processes that decode
    for other, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", None))
        if file.startswith((f"{folder}/", f"{folder.parent}/runtime/")):
            del sys.modules[other]


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Return a smooth picture without symmetry."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def make_tree(root: Path) -> Path:
    """Three classes of 5 + 2 images, of different formats and sizes."""
    seed = 0
    for split, count in (("train", 5), ("val", 2)):
        for name in ("cat", "dog", "owl"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                seed += 1
                suffix = ("png", "jpg", "bmp")[index % 3]
                picture(seed, 40 + seed, 30).save(folder / f"{index}.{suffix}")
    return root


def run_pack(*arguments: object, channels: int = 3) -> int:
    """Run `python pack.py ARGUMENTS`; return its exit status."""
    main = partial(pack.main, pack.__doc__, SIZE, channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pack.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            console.run(main)
    assert not isinstance(ended.value.code, str)
    return ended.value.code or 0


def contents(out: Path) -> dict[str, bytes]:
    """Return the content of each file."""
    return {path.name: path.read_bytes() for path in out.iterdir()}
