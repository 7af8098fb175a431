"""Names from a spec that become Python identifiers in generated code."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Sequence
from hashlib import sha256

from specgen.lock import RUNTIME

IDENTIFIER = r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*"
CLASS = r"[A-Z][A-Za-z0-9]*"
STEM = r"[A-Za-z0-9][A-Za-z0-9._-]*"
LONGEST = 40
# A folder name on any system; some drop a dot at the end.
VARIANT = re.compile(r"[A-Za-z0-9._=-]*[A-Za-z0-9_]")
NOT_VARIANT = re.compile(r"[^A-Za-z0-9._=-]+")

# Device names on Windows, whatever follows a dot.
WINDOWS_DEVICE = r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?"

# Public attributes of torch.nn.Module, and of the generated class: a layer or a device
# of that name would hide them. A test compares this list with torch.
MODULE_WORDS = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu
cuda double dump_patches eval extra_repr float forward get_buffer get_extra_state
get_parameter get_submodule half ipu load_state_dict modules mtia named_buffers
named_children named_modules named_parameters parameters probabilities
register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
register_full_backward_hook register_full_backward_pre_hook
register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
register_parameter register_state_dict_post_hook register_state_dict_pre_hook
requires_grad_ reset_parameters set_extra_state set_submodule share_memory state_dict to
to_empty train training type xpu zero_grad
"""
MODULE_ATTRIBUTES = frozenset(MODULE_WORDS.split())
# Those that only torch.nn.Sequential has: no item of one can have such a name.
SEQUENTIAL_ATTRIBUTES = frozenset({"append", "extend", "insert", "pop"})
# Those that only torch.nn.ModuleDict has: a list with numbers and names may be one.
DICT_ATTRIBUTES = frozenset({"clear", "items", "keys", "pop", "update", "values"})

# Prefixes of tensors in a checkpoint that are not weights: `data.mean`. A test compares
# them with the code that writes and reads them, which may not import specgen.
CHECKPOINT_PARTS = frozenset({"data", "momentum_buffer"})

# Tensors of torch's modules that code knows by how their names end: biases have a
# rate of their own, and variances are checked. No layer that is itself a tensor can be
# called so.
TENSORS = frozenset({"bias", "in_proj_bias", "num_batches_tracked", "running_var"})

# What generated modules import or define besides the network's class.
GLOBAL_WORDS = """
AXES Any CONSTANT Callable DEVICES F Iterator LayerNorm2d LocalResponseNorm Mapping
NORMAL OUTPUTS OrderedDict SHARES Self SelfAttention Sequence SpatialResponseNorm
StochasticDepth SyncBatchNorm2d TRUNC_NORMAL Tensor UNIFORM annotations cache cut_shares
distributed exchange gather join_shares nn once_differentiable parameter prepend torch
"""
GLOBALS = frozenset(GLOBAL_WORDS.split())


def attribute_problem(name: str) -> str | None:
    """Why `name` cannot be an attribute of the generated network, or None."""
    if name in CHECKPOINT_PARTS:
        return f"{name!r} already names tensors of a checkpoint"
    return part_problem(name)


def part_problem(name: str) -> str | None:
    """Why `name` cannot be an attribute of a generated module, or None."""
    if name in MODULE_ATTRIBUTES:
        return f"{name!r} is already an attribute of torch modules"
    return identifier_problem(name)


def item_problem(name: str) -> str | None:
    """Why `name` cannot be that of an item of a list, or None."""
    if name in DICT_ATTRIBUTES:
        return f"{name!r} is already an attribute of torch.nn.ModuleDict"
    return part_problem(name)


def class_problem(name: str) -> str | None:
    """Why `name` cannot be the generated class, or None."""
    if name in GLOBALS or hasattr(builtins, name):
        return f"{name!r} is already used in the generated code"
    if problem := identifier_problem(name):
        return problem
    if not re.fullmatch(CLASS, name):
        return f"{name!r} is not a class name: use CapWords, without underscores"
    return None


def stem_problem(stem: str) -> str | None:
    """Why a file's stem cannot name a generated folder, or None."""
    if len(stem) > LONGEST or not re.fullmatch(STEM, stem):
        return (
            f"{stem!r} cannot name a generated folder: at most {LONGEST} letters,"
            " digits, dots, dashes and underscores, beginning with a letter or digit"
        )
    if stem.endswith(".") or re.fullmatch(WINDOWS_DEVICE, stem):
        return f"{stem!r} cannot name a generated folder: Windows does not allow it"
    if stem.casefold() == RUNTIME:
        return f"{stem!r} is the name of the folder that all networks share"
    return None


def variant_name(stem: str, options: Sequence[str]) -> str:
    """A name for a spec with `--set` options, no longer than a stem can be.

    It repeats the options if they fit, are unambiguous, and need no capital letters,
    which some file systems do not tell from lowercase. Otherwise it is the beginning of
    that and a hash.
    """
    if not options:
        return stem
    said = "-".join([stem, *(text.removeprefix("layers.") for text in options)])
    clear = all(text == text.lower() and text.count("=") == 1 for text in options)
    if clear and len(said) <= LONGEST and VARIANT.fullmatch(said):
        return said
    whole = "\0".join([stem, *options])
    digest = sha256(whole.encode(errors="surrogateescape")).hexdigest()
    start = NOT_VARIANT.sub("_", said)[: LONGEST - 9]
    return f"{start.rstrip('-')}-{digest[:8]}"


def end_of_path(path: str) -> str:
    """Return the end of a path from its last name that is no number: layer1_0."""
    parts = path.split(".")
    first = max(i for i, part in enumerate(parts) if not part[0].isdigit())
    return "_".join(parts[first:])


def write_instead(name: str, problem: Callable[[str], str | None]) -> str | None:
    """Return the help for a name that has a problem: one like it that has none."""
    words = re.findall("[A-Za-z0-9]+", name[:LONGEST])
    for near in ("_".join(words), f"{name[: LONGEST - 1]}1", as_class(name[:LONGEST])):
        if problem(near) is None:
            return f"write {near}"
    return None


def as_class(text: str) -> str:
    """Return the words of a text in CapWords."""
    words = re.findall(r"[A-Za-z][a-z0-9]*|[0-9]+", text)
    return "".join(word[:1].upper() + word[1:] for word in words)


def identifier_problem(name: str) -> str | None:
    """Why `name` cannot be a name in generated code, or None."""
    if len(name) > LONGEST:
        return f"a name can have at most {LONGEST} characters"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return f"{name!r} is a Python keyword"
    if not re.fullmatch(IDENTIFIER, name):
        return (
            f"{name!r} is not a name: letters, digits and single underscores,"
            " beginning with a letter"
        )
    return None
