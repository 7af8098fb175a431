"""`specgen schema`: print a JSON Schema for editors."""

from __future__ import annotations

import argparse
import json

EXAMPLES = (("schema > specs/specgen.schema.json", ""),)


def add(command: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(options: argparse.Namespace) -> int:
    """Print the schema."""
    from specgen.editor import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
