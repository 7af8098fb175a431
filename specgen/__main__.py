"""`specgen`, and `python -m specgen`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; Ctrl-C ends it quietly, even during imports."""
    try:
        from specgen import cli

        return cli.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
