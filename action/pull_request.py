"""Show what a pull request changes: in the job summary, and in one comment.

`action.yml` runs this at the top of a checkout. The environment has the rest: SPECS, a
path per line; OUTPUT, the folder of the generated ones; COMMENT, "true" or not;
PULL_REQUEST, its number; BASE and HEAD, the commits of its two branches; TOKEN; and
what GitHub sets for every step.

Nothing that a spec says is printed, because GitHub obeys commands in a log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import specgen
from specgen.build import SUFFIXES
from specgen.diagnostics import Diagnostic, printable
from specgen.diff.markdown import markdown
from specgen.markdown import code

# GitHub's limits, in characters and in bytes; here, both are enforced in bytes.
LONGEST_COMMENT = 65_536
LONGEST_SUMMARY = 1024 * 1024
MOST_ERRORS = 5
PAGE = 100  # comments, the most that GitHub sends at once
TIMEOUT = 30  # seconds
TITLE = "### What this pull request changes"
NOTHING = "Nothing: every network is the same as before."
CUT = "The rest is too long to show here."
NO_BASE = (
    "cannot find the commit that the pull request starts from: give `fetch-depth: 0`"
    " to actions/checkout"
)


class Section(NamedTuple):
    """What is shown about one spec: always the head, the rest if there is room."""

    head: str
    rest: str

    def __str__(self) -> str:
        return f"{self.head}\n\n{self.rest}" if self.rest else self.head


def main() -> None:
    """Compare, write the summary, then the comment."""
    output = os.path.normpath(os.environ["OUTPUT"])
    given = [
        os.path.normpath(path) for path in os.environ["SPECS"].splitlines() if path
    ]
    base = first_commit(os.environ["BASE"], os.environ["HEAD"])
    sections = list(compare(base, given))
    with open(os.environ["GITHUB_STEP_SUMMARY"], "a", encoding="utf-8") as summary:
        summary.write(body(TITLE, sections, LONGEST_SUMMARY) + "\n")
    if os.environ["COMMENT"] == "true":
        # Hidden. If a workflow has this action twice, two folders have two comments.
        marker = f"<!-- specgen diff of {quote(output)} -->"
        text = body(f"{marker}\n{TITLE}", sections, LONGEST_COMMENT)
        try:
            publish(marker, text, is_news=bool(sections))
        except (OSError, ValueError) as error:  # a fork's token cannot write: 403
            reason = printable(str(error)).replace("%", "%25")
            where = "the changes are in the job summary"
            print(f"::notice title=specgen::cannot comment ({reason}): {where}")


def first_commit(base: str, head: str) -> str:
    """Return the commit that the changes begin at.

    HEAD is the merge of both branches that GitHub makes, or the pull request's own.
    """
    try:
        if git("rev-parse", "--verify", "--quiet", "HEAD^2") == head:
            return git("rev-parse", "HEAD^1")
    except subprocess.CalledProcessError:
        pass
    try:
        return git("merge-base", "--", base, "HEAD")
    except subprocess.CalledProcessError as error:
        reason = printable(error.stderr.strip())
        sys.exit(f"::error title=specgen::{NO_BASE} {reason}".rstrip())


def compare(base: str, given: list[str]) -> Iterator[Section]:
    """Yield what differs in each spec between a commit and HEAD.

    Both are read from git: a link in the checkout could lead to a secret.
    """
    old = {spec for path in given for spec in specs_in(base, path)}
    new = {spec for path in given for spec in specs_in("HEAD", path)}
    moved = renames(base)
    origins = {spec: spec if spec in old else moved.get(spec) for spec in new}
    for spec in sorted(new | (old - set(origins.values()))):
        try:
            if spec not in new:
                yield Section(f"#### {code(spec)}\n\n**removed**", "")
            elif (origin := origins[spec]) not in old:
                yield Section(f"#### {code(spec)}\n\n**new**: {figures(spec)}", "")
            else:
                yield from changes(base, origin, spec)
        except specgen.SpecError as error:
            said = [f"- {line(found)}" for found in error.diagnostics[:MOST_ERRORS]]
            head = f"#### {code(spec)}\n\n**cannot be compared**: a spec has errors"
            yield Section(head, "\n".join(said))


def changes(base: str, old: str, new: str) -> Iterator[Section]:
    """Yield what `specgen diff` says about a spec, if anything differs."""
    found = specgen.load(f"{base}:{old}").diff(specgen.load(f"HEAD:{new}"))
    title = f"#### {code(new)}" + (f", which was {code(old)}" if old != new else "")
    if found.changes or old != new:
        tier, _, rest = markdown(found).partition("\n\n")
        yield Section(f"{title}\n\n{tier}", rest)


def figures(spec: str) -> str:
    """Return what there is to say about a new spec."""
    plan = specgen.load(f"HEAD:{spec}").plan()
    return f"{plan.parameters:,} parameters, {plan.macs:,} MACs per image"


def line(found: Diagnostic) -> str:
    """Return an error on one line, in which nothing that it quotes is obeyed."""
    place = f"{code(f'{found.span.file}:{found.span.line}')}: " if found.span else ""
    return f"{place}{code(found.message)}"


def specs_in(commit: str, path: str) -> list[str]:
    """Return a spec, or those in a folder, from a commit."""
    place = f"{commit}:{'' if path == '.' else path}"
    try:
        if git("cat-file", "-t", place) == "blob":
            return [path]
        names = git("ls-tree", "-z", "--name-only", place).split("\0")
    except subprocess.CalledProcessError:  # it is not there
        return []
    specs = [n for n in names if n.endswith(SUFFIXES) and not n.startswith(".")]
    return [os.path.normpath(os.path.join(path, name)) for name in specs]


def renames(commit: str) -> dict[str, str]:
    """Return the old names of files that were renamed since, by the new ones."""
    said = git("diff", "-z", "--name-status", "-M", "--diff-filter=R", commit, "HEAD")
    words = said.split("\0")  # R087, old, new, R100, ...
    return dict(zip(words[2::3], words[1::3], strict=False))


def git(*arguments: str) -> str:
    """Return what git prints; a name that is not UTF-8 is decoded as Python does."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        raise subprocess.CalledProcessError(done.returncode, "git", stderr=said)
    return os.fsdecode(done.stdout).strip("\n\0")


def body(title: str, sections: list[Section], limit: int) -> str:
    """Return the whole text in at most `limit` bytes.

    Sections are cut before a table or a fold begins, never inside it, and the last ones
    are only counted if not even their heads fit.
    """
    parts = [str(Section(s.head, CUT if s.rest else "")) for s in sections]
    while size(text := joined(title, parts, len(sections))) > limit:
        parts.pop()
    for index, section in enumerate(sections[: len(parts)]):
        longer = [*parts[:index], str(section), *parts[index + 1 :]]
        whole = joined(title, longer, len(sections))
        if size(whole) <= limit:
            parts, text = longer, whole
    return text


def joined(title: str, parts: list[str], count: int) -> str:
    """Return the parts of `count` that are shown, below the title."""
    missing = [f"And {count - len(parts)} more specs."] if len(parts) < count else []
    return "\n\n".join([title, *(parts if count else [NOTHING]), *missing])


def size(text: str) -> int:
    """Return the length in bytes."""
    return len(text.encode(errors="replace"))


def publish(marker: str, text: str, *, is_news: bool) -> None:
    """Update the comment that begins with the marker; if there is none, write one.

    Without changes none is written, but an old one is updated.

    Raises:
        OSError: GitHub cannot be reached, or refuses.
        ValueError: its answer makes no sense.
    """
    repository = f"repos/{os.environ['GITHUB_REPOSITORY']}"
    comments = f"{repository}/issues/{int(os.environ['PULL_REQUEST'])}/comments"
    mine = next((c for c in every(comments) if is_mine(c, marker)), None)
    if mine is None:
        if is_news:
            request("POST", comments, {"body": text})
    elif mine["body"].replace("\r\n", "\n") != text:
        request("PATCH", f"{repository}/issues/comments/{mine['id']}", {"body": text})


def is_mine(comment: Any, marker: str) -> bool:
    """Tell whether a workflow wrote it: anybody can write the marker."""
    by_bot = (comment.get("user") or {}).get("type") == "Bot"
    return by_bot and (comment.get("body") or "").startswith(marker)


def every(comments: str) -> Iterator[Any]:
    """Yield all comments, however many pages they fill."""
    page, found = 1, [None] * PAGE
    while len(found) == PAGE:
        found = request("GET", f"{comments}?per_page={PAGE}&page={page}")
        yield from found
        page += 1


def request(method: str, path: str, data: Any = None) -> Any:
    """Send a request to GitHub's API and return what it answers."""
    url = f"{os.environ['GITHUB_API_URL']}/{path}"
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {os.environ['TOKEN']}",
        "Content-Type": "application/json",
        "User-Agent": "specgen",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    content = None if data is None else json.dumps(data).encode()
    asked = urllib.request.Request(url, content, headers, method=method)
    with urllib.request.urlopen(asked, timeout=TIMEOUT) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
