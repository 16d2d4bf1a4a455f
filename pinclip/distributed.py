"""One process or several: who does which share, and how their sums meet.

    torchrun --nproc-per-node N -m pinclip train ...      N processes on each host
         |  join     rank, number, device (NCCL between GPUs, gloo between CPUs)
         v
    each takes whole parts of a batch  ->  gradients  --one sum over all-->  the same step in each

What is trained is a few MB, so gradients go in one flat all-reduce after the last part: the sum
that DistributedDataParallel makes, without its hooks. One process needs no library of this and
takes the same path. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: one may be the last to fill a cache of activations."""


class DeviceError(Exception):
    """A device that was asked for and is not there, or a number of processes that cannot share."""


@dataclass(frozen=True, kw_only=True)
class World:
    """This process: its number (from 0), how many there are, its device."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return which of `count` parts this process computes; raises DeviceError if uneven."""
        if count % self.size:
            raise DeviceError(
                f"optimise.accumulate is {count} and there are {self.size} processes: a batch is "
                "cut into that many parts and processes take whole parts, so let it be a multiple."
            )
        return range(self.rank, count, self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, the same in each; in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the tensors of the first, in place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def join(device: str = "auto") -> Iterator[World]:
    """Yield this process's place; joins the others where torchrun started several.

    Raises DeviceError if `device` (auto, cpu, cuda) is not there.
    """
    kind = _kind(device)
    if not distributed.is_torchelastic_launched():
        yield World(device=torch.device(kind))
        return
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(
            rank=distributed.get_rank(),
            size=distributed.get_world_size(),
            device=_own_device(kind),
        )
    finally:
        distributed.destroy_process_group()


def sum_gradients(parameters: Sequence[Tensor], facts: Tensor, world: World) -> Tensor:
    """Sum the gradients over all processes, in place, and `facts` (a vector) in the same trip.

    Returns the sums of `facts`. A parameter without a gradient keeps none if no process has one.
    """
    if world.size == 1:
        return facts
    has = facts.new_tensor([float(each.grad is not None) for each in parameters])
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    parts = [has, facts, *(grad.flatten() for grad in grads)]
    flat = world.sum(torch.cat(parts))
    has, facts, *found = torch.split(flat, [len(part) for part in parts])
    for parameter, is_used, grad in zip(parameters, has.tolist(), found, strict=True):
        parameter.grad = grad.view_as(parameter).clone() if is_used else None
    return facts


def gains_from_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is faster there: recent GPUs, and CPUs with units for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def _kind(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device {device!r} is not known: auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "cuda was asked for, but torch sees no CUDA device: check the driver and that torch "
            f"was installed for CUDA (this one is {torch.__version__}), or take --device cpu."
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _own_device(kind: str) -> torch.device:
    if kind == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", distributed.get_node_local_rank(fallback_rank=0))
    torch.cuda.set_device(device)
    return device
