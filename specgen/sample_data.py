"""Draw the demo's images: an ImageFolder tree of shapes and textures, as JPEG files.

Color, size, position, rotation, background and noise vary in every class alike, so
that only the form tells the classes apart. Each image is a function of its place in
the tree alone: equal Pillow versions write equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, pi, sin
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from specgen.diagnostics import Diagnostic, SpecError
from specgen.writer import cannot_write

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

IMAGES_PER_CLASS = {"train": 100, "val": 20}
SCALE = 2  # forms are drawn larger and scaled down: smooth edges
CANVAS = 360 * SCALE  # holds an image's window at any rotation and offset
CENTER = CANVAS / 2


def render(
    folder: Path,
    progress: Callable[[int, int], object] | None = None,
    *,
    gray: bool = False,
) -> None:
    """Write `train/<class>/*.jpg` and `val/<class>/*.jpg` into `folder`: all or none.

    With `gray`, they are the same images in gray.
    `progress` is called after each image with the images done and their total. Raises
    SpecError if the folder is not empty or cannot be written, or without Pillow.
    """
    target = folder.resolve()
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise _error("not-empty", f"{folder} is not an empty folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
            stage = Path(beside, target.name)
            _write_images(stage, progress, gray=gray)
            stage.replace(target)
    except ImportError:
        cure = "pip install 'specgen[train]'"
        raise _error("missing-package", "Pillow is not installed", cure) from None
    except OSError as error:
        raise cannot_write(folder, error) from error


def draw(form: str, random: Random) -> Image:
    """Return one RGB image, about 128 pixels a side, of the class `form`."""
    import PIL.Image as Images
    from PIL.ImageFilter import GaussianBlur

    shorter = random.randint(112, 144)
    longer = round(shorter * random.uniform(1, 4 / 3))
    size = random.choice([(shorter, longer), (longer, shorter)])
    dark = random.randint(40, 110)
    levels = [dark, dark + random.randint(80, 120)]
    colors = [[level + random.randint(-40, 40) for _ in "rgb"] for level in levels]
    random.shuffle(colors)
    back, front = (_shaded(color, size, random) for color in colors)
    image = Images.composite(front, back, _mask(form, size, random))
    image = image.filter(GaussianBlur(random.uniform(0, 0.8)))
    noise = Images.frombytes("RGB", size, random.randbytes(3 * size[0] * size[1]))
    return Images.blend(image, noise, random.uniform(0.03, 0.15))


def _write_images(
    folder: Path, progress: Callable[[int, int], object] | None, *, gray: bool
) -> None:
    total = len(FORMS) * sum(IMAGES_PER_CLASS.values())
    done = 0
    for split, count in IMAGES_PER_CLASS.items():
        for form in FORMS:
            target = folder / split / form
            target.mkdir(parents=True)
            for index in range(count):
                name = f"{index:03}.jpg"
                random = Random(f"{split}/{form}/{name}")
                quality = random.randint(80, 95)
                image = draw(form, random)
                if gray:
                    image = image.convert("L")
                image.save(target / name, quality=quality)
                done += 1
                if progress:
                    progress(done, total)


def _error(code: str, message: str, help: str | None = None) -> SpecError:
    return SpecError([Diagnostic(code, message, help=help)])


def _shaded(color: Sequence[int], size: tuple[int, int], random: Random) -> Image:
    """Return a gradient from the color to a similar one, in some direction."""
    import PIL.Image as Images

    near = [channel + random.randint(-30, 30) for channel in color]
    start, end = (Images.new("RGB", size, tuple(ends)) for ends in (color, near))
    ramp = Images.linear_gradient("L").rotate(random.randrange(0, 360, 90))
    return Images.composite(end, start, ramp.resize(size))


def _mask(form: str, size: tuple[int, int], random: Random) -> Image:
    """Return the form, white on black, turned and moved at random."""
    import PIL.Image as Images
    import PIL.ImageDraw as Drawing

    canvas = Images.new("L", (CANVAS, CANVAS))
    radius = SCALE * min(size) * random.uniform(0.27, 0.42)
    FORMS[form](Drawing.Draw(canvas), radius, random)
    angle = random.uniform(0, 2 * pi)
    a, b = cos(angle), sin(angle)
    width, height = (SCALE * side for side in size)
    x, y = width * random.uniform(0.4, 0.6), height * random.uniform(0.4, 0.6)
    # From a point of the window, in which the form's center is (x, y), to the canvas.
    matrix = (a, -b, CENTER - a * x + b * y, b, a, CENTER - b * x - a * y)
    method, resample = Images.Transform.AFFINE, Images.Resampling.BILINEAR
    return canvas.transform((width, height), method, matrix, resample).reduce(SCALE)


def _box(x: float, y: float, half_width: float, half_height: float) -> list[float]:
    return [x - half_width, y - half_height, x + half_width, y + half_height]


def _corners(*radii: float) -> list[tuple[float, float]]:
    """Return points around the center at these distances and at equal angles."""
    angles = [2 * pi * index / len(radii) for index in range(len(radii))]
    return [
        (CENTER + radius * sin(angle), CENTER - radius * cos(angle))
        for radius, angle in zip(radii, angles, strict=True)
    ]


def _disc(draw: ImageDraw, radius: float, random: Random) -> None:
    draw.ellipse(_box(CENTER, CENTER, radius, radius), fill=255)


def _ring(draw: ImageDraw, radius: float, random: Random) -> None:
    _disc(draw, radius, random)
    hole = radius * random.uniform(0.5, 0.75)
    draw.ellipse(_box(CENTER, CENTER, hole, hole), fill=0)


def _triangle(draw: ImageDraw, radius: float, random: Random) -> None:
    draw.polygon(_corners(*[1.2 * radius] * 3), fill=255)


def _square(draw: ImageDraw, radius: float, random: Random) -> None:
    draw.polygon(_corners(*[1.1 * radius] * 4), fill=255)


def _star(draw: ImageDraw, radius: float, random: Random) -> None:
    inner = random.uniform(0.4, 0.5)
    draw.polygon(_corners(*[1.2 * radius, 1.2 * inner * radius] * 5), fill=255)


def _cross(draw: ImageDraw, radius: float, random: Random) -> None:
    arm = radius * random.uniform(0.2, 0.33)
    draw.rectangle(_box(CENTER, CENTER, radius, arm), fill=255)
    draw.rectangle(_box(CENTER, CENTER, arm, radius), fill=255)


def _stripes(draw: ImageDraw, radius: float, random: Random) -> None:
    period = SCALE * random.uniform(10, 26)
    width = period * random.uniform(0.35, 0.65)
    y = random.uniform(0, period)
    while y < CANVAS:
        draw.rectangle([0, y, CANVAS, y + width], fill=255)
        y += period


def _waves(draw: ImageDraw, radius: float, random: Random) -> None:
    period = SCALE * random.uniform(12, 26)
    width = period * random.uniform(0.4, 0.6)
    height, length = period * random.uniform(0.5, 0.8), period * random.uniform(2.5, 4)
    edge = [(x, height * sin(2 * pi * x / length)) for x in range(0, CANVAS + 1, 4)]
    start = -random.uniform(0, period)
    while start < CANVAS + height:
        top = [(x, start + y) for x, y in edge]
        bottom = [(x, y + width) for x, y in reversed(top)]
        draw.polygon(top + bottom, fill=255)
        start += period


def _checkerboard(draw: ImageDraw, radius: float, random: Random) -> None:
    side = SCALE * random.uniform(9, 22)
    for row in range(int(CANVAS / side) + 1):
        for column in range(row % 2, int(CANVAS / side) + 1, 2):
            x, y = column * side, row * side
            draw.rectangle([x, y, x + side, y + side], fill=255)


def _dots(draw: ImageDraw, radius: float, random: Random) -> None:
    pitch = SCALE * random.uniform(16, 32)
    for row in range(int(CANVAS / pitch) + 1):
        for column in range(int(CANVAS / pitch) + 1):
            x = pitch * (column + random.uniform(-0.2, 0.2))
            y = pitch * (row + random.uniform(-0.2, 0.2))
            dot = pitch * random.uniform(0.15, 0.33)
            draw.ellipse(_box(x, y, dot, dot), fill=255)


FORMS: dict[str, Callable[[ImageDraw, float, Random], None]] = {
    "checkerboard": _checkerboard,
    "cross": _cross,
    "disc": _disc,
    "dots": _dots,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "stripes": _stripes,
    "triangle": _triangle,
    "waves": _waves,
}
