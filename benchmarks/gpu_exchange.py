"""What the two directions of an exchange between two GPUs cost, in turn and at once.

torch copies on the stream of the source, and makes the target's stream wait. So the
generated `exchange` sends one way after the other. With a stream for each direction,
both are sent at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from gpu_bench import Bench


def measure(bench: Bench) -> Iterator[str]:
    """Yield how long the exchange before AlexNet's conv3 takes, in a sentence."""
    if len(bench.gpus) < 2:
        yield "Not measured: this needs two GPUs."
        return
    count, model = bench.batches[-1], bench.folders["alexnet"].model
    devices = [torch.device(name) for name in bench.gpus[:2]]
    shares = [torch.randn(count, 128, 13, 13, device=device) for device in devices]
    streams = [torch.cuda.Stream(d) for d in devices]  # type: ignore[no-untyped-call]

    def at_once() -> None:
        sent = []
        for share, stream, to in zip(shares, streams, devices[::-1], strict=True):
            stream.wait_stream(torch.cuda.current_stream(share.device))
            with torch.cuda.stream(stream):  # of the source; the target's is as before
                sent.append(share.to(to))
        for share, other in zip(shares, sent[::-1], strict=True):
            torch.cat([share, other], dim=1)

    in_turn = bench.seconds(lambda: model.exchange(*shares))
    both = bench.seconds(at_once)
    yield (
        f"Each of two GPUs sends {shares[0].nbytes / 1e6:.1f} MB to the other: "
        f"{in_turn * 1e3:.2f} ms as generated, {both * 1e3:.2f} ms with a stream for "
        "each direction."
    )
