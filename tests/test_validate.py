from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError
from reading import ALEXNET

from specgen.diagnostics import Diagnostic, Problems, Span, render_text
from specgen.frontend.validate import Form, located, validate
from specgen.source import parse
from specgen.spec import Spec

ROOT = Path(__file__).parent.parent


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def pair(value: Any) -> Any:
    if isinstance(value, int):
        return (value, value)
    if isinstance(value, list):
        return tuple(value)
    raise PydanticCustomError("pair", "expected a whole number or two of them")


def odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("the window must be odd")
    return value


Count = Annotated[int, Field(ge=1)]
Pair = Annotated[tuple[Count, Count], BeforeValidator(pair)]


class Normal(Strict):
    std: Annotated[float, Field(gt=0, lt=10)]


class NormalInit(Strict):
    normal: Normal


class UniformInit(Strict):
    uniform: dict[str, float]


class Conv(Strict):
    op: Literal["conv2d"]
    out_channels: Count
    kernel_size: Pair = (1, 1)
    stride: int | Annotated[list[int], Field(max_length=2)] = 1
    mode: Literal["zeros", "reflect"] = "zeros"
    init: NormalInit | UniformInit | Literal["kaiming"] | None = None
    bias: bool = True

    @model_validator(mode="after")
    def check(self) -> Conv:
        if self.mode == "reflect" and not self.bias:
            raise PydanticCustomError("no-effect", "reflect needs a bias")
        return self


class Norm(Strict):
    op: Literal["norm"]
    size: Annotated[int, AfterValidator(odd)]
    relu: int | None = None


class Relu(Strict):
    op: Literal["relu"]


class Input(Strict):
    from_: Annotated[str, Field(alias="from", min_length=1, max_length=3)] = "x"
    sizes: Annotated[list[Count], Field(min_length=2, max_length=3)] = [1, 1]
    step: Annotated[int, Field(multiple_of=2, le=8)] = 2
    names: dict[Annotated[str, Field(pattern="^[a-z]+$")], str | float] = {}


class Net(Strict):
    name: str
    input: Input = Input()
    layers: dict[str, Annotated[Conv | Norm | Relu, Field(discriminator="op")]]
    first: Annotated[Norm | Relu, Field(discriminator="op")] | None = None
    listed: list[Conv | Input] = []


HEAD = "name: Net\nlayers: {}\n"
CONV = "name: Net\nlayers:\n  conv1: {op: conv2d, out_channels: 1, %s}\n"


def found(text: str, model: type[BaseModel] = Net) -> list[Diagnostic]:
    source, problems = parse(text.encode(), "a.yaml"), Problems()
    validate(Form(model), source.data, (), problems)
    return list(located(source, problems))


def under(span: Span | None) -> str:
    assert span
    return span.text[span.column - 1 : span.column - 1 + span.length]


def one(text: str) -> tuple[str, str, str, str | None]:
    """Return code, text under the caret, message and help of the only error."""
    (error,) = found(text)
    return error.code, under(error.span), error.message, error.help


def test_valid_data_gives_the_model() -> None:
    source, problems = parse((CONV % "stride: [1, 2]").encode(), "a.yaml"), Problems()
    net = validate(Form[Net](Net), source.data, (), problems)
    assert net
    assert not problems
    assert net.layers["conv1"] == Conv(op="conv2d", out_channels=1, stride=[1, 2])


@pytest.mark.parametrize(
    ("field", "place", "message"),
    [
        ('bias: "no"', '"no"', 'expected true or false, got the string "no"'),
        ("bias: no", "no", 'expected true or false, got the string "no"'),
        ("bias: ", "bias", "expected true or false, got nothing"),
        ("bias: 1", "1", "expected true or false, got 1"),
        (
            "kernel_size: [1, five]",
            "five",
            'expected a whole number, got the string "five"',
        ),
        ("kernel_size: 1.5", "1.5", "expected a whole number or two of them, got 1.5"),
        (
            "kernel_size: {}",
            "{}",
            "expected a whole number or two of them, got a mapping",
        ),
        ("stride: x", "x", 'expected a whole number or a list, got the string "x"'),
        ("stride: true", "true", "expected a whole number or a list, got true"),
        ("init: 5", "5", "expected a mapping or kaiming, got 5"),
        ("init: []", "[]", "expected a mapping or kaiming, got a list"),
        ("init: {normal: 5}", "5", "expected a mapping, got 5"),
        ("init: {normal: {std: a}}", "a", 'expected a number, got the string "a"'),
        ("init: {uniform: {a: b}}", "b", 'expected a number, got the string "b"'),
        ("init: {uniform: 3}", "3", "expected a mapping, got 3"),
        ("mode: zero", "zero", 'expected zeros or reflect, got the string "zero"'),
        ("mode: 3", "3", "expected zeros or reflect, got 3"),
    ],
)
def test_a_value_of_another_type(field: str, place: str, message: str) -> None:
    code, *rest, _ = one(CONV % field)
    assert rest == [place, message]
    assert code in ("wrong-type", "bad-choice")


@pytest.mark.parametrize(
    ("field", "place", "message"),
    [
        ("kernel_size: 0", "0", "must be at least 1, got 0"),
        ("kernel_size: [3, 0]", "0", "must be at least 1, got 0"),
        ("stride: [1, 2, 3]", "[1, 2, 3]", "must have a length of at most 2, got 3"),
        ("init: {normal: {std: 0}}", "0", "must be greater than 0, got 0"),
        ("init: {normal: {std: 1e4}}", "1e4", "must be less than 10, got 10000.0"),
    ],
)
def test_a_value_out_of_range(field: str, place: str, message: str) -> None:
    assert one(CONV % field) == ("out-of-range", place, message, None)


@pytest.mark.parametrize(
    ("field", "place", "message"),
    [
        ("from: ''", "''", "must have a length of at least 1, got 0"),
        ("from: long", "long", "must have a length of at most 3, got 4"),
        ("sizes: [1]", "[1]", "must have a length of at least 2, got 1"),
        (
            "sizes: [1, 2, 3, 4]",
            "[1, 2, 3, 4]",
            "must have a length of at most 3, got 4",
        ),
        ("step: 3", "3", "must be a multiple of 2, got 3"),
        ("step: 10", "10", "must be at most 8, got 10"),
    ],
)
def test_limits_of_other_kinds(field: str, place: str, message: str) -> None:
    text = f"{HEAD}input: {{{field}}}"
    assert one(text) == ("out-of-range", place, message, None)


@pytest.mark.parametrize(
    ("text", "place", "help"),
    [
        (CONV % "kernal_size: 3", "kernal_size", "the nearest name is kernel_size"),
        (
            CONV % "zzz: 3",
            "zzz",
            "valid names are op, out_channels, kernel_size, stride, mode, init, bias",
        ),
        (CONV % "init: {norml: {std: 1}}", "norml", "the nearest name is normal"),
        (CONV % "init: {normal: {std: 1, men: 0}}", "men", "valid names are std"),
        (CONV % "conv2d: {}", "conv2d", None),
        (CONV % "stride:2", "stride:2", "put a space after the colon: stride: 2"),
        (HEAD + "nam: x", "nam", "the nearest name is name"),
        (HEAD + "input: {form: x}", "form", "the nearest name is from"),
        (HEAD + "input: {from_: x}", "from_", "it is called from here"),
        (HEAD + "first: {op: relu, siz: 1}", "siz", "valid names are op"),
        (HEAD + "first: {op: norm, size: 1, norm: 1}", "norm", None),
        (
            HEAD + "first: {op: norm, size: 1, siz: 1}",
            "siz",
            "the nearest name is size",
        ),
    ],
)
def test_an_unknown_key_gets_the_nearest_name_or_all(
    text: str, place: str, help: str | None
) -> None:
    code, key, message, found_help = one(text)
    assert (code, key, message) == ("unknown-key", place, f"unknown key {place}")
    assert found_help == help or help is None


@pytest.mark.parametrize(
    ("text", "place", "name"),
    [
        ("layers: {}", "layers", "name"),
        ("name: x\nlayers:\n  a: {op: conv2d}", "a", "out_channels"),
        (CONV % "init: {normal: {}}", "normal", "std"),
        (HEAD + "listed: [{op: conv2d}]", "{op: conv2d}", "out_channels"),
    ],
)
def test_a_missing_key_is_at_the_key_of_its_mapping(
    text: str, place: str, name: str
) -> None:
    assert one(text) == ("missing-key", place, f"{name} is missing", None)


def test_a_key_may_have_the_name_of_its_layer_s_op() -> None:
    errors = found("name: x\nlayers: {norm: {op: norm, norm: 1}}")
    assert [(error.code, under(error.span)) for error in errors] == [
        ("missing-key", "norm"),
        ("unknown-key", "norm"),
    ]
    assert [error.span.column for error in errors if error.span] == [10, 27]


def test_a_mistyped_required_key_is_one_error() -> None:
    text = "name: x\nlayers: {a: {op: conv2d, out_chanels: 3}}"
    assert one(text)[0] == "unknown-key"


def test_an_unknown_op_gets_the_nearest_or_all() -> None:
    text = "name: x\nlayers: {a: {op: %s}}"
    assert one(text % "conf2d") == (
        "unknown-op",
        "conf2d",
        "there is no op conf2d",
        "the nearest name is conv2d",
    )
    assert one(text % "zzz")[3] == "valid names are conv2d, norm, relu"
    assert one(text % "[]")[:3] == ("wrong-type", "[]", "expected a string, got a list")
    assert one("name: x\nlayers: {a: 5}")[:2] == ("wrong-type", "5")


def test_a_literal_gets_its_nearest_choice() -> None:
    assert one(CONV % "mode: reflct")[3] == "the nearest name is reflect"
    code, _, message, help = one(CONV % "init: kamming")
    assert code == "bad-choice"
    assert message == 'expected a mapping or kaiming, got the string "kamming"'
    assert help == "the nearest name is kaiming"


def test_errors_of_validators_are_in_their_own_words() -> None:
    text = "name: x\nlayers: {a: {op: norm, size: 4}}"
    assert one(text) == ("bad-value", "4", "the window must be odd", None)
    code, place, message, _ = one(CONV % "mode: reflect, bias: false")
    assert (code, message) == ("no-effect", "reflect needs a bias")
    assert place.startswith("{op: conv2d")


def test_a_key_that_breaks_its_pattern() -> None:
    assert one(HEAD + "input: {names: {A1: x}}") == (
        "bad-value",
        "A1",
        "must match ^[a-z]+$",
        None,
    )


def test_a_union_of_models_reports_the_one_that_fits_best() -> None:
    errors = found(HEAD + "listed: [{op: conv2d, out_channels: 0, bias: 1}]")
    assert [(e.code, under(e.span)) for e in errors] == [
        ("out-of-range", "0"),
        ("wrong-type", "1"),
    ]
    assert one(HEAD + "listed: [{}, {sizes: [1]}]")[:2] == ("out-of-range", "[1]")


def test_all_errors_are_found_at_once_in_order() -> None:
    text = """\
name: 5
layers:
  a: {op: conv2d, out_channels: 0, kernal_size: 3}
  b: {op: cnv}
  c: {op: norm, size: x}
  a: {op: relu, z: 1}
input: {step: .nan, extra: *x}
"""
    errors = found(text)
    assert [(e.code, e.span.line if e.span else 0) for e in errors] == [
        ("wrong-type", 1),
        ("unknown-op", 4),
        ("wrong-type", 5),
        ("duplicate-key", 6),
        ("unknown-key", 6),
        ("bad-number", 7),
        ("unknown-key", 7),
        ("unknown-anchor", 7),
    ]


def test_a_stand_in_for_the_unreadable_is_not_a_second_error() -> None:
    for value in (".nan", "*nosuch", "!!foo 1", "!!int x"):
        assert len(found(HEAD + f"input: {{step: {value}}}")) == 1
    assert len(found(HEAD + "1: 2")) == 1
    assert len(found("<<: {name: Net, layers: {}}")) == 1
    assert len(found(HEAD + "input: *x")) == 1


def test_problems_alone_are_errors() -> None:
    assert [error.code for error in found(HEAD + "name: Twice")] == ["duplicate-key"]


@pytest.mark.parametrize(
    ("old", "new", "code", "place"),
    [
        ("kernel_size: 11", "kernal_size: 11", "unknown-key", "kernal_size"),
        ("op: conv2d", "op: conv3d", "unknown-op", "conv3d"),
        ("out_channels: 96", "out_channels: x", "wrong-type", "x"),
        ("stride: 4", "stride: 0", "out-of-range", "0"),
        ("layers:\n", "layer:\n", "unknown-key", "layer"),
        ("height: 224, ", "", "missing-key", "input"),
        ("bias: 1}", "bias: one}", "bad-choice", "one"),
    ],
)
def test_the_schema_of_specs(old: str, new: str, code: str, place: str) -> None:
    text = (ROOT / "specs" / "alexnet.yaml").read_text()
    assert old in text
    (error,) = found(text.replace(old, new, 1), Spec)
    assert (error.code, under(error.span)) == (code, place)


# --- hostile input

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["op", "normal", "std", "conv2d", "kernel_size", "layers", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


@given(st.data(), VALUES)
def test_any_value_anywhere_is_valid_or_located(data: st.DataObject, new: Any) -> None:
    for text, model in ((ALEXNET, Spec), ((CONV % "init: {}").encode(), Net)):
        source = parse(text, "a.yaml")
        path = data.draw(st.sampled_from([path for path in source.values if path]))
        parent: Any = source.data
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = new
        problems = Problems()
        validate(Form(model), source.data, (), problems)
        found = located(source, problems)
        render_text(found)
        assert all(problem.span for problem in found)
