"""What a recipe asks of a tower: which blocks are frozen, tuned, noised and read.

    blocks   1 ..... cut | cut+1 ......... last | last+1 ... layers
             the prefix  |  tuned or noised     |  never run
             (kept)      |  (run at each step)  |

Pure: from a recipe and the tower's sizes to a Plan, or to everything that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .recipe import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Blocks count from 1; widths are numbers of coordinates.

    `reads` are the blocks whose class tokens are needed, ascending; `site` is k of S2(k), None at
    S0 and S1; `cut` is the last block before the first that is tuned or noised.
    """

    layers: int
    reads: tuple[int, ...]
    tuned: tuple[int, ...]
    site: int | None
    read_width: int
    """D: what the head reads."""
    noise_width: int
    """d of the noise at the recipe's site."""
    query_width: int
    """What the noise generator sees: z, or the class token at S2."""

    @property
    def last(self) -> int:
        """The last block that is run."""
        return self.reads[-1]

    @property
    def cut(self) -> int:
        """The last block of the prefix."""
        return min(self.last, *(block - 1 for block in self.tuned[:1]), self.site or self.last)

    @property
    def prefix_blocks(self) -> tuple[int, ...]:
        """Blocks whose class tokens the prefix holds; that of S2 itself is among its tokens."""
        return tuple(block for block in self.reads if block <= self.cut and block != self.site)


def plan(how: Recipe, *, layers: int, width: int, embed: int, has_bank: bool) -> Plan:
    """Return what `how` asks of a tower; raises RecipeError with every way they do not fit."""
    faults = [text for is_wrong, text in _faults(how, layers, width, has_bank) if is_wrong]
    if faults:
        raise RecipeError(f"The recipe {how.name!r} cannot be built: " + " ".join(faults))
    is_embedding = how.model.features == "embedding"
    read_width = embed if is_embedding else width * len(how.model.blocks)
    is_joined = how.noise.site == "S1" and not is_embedding
    return Plan(
        layers=layers,
        reads=_reads(how, layers),
        tuned=_tuned(how),
        site=_site(how),
        read_width=read_width,
        noise_width={"S0": embed}.get(how.noise.site, read_width if is_joined else width),
        query_width=embed if _site(how) is None else width,
    )


def _faults(how: Recipe, layers: int, width: int, has_bank: bool) -> Iterator[tuple[bool, str]]:
    noise, tuned, site = how.noise, _tuned(how), _site(how)
    is_joined = how.model.features == "class_tokens"
    if is_joined and not how.model.blocks:
        yield True, "model.blocks is empty: name the blocks whose class tokens are read."
        return
    named = {*(how.model.blocks if is_joined else ()), *tuned, *([] if site is None else [site])}
    beyond = sorted(block for block in named if block > layers)
    yield bool(beyond), f"Blocks {beyond} do not exist: the tower has {layers}."
    last = _reads(how, layers)[-1]
    late = sorted(block for block in tuned if block > last)
    yield bool(late), f"adapter.blocks {late} come after block {last}, the last that is read."
    yield site is not None and site > last, f"noise.block must be at most {last}, the last read."
    is_wide = bool(tuned) and how.model.adapter.rank > width
    yield is_wide, f"adapter.rank must be at most {width}, the tower's width."
    is_astray = noise.kind != "none" and noise.site == "S0" and is_joined
    yield is_astray, 'noise.site S0 is the embedding: features = "embedding", or site S1 or S2.'
    is_learned = noise.kind == "learned"
    yield noise.adversarial and not is_learned, 'noise.adversarial needs noise.kind = "learned".'
    yield noise.sees_label and not is_learned, 'noise.sees_label needs noise.kind = "learned".'
    yield _is_made(how) and not has_bank, f'noise.kind = "{noise.kind}" needs a bank (bank.py).'


def _is_made(how: Recipe) -> bool:
    """Return whether a generator makes the noise."""
    return how.noise.kind in ("mean", "learned")


def _tuned(how: Recipe) -> tuple[int, ...]:
    adapter = how.model.adapter
    return () if adapter.kind == "none" else tuple(sorted(set(adapter.blocks)))


def _site(how: Recipe) -> int | None:
    return how.noise.block if how.noise.kind != "none" and how.noise.site == "S2" else None


def _reads(how: Recipe, layers: int) -> tuple[int, ...]:
    """The head's blocks, and the last one where z is read or is the generator's query."""
    is_embedding = how.model.features == "embedding"
    blocks = () if is_embedding else how.model.blocks
    asks_z = is_embedding or (_is_made(how) and _site(how) is None)
    return tuple(sorted({*blocks, *([layers] if asks_z else [])}))
