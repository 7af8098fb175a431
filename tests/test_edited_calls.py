"""A call in model.py with another param makes what the spec with that param says."""

from __future__ import annotations

import copy
import inspect
import os
from typing import Any

from helpers import compile_data
from hypothesis import HealthCheck, given, settings
from nested import nested
from placed import model_text, module
from strategies import Data
from test_classes import NET
from test_formulas import INNER, OUTER
from torch import nn
from yaml import safe_load

from specgen.compiler import Program
from specgen.diagnostics import SpecError

COUNT = int(os.environ.get("SPECGEN_GRAPHS", "15"))
OTHER: Data = {"channels": (12, 24), "size": (1, 5), "stride": (1, 2)}


def built(program: Program) -> tuple[Any, dict[str, tuple[type, Data]]]:
    """Return the network, and how each instance of a class in it is made, by path."""
    file = module(model_text(program))
    made: dict[int, Data] = {}

    def record(kind: Any) -> None:
        first, signature = kind.__init__, inspect.signature(kind)

        def init(self: Any, *args: Any, **named: Any) -> None:
            bound = signature.bind(*args, **named)
            bound.apply_defaults()
            made[id(self)] = dict(bound.arguments)
            first(self, *args, **named)

        kind.__init__ = init

    for name, kind in vars(file).items():
        if (
            isinstance(kind, type)
            and kind.__module__ == file.__name__
            and name != "Net"
        ):
            record(kind)
    network = file.Net(["cpu"])
    modules = network.named_modules()
    return network, {p: (type(m), made[id(m)]) for p, m in modules if id(m) in made}


def leaves(network: nn.Module) -> Data:
    """Return what a module is made of: its layers, and the shapes of all tensors."""
    modules = network.named_modules()
    layers = {path: repr(each) for path, each in modules if not [*each.children()]}
    return layers | {n: tuple(t.shape) for n, t in network.state_dict().items()}


def changed(data: Data, path: str, param: str, value: Any) -> Data:
    """Return the spec with another param of one use of a block."""
    data = copy.deepcopy(data)
    top, *inner = path.split(".")
    entry = data["layers"][top]
    for name in inner:
        entry = entry.setdefault(name, {})
    entry.setdefault("with", {})[param] = value
    return data


def check_changes(data: Data) -> int:
    """Check each instance with each other param; return how many could be compared.

    Its class, called with the other param, must be what the spec then says. A spec may
    be refused then, or its layers be others. What has no formula is not compared.
    """
    program = compile_data(data)
    scopes = {scope.path: scope for scope in program.graph.scopes if scope.block}
    count = 0
    for path, (kind, arguments) in built(program)[1].items():
        params = scopes[path].params if path in scopes else {}
        sizes = {"in_channels", "skip_channels", "device"}
        for param in params.keys() & arguments.keys() & OTHER.keys():
            for value in {*OTHER[param]} - {params[param]}:
                try:
                    other = compile_data(changed(data, path, param, value))
                except SpecError:
                    continue
                wanted = leaves(built(other)[0].get_submodule(path))
                if arguments.keys() <= params.keys() | sizes:
                    found = leaves(kind(**arguments | {param: value}))
                    if found.keys() == wanted.keys():
                        assert found == wanted, (path, param, value)
                        count += 1
    return count


def test_each_param_of_nested_blocks_counts() -> None:
    last = OUTER.index("  two")
    data = safe_load(NET.format(blocks=INNER, layers=OUTER[:last], placement=""))
    assert check_changes(data) == 27


@settings(max_examples=2 * COUNT, suppress_health_check=[HealthCheck.too_slow])
@given(nested())
def test_a_call_with_another_param_is_the_spec_with_it(data: Data) -> None:
    check_changes(data)
