"""`specgen`, and `python -m specgen`."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run the command line; Ctrl-C ends it quietly, even during imports."""
    # What is compiled has no cycles: looking for some took a quarter of the time of
    # `show` for 10,000 layers. Now and then is often enough, as for `watch`.
    gc.set_threshold(100_000)
    try:
        from specgen import cli

        return cli.main()
    except KeyboardInterrupt:
        return 130
    finally:
        gc.freeze()  # at its exit, Python would look for cycles once more


if __name__ == "__main__":
    sys.exit(main())
