"""`specgen completion`: scripts that complete commands and options in a shell.

They are generated from the parser and are self-contained, so that no key press waits
for Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

EXAMPLES = (
    ("completion bash > ~/.local/share/bash-completion/completions/specgen", ""),
    ('completion zsh > "${fpath[1]}/_specgen"', ""),
    ("completion fish > ~/.config/fish/completions/specgen.fish", ""),
)
# Kinds of arguments, by their metavar in --help.
PATHS = dict.fromkeys(("SPEC", "FILE", "A", "B"), "files") | {"DIR": "folders"}


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    from specgen.cli import COMMANDS, parser

    top = parser(list(COMMANDS))
    (commands,) = (
        action
        for action in top._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    found = [
        Command(name, COMMANDS[name], list(_arguments(each)))
        for name, each in commands.choices.items()
    ]
    print({"bash": bash, "zsh": zsh, "fish": fish}[options.shell](found))
    return 0


@dataclass(frozen=True, slots=True)
class Argument:
    """An option, or a positional argument if it has no `names`.

    A value is one of `words`, or a path; without either it is free text.
    """

    names: list[str]
    help: str
    takes_value: bool
    words: list[str]
    paths: str  # files, folders, or "" if it is neither


@dataclass(frozen=True, slots=True)
class Command:
    """A command of specgen."""

    name: str
    help: str
    arguments: list[Argument]


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    from specgen.new import shipped

    for action in parser._actions:
        words = [str(choice) for choice in action.choices or ()]
        if "--from" in action.option_strings:
            words = list(shipped())  # or a file
        help = " ".join((action.help or "").split()).partition(";")[0]
        yield Argument(
            list(action.option_strings),
            help.partition(" (default")[0],
            action.nargs != 0,
            words,
            PATHS.get(str(action.metavar), ""),
        )


BASH = """\
# bash completion for specgen; works with bash 3.2, which macOS has
_specgen() {
    local IFS=$' \\t\\n' word=${COMP_WORDS[COMP_CWORD]}
    local command= words= files= folders= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} != -* ]]; then command=${COMP_WORDS[i]}; break; fi
    done
    case "$command:${COMP_WORDS[COMP_CWORD-1]}" in
        @VALUES@
        *) case "$command:$word" in
            @WORDS@
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    IFS=$'\\n'
    if [[ $files ]]; then COMPREPLY+=($(compgen -f -- "$word")); fi
    if [[ $folders ]]; then COMPREPLY+=($(compgen -d -- "$word")); fi
    # Names of files need quotes, and a slash after a folder.
    if [[ $files$folders ]]; then compopt -o filenames 2> /dev/null; fi
}
complete -F _specgen specgen"""


def bash(commands: list[Command]) -> str:
    """Return the script for bash."""
    names = " ".join(command.name for command in commands)
    values = []  # what comes after an option
    words = [':-*) words="--help --version" ;;', f':*) words="{names}" ;;']
    for command in commands:
        options = [name for each in command.arguments for name in each.names]
        words.append(f'{command.name}:-*) words="{" ".join(options)}" ;;')
        for argument in command.arguments:
            if argument.names and argument.takes_value:
                names = "|".join(f"{command.name}:{name}" for name in argument.names)
                values.append(f"{names}) {_bash(argument)} ;;")
            elif not argument.names:
                words.append(f"{command.name}:*) {_bash(argument)} ;;")
    inside = " " * 8
    script = BASH.replace("@VALUES@", f"\n{inside}".join(values))
    return script.replace("@WORDS@", f"\n{inside}    ".join(dict.fromkeys(words)))


def _bash(argument: Argument) -> str:
    values = [f'words="{" ".join(argument.words)}"'] if argument.words else []
    values += [f"{argument.paths}=1"] if argument.paths else []
    return "; ".join(values) or ":"


def zsh(commands: list[Command]) -> str:
    """Return the script for zsh: a file _specgen of $fpath, or to be sourced."""
    lines = ["#compdef specgen", "", "_specgen() {", "    local line state"]
    names = " ".join(f"{_quoted(f'{c.name}:{c.help}')}" for c in commands)
    lines += [
        f"    local -a commands=({names})",
        "    _arguments -C '(- *)'{-h,--help}'[show help]' \\",
        "        '(- *)--version[show the version]' \\",
        "        '1: :->command' '*:: :->arguments'",
        "    case $state in",
        "        command) _describe command commands ;;",
        "        arguments) case $words[1] in",
    ]
    for command in commands:
        lines.append(f"            {command.name}) _arguments \\")
        specs = dict.fromkeys(s for each in command.arguments for s in _zsh(each))
        lines += [f"                {_quoted(spec)} \\" for spec in specs]
        lines[-1] = f"{lines[-1][:-2]} ;;"
    lines += ["        esac ;;", "    esac", "}", ""]
    lines += ['if [[ $funcstack[1] == _specgen ]]; then _specgen "$@"']
    return "\n".join([*lines, "else compdef _specgen specgen; fi"])


def _zsh(argument: Argument) -> Iterator[str]:
    what = {"files": "_files", "folders": "_files -/", "": ""}[argument.paths]
    if argument.words:
        words = f"({' '.join(argument.words)})"
        # The space in front keeps _arguments from adding options of its own.
        both = f' _alternative "specs\\:spec\\:{words}" "files\\:file\\:{what}"'
        what = both if what else words
    help = argument.help.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    for name in argument.names:
        yield f"*{name}[{help}]" + (f": :{what}" if argument.takes_value else "")
    if not argument.names:
        yield f"*: :{what}"


def fish(commands: list[Command]) -> str:
    """Return the script for fish."""
    lines = ["# fish completion for specgen", "complete -c specgen -f"]
    for command in commands:
        lines.append(
            "complete -c specgen -n __fish_use_subcommand"
            f" -a {command.name} -d {_quoted(command.help)}"
        )
        inside = f"complete -c specgen -n '__fish_seen_subcommand_from {command.name}'"
        for argument in command.arguments:
            parts = [inside]
            for name in argument.names:
                parts.append(f"-l {name[2:]}" if name[:2] == "--" else f"-s {name[1:]}")
            if argument.takes_value:
                if argument.words:
                    kind = "-r -F" if argument.paths else "-x"
                    parts.append(f"{kind} -a {_quoted(' '.join(argument.words))}")
                elif argument.paths == "folders":
                    parts.append("-x -a '(__fish_complete_directories)'")
                elif argument.paths:
                    parts.append("-r -F" if argument.names else "-F")
                else:
                    parts.append("-x")
            if argument.names:
                parts.append(f"-d {_quoted(argument.help)}")
            lines.append(" ".join(parts))
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Return the text in quotes; an apostrophe, which help may have, is outside."""
    return "'" + text.replace("'", "'\\''") + "'"
