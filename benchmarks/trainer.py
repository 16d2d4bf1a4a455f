"""What does a training step cost? `python benchmarks/trainer.py`.

LoRA of rank 8 on q, k, v of blocks 9 to 12, class tokens of blocks 6 to 12 read, drawn images:

    forward        the whole tower, no gradient
    step           forward, backward, update, from images
    kept step      the same from kept activations: tokens after block 8

Images a second, medians of ROUNDS, taking turns; the ratios are the point. Prints one JSON line.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

import torch
from torch.optim import AdamW

from pinclip import losses, runs, start
from pinclip.recipe import Adapter, Model, Noise, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinclip.model import PinClip, Prefix

BATCH = 8
ROUNDS = 3


def main() -> int:
    """Measure and print."""
    how = Recipe(
        name="trainer",
        model=Model(adapter=Adapter(kind="lora")),
        noise=Noise(kind="gaussian", site="S1"),
    )
    model = start.make(runs.shipped_tower().visual, how).train()
    images = torch.randn(BATCH, 3, 224, 224)
    kept = model.prefix(images)
    adam = AdamW([p for group in model.trainable().values() for p in group])
    work: dict[str, Callable[[], object]] = {
        "forward": lambda: model.score(images),
        "step": lambda: _step(model, images, adam),
        "kept step": lambda: _step(model, kept, adam),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(ROUNDS + 1):
        for name, run in work.items():
            began = time.perf_counter()
            run()
            if turn:  # the first is a warm-up
                times[name].append(time.perf_counter() - began)
    rates = {name: BATCH / statistics.median(taken) for name, taken in times.items()}
    print(
        json.dumps(
            {
                "name": "trainer",
                "batch": BATCH,
                "threads": torch.get_num_threads(),
                "images a second": {name: round(rate, 2) for name, rate in rates.items()},
                "step over forward": round(rates["step"] / rates["forward"], 3),
                "kept over step": round(rates["kept step"] / rates["step"], 2),
            }
        )
    )
    return 0


def _step(model: PinClip, inputs: torch.Tensor | Prefix, adam: AdamW) -> None:
    y = torch.arange(BATCH) % 2
    adam.zero_grad()
    found = model(inputs, gate=1.0)
    loss = losses.clean(found.clean_each, y, 0.05)
    if found.noisy_each is not None:
        loss = loss + losses.pi(found.noisy_each, y, 0.05)
    torch.autograd.backward(loss)
    adam.step()


if __name__ == "__main__":
    sys.exit(main())
