"""PinClip: CLIP's image tower, what of it is tuned, the noise, and the head. One forward pass.

    images (B, 3, S, S)
      |  prefix            frozen blocks 1..cut, no gradient       may be kept (Prefix)
      |  blocks            cut+1..last, some tuned                 adapters.py
      |      S2(k)         + g eps, one for all tokens             after block k
      |  class tokens of the blocks that are read
      |      embedding     u = LN(class), z = rms(u W_p)           S1: u + g eps; S0: z + g eps
      |      class_tokens  LN each, joined, standardised           S1: + g eps
      v  head              one logit a member                      higher = more likely AI
    Pass (clean, noisy, noise)

Symbols and equations: docs/method.md. Knows no labels (but for A4-VPN, the ablation that leaks
them), no losses, no files.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from . import adapters
from . import noise as noises
from .head import Head
from .noise import Noise, NoiseGenerator
from .plan import Plan, plan
from .recipe import Recipe, RecipeError
from .tower import class_only

if TYPE_CHECKING:
    from collections.abc import Iterator

    from open_clip.transformer import VisionTransformer

Mode = Literal["off", "mean", "mc"]


class Prefix(NamedTuple):
    """What the frozen part of the tower made of B images; may be kept, in any float type.

    tokens (B, T, width) after block `plan.cut`, None where no block comes after it. classes
    (B, n, width): raw class tokens of the blocks in `plan.prefix_blocks`, in that order.
    """

    tokens: Tensor | None
    classes: Tensor


class Pass(NamedTuple):
    """Logits of B images: clean (B,) and under n draws noisy (n, B), averaged over the members.

    `clean_each` (members, B) and `noisy_each` (n, members, B) are what each member says: a loss
    on these trains the members side by side, a loss on the averages as one. Without noise (kind
    none, or gate 0) noisy, noisy_each and noise are None.
    """

    clean: Tensor
    noisy: Tensor | None
    noise: Noise | None
    clean_each: Tensor
    noisy_each: Tensor | None


class _Seen(NamedTuple):
    """One clean pass: tokens at the site S2(k) (or None), class tokens before it and in all."""

    site: Tensor | None
    before: Tensor
    classes: Tensor


class PinClip(nn.Module):
    """The detector as it is trained. Call `.to(device)` after making it, wherever the tower is.

    `visual` is open_clip's VisionTransformer with class-token pooling, of any size. Its tensors
    are frozen and shared, but for the blocks that are tuned, which are copied: one tower can serve
    many models, on one device and in one number format. bank (M, c) as `bank.prepare` makes it,
    for noise of kind mean or learned. The start is fixed by recipe and seed. Raises RecipeError
    for what does not fit the tower.
    """

    def __init__(self, visual: VisionTransformer, how: Recipe, bank: Tensor | None) -> None:
        super().__init__()
        _expect_plain(visual)
        self.how = how
        self.width, embed = visual.proj.shape
        layers = len(visual.transformer.resblocks)
        self.plan: Plan = plan(
            how, layers=layers, width=self.width, embed=embed, has_bank=bank is not None
        )
        self.is_merged = False
        self.visual: Any = _sharing(visual, self.plan.tuned).requires_grad_(False).eval()
        with _drawn_from(how.seed, 1):
            for block in self.plan.tuned:
                adapters.attach(self._block(block).attn, how=how.model.adapter)
        with _drawn_from(how.seed, 2):
            self.head = Head(
                self.plan.read_width,
                hidden=how.model.hidden,
                members=how.model.members,
                dropout=how.model.dropout,
            )
        self.generator: NoiseGenerator | None = None
        if bank is not None and how.noise.kind in ("mean", "learned"):
            with _drawn_from(how.seed, 3):
                self.generator = NoiseGenerator(
                    self.plan.noise_width, bank, how.noise, query_width=self.plan.query_width
                )

    @property
    def read_width(self) -> int:
        """Width D of what the head reads."""
        return self.plan.read_width

    def prefix(self, images: Tensor) -> Prefix:
        """(B, 3, S, S) -> everything before the first tuned or noised block, without gradient."""
        with torch.no_grad():
            tokens, classes = self._run(self.visual._embeds(images), after=0, upto=self.plan.cut)
            if self.plan.cut in self.plan.reads and self.plan.cut == self.plan.site:
                classes.pop()  # the noise reaches it: it is tokens[:, 0]
            is_over = self.plan.cut == self.plan.last and self.plan.site is None
            return Prefix(None if is_over else tokens, _stack(classes, tokens))

    def forward(
        self,
        inputs: Tensor | Prefix,
        *,
        gate: float = 0.0,
        draws: int = 1,
        rng: torch.Generator | Sequence[int] | None = None,
        told: Tensor | None = None,
    ) -> Pass:
        """Images (B, 3, S, S) or their prefix -> logits, clean and under `draws` draws of noise.

        `gate` is g of method 1.6; `rng` draws the noise: a generator, or a seed for each image so
        that batches and processes do not matter. The noise generator's query is detached. `told`
        (B,) are the labels of A4-VPN (noise.sees_label), the ablation that leaks them; no other
        model takes any. Raises ValueError where `told` is missing or unwanted.
        """
        with parametrize.cached():  # W' once a pass, so one dropout of its rank directions
            seen = self._see(inputs)
            clean = self._read(seen.classes)
            if gate == 0 or self.how.noise.kind == "none":
                return Pass(clean.mean(dim=0), None, None, clean, None)
            noise = self._noise(seen, told)
            drawn = noises.against(noise) if self.how.noise.adversarial else noise
            noisy = self._noisy(seen, gate * noises.sample(drawn, draws, rng))
        return Pass(clean.mean(dim=0), noisy.mean(dim=1), noise, clean, noisy)

    @torch.no_grad()
    def score(
        self,
        inputs: Tensor | Prefix,
        *,
        mode: Mode = "off",
        draws: int = 16,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Images or their prefix -> logits (B,), higher = more likely AI (method 1.7).

        off: no noise. mean: its mean is added. mc: the mean logit over `draws` draws, image i
        drawn from seeds[i] (`noise.pixel_seed` of its pixels). A4-VPN tries both labels: the sign
        of the mean of its two logits is VPN's argmax_k q(k | x, eps_k). Raises ValueError.
        """
        was_training = self.training
        self.eval()
        try:
            with parametrize.cached():
                seen = self._see(inputs)
                if mode == "off":
                    return self._read(seen.classes).mean(dim=0)
                if self.how.noise.kind == "none":
                    raise ValueError(f'mode is "{mode}" but the recipe has no noise: use "off".')
                found = [
                    self._shifted(seen, noise, mode, draws, seeds) for noise in self._tried(seen)
                ]
                return torch.stack(found).mean(dim=0)
        finally:
            self.train(was_training)

    def features(self, inputs: Tensor | Prefix) -> Tensor:
        """Return what the head reads, before it is standardised: (B, D) float32."""
        return self._features(self._see(inputs).classes)

    def embedding(self, inputs: Tensor | Prefix) -> Tensor:
        """Return z in units of its RMS, (B, d): what centroids are made of (method 1.1).

        Raises ValueError for a recipe that does not run the last block.
        """
        return self._z(self._see(inputs).classes)

    def set_standardisation(self, mean: Tensor, scale: Tensor) -> None:
        """Fix what the head subtracts and divides by: (D,) each, of the TRAINING features."""
        self.head.mean.copy_(mean)
        self.head.scale.copy_(scale)

    def set_bank(self, bank: Tensor) -> None:
        """Replace the generator's bank, (M, c) of the shape it was made with.

        For centroids, which need this model's own `embedding`: make it with zeros, then set them.
        """
        if self.generator is not None:
            self.generator.bank.copy_(bank)

    def trainable(self) -> dict[Literal["adapter", "noise", "head"], list[nn.Parameter]]:
        """Return what is trained, by the rate it is trained at; frozen parts are in none."""
        return {
            "adapter": [p for part in self.adapters().values() for p in part.parameters()],
            "noise": [] if self.generator is None else list(self.generator.parameters()),
            "head": list(self.head.parameters()),
        }

    def undecayed(self) -> list[nn.Parameter]:
        """Return what weight decay must leave alone: B of LoRA (method 1.6)."""
        parts = self.adapters().values()
        return [part.up for part in parts if isinstance(part, adapters.LowRank)]

    def merge(self) -> None:
        """Write the adapters into the tower: scores stay, and `visual` is a plain tower then.

        For scoring and export; there is nothing left to train or to keep in `trained_state`.
        """
        self.eval()
        for block in () if self.is_merged else self.plan.tuned:
            adapters.merge(self._block(block).attn)
        self.is_merged = True

    def trained_state(self) -> dict[str, Tensor]:
        """Return adapter.BLOCK.*, noise.* (with the bank) and head.* - not the tower."""
        return {
            f"{prefix}.{name}": tensor.detach()
            for prefix, part in self._parts().items()
            for name, tensor in part.state_dict().items()
        }

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what `trained_state` gave; raises RecipeError if it is of another model."""
        mine = {name: tensor.shape for name, tensor in self.trained_state().items()}
        given = {name: tensor.shape for name, tensor in state.items()}
        differing = sorted(n for n in mine.keys() | given.keys() if mine.get(n) != given.get(n))
        if differing:
            raise RecipeError(
                f"The state is of another recipe or tower: {', '.join(differing[:4])} are missing, "
                "unknown or of another shape. Load it with the recipe.toml it was saved beside."
            )
        for prefix, part in self._parts().items():
            names = part.state_dict()
            part.load_state_dict({name: state[f"{prefix}.{name}"] for name in names})

    def train(self, mode: bool = True) -> Self:
        """Switch dropout of head and adapters; the frozen tower always works as in inference."""
        super().train(mode)
        self.visual.eval()
        for part in self.adapters().values():
            part.train(mode)
        return self

    # Blocks

    def _block(self, number: int) -> Any:
        return self.visual.transformer.resblocks[number - 1]

    def _run(self, tokens: Tensor, *, after: int, upto: int) -> tuple[Tensor, list[Tensor]]:
        """Run blocks after+1..upto; return the tokens and the class tokens that are read."""
        found = []
        for number in range(after + 1, upto + 1):
            is_last = number == self.plan.last and number != self.plan.site
            run = class_only if is_last else _whole
            tokens = run(self._block(number), tokens)
            if number in self.plan.reads:
                found.append(tokens[:, 0])
        return tokens, found

    def _see(self, inputs: Tensor | Prefix) -> _Seen:
        given = inputs if isinstance(inputs, Prefix) else self.prefix(inputs)
        early = list(given.classes.float().unbind(dim=1))
        if given.tokens is None:
            return _Seen(None, given.classes.float(), given.classes.float())
        tokens, found = self._run(
            given.tokens.float(), after=self.plan.cut, upto=self.plan.site or self.plan.last
        )
        if self.plan.site is None:
            classes = _stack([*early, *found], tokens)
            return _Seen(None, classes, classes)
        if self.plan.site in self.plan.reads and self.plan.site > self.plan.cut:
            found.pop()
        before = _stack([*early, *found], tokens)
        return _Seen(tokens, before, self._rest(before, tokens))

    def _rest(self, before: Tensor, site: Tensor) -> Tensor:
        """Go on from the tokens at S2(k): all class tokens that are read, (B, n, width)."""
        at = self.plan.site or 0
        first = [site[:, 0]] if at in self.plan.reads else []
        _, found = self._run(site, after=at, upto=self.plan.last)
        return torch.cat([before, _stack([*first, *found], site)], dim=1)

    # What is read

    def _u(self, classes: Tensor) -> Tensor:
        """Class tokens (B, n, width) -> u (B, width), of the last block (method 1.1)."""
        if self.plan.last != self.plan.layers:
            raise ValueError(
                f"The recipe runs {self.plan.last} of {self.plan.layers} blocks, but the embedding "
                "is that of the last: add it to model.blocks."
            )
        with _exact(classes):
            u: Tensor = self.visual.ln_post(classes[:, -1].float())
        return u

    def _z(self, classes: Tensor) -> Tensor:
        with _exact(classes):
            return _rms(self._u(classes) @ self.visual.proj)

    def _features(self, classes: Tensor) -> Tensor:
        if self.how.model.features == "embedding":
            return self._z(classes)
        chosen = [self.plan.reads.index(block) for block in self.how.model.blocks]
        return functional.layer_norm(classes[:, chosen].float(), (self.width,)).flatten(1)

    def _read(self, classes: Tensor) -> Tensor:
        """Class tokens -> logits of each member, (members, B)."""
        return self._judge(self.head.standardise(self._features(classes)))

    def _judge(self, standardised: Tensor) -> Tensor:
        with _exact(standardised):
            logits: Tensor = self.head(standardised)
        return logits

    # Noise

    def _noise(self, seen: _Seen, told: Tensor | None) -> Noise:
        if (told is not None) != self.how.noise.sees_label:
            raise ValueError(
                f"noise.sees_label is {self.how.noise.sees_label}: labels are "
                f"{'wanted' if told is None else 'not taken'} (`told`, for A4-VPN only)."
            )
        if self.generator is None:
            return noises.gaussian(
                len(seen.classes),
                self.plan.noise_width,
                sigma_0=self.how.noise.sigma_0,
                device=seen.classes.device,
            )
        query = self._query(seen).detach()
        with _exact(query):
            noise: Noise = self.generator(query if told is None else noises.mark_label(query, told))
        return noise

    def _query(self, seen: _Seen) -> Tensor:
        return self._z(seen.classes) if seen.site is None else _rms(seen.site[:, 0].float())

    def _noisy(self, seen: _Seen, eps: Tensor) -> Tensor:
        """Logits (n, members, B) with eps (n, B, d) added at the recipe's site (method 1.5)."""
        if seen.site is not None:
            site, scale = seen.site, _scale(seen.site)
            moved = [site + (scale * one[:, None]).to(site.dtype) for one in eps]
            return torch.stack([self._read(self._rest(seen.before, tokens)) for tokens in moved])
        features = self._features(seen.classes)
        if self.how.noise.site == "S0":
            return self._judge(self.head.standardise(features + eps))
        if self.how.model.features == "class_tokens":
            return self._judge(self.head.standardise(features) + eps)
        with _exact(eps):
            z = _rms((_rms(self._u(seen.classes)) + eps) @ self.visual.proj)
        return self._judge(self.head.standardise(z))

    def _tried(self, seen: _Seen) -> list[Noise]:
        """The noise of the images, or for A4-VPN that of either label."""
        if not self.how.noise.sees_label:
            return [self._noise(seen, None)]
        size, device = len(seen.classes), seen.classes.device
        return [self._noise(seen, torch.full((size,), k, device=device)) for k in (0, 1)]

    def _shifted(
        self, seen: _Seen, noise: Noise, mode: Mode, draws: int, seeds: Sequence[int] | None
    ) -> Tensor:
        if mode == "mean":
            eps = noise.mean[None]
        elif seeds is None or len(seeds) != len(seen.classes):
            raise ValueError(
                f"mode mc needs a seed for each of {len(seen.classes)} images, not "
                f"{None if seeds is None else len(seeds)}: see noise.pixel_seed."
            )
        else:
            eps = noises.sample(noise, draws, seeds)
        return self._noisy(seen, eps).mean(dim=(0, 1))

    def adapters(self) -> dict[int, nn.Module]:
        """Return the adapter of each tuned block; none once they are merged."""
        tuned = () if self.is_merged else self.plan.tuned
        return {block: adapters.attached(self._block(block).attn) for block in tuned}

    # Parts

    def _parts(self) -> dict[str, nn.Module]:
        parts = {f"adapter.{block}": part for block, part in self.adapters().items()}
        if self.generator is not None:
            parts["noise"] = self.generator
        return {**parts, "head": self.head}


def _expect_plain(visual: VisionTransformer) -> None:
    if visual.attn_pool is not None or visual.pool_type != "tok" or visual.proj is None:
        raise RecipeError(
            f"The tower pools by {visual.pool_type!r}: a class token and a projection are needed, "
            "as CLIP's own ViT-B/16 and ViT-L/14 have them."
        )


def _sharing(visual: VisionTransformer, copied: Sequence[int]) -> VisionTransformer:
    """Return a tower of the same tensors, but for the blocks that are to be copied."""
    blocks = visual.transformer.resblocks
    own = {id(p) for number in copied for p in blocks[number - 1].parameters()}
    shared: dict[int, Any] = {id(p): p for p in visual.parameters() if id(p) not in own}
    return copy.deepcopy(visual, shared)


def _whole(block: Any, tokens: Tensor) -> Tensor:
    found: Tensor = block(tokens)
    return found


def _stack(classes: Sequence[Tensor], like: Tensor) -> Tensor:
    """[(B, width)] * n -> (B, n, width), also for n = 0."""
    if not classes:
        return like.new_empty(len(like), 0, like.shape[-1])
    stacked: Tensor = torch.stack(list(classes), dim=1)
    return stacked


def _rms(x: Tensor) -> Tensor:
    """sqrt(d) x / ||x||: coordinates in units of their RMS (method 1.1)."""
    scaled: Tensor = functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5
    return scaled


def _scale(tokens: Tensor) -> Tensor:
    """Median over an image's tokens of a token's RMS, (B, 1, 1): the unit of noise at S2.

    Not the mean: a few tokens of a ViT are far larger than the rest (2309.16588). In CLIP B/16
    after block 8 they make it nearly four times that of the class token; the median is alike.
    """
    each = tokens.detach().float().square().mean(dim=2).sqrt()
    scale: Tensor = each.median(dim=1).values[:, None, None]
    return scale


def _exact(like: Tensor) -> torch.autocast:
    """Float32 whatever autocast is on: the parts after the tower are small."""
    return torch.autocast(like.device.type, enabled=False)


@contextmanager
def _drawn_from(seed: int, part: int) -> Iterator[None]:
    """Draw a part's start from its own seed: it is the same whatever other parts there are."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1000 * seed + part)
        yield
