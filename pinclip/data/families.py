"""Generator name -> family: what is left out together when a FAMILY is left out.

A closed table, read from top to bottom; the first pattern found in the name decides. So a row may
lean on those above it: what is left of "stable diffusion" below "stable diffusion 3" is 1.x or 2.x.

    gan                    adversarial, whatever the year
    clip_optimised         pixels, latents or a GAN's input pushed up CLIP's score
    diffusion_2021         diffusion in pixel space: ADM, GLIDE, unCLIP, cascades
    latent_diffusion_2022  LDM, Stable Diffusion 1.x and 2.x, and what is tuned from them
    latent_diffusion_2023  SDXL and its contemporaries, still trained to predict noise
    autoregressive         image tokens drawn one after the other, or unmasked in steps
    flow_2024              transformers trained by rectified flow or flow matching
    closed                 sold as a service; architecture not published
    unknown                nobody says, or the name covers more than one family
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, get_args

Family = Literal[
    "gan",
    "clip_optimised",
    "diffusion_2021",
    "latent_diffusion_2022",
    "latent_diffusion_2023",
    "autoregressive",
    "flow_2024",
    "closed",
    "unknown",
]
FAMILIES: tuple[Family, ...] = get_args(Family)

_TABLE: tuple[tuple[Family, str], ...] = (
    # Named after what they contain, so before it.
    ("clip_optimised", r"(gan|siren) ?[+-] ?clip|deep-?daze|big-?sleep|aleph2?image"),
    ("latent_diffusion_2023", r"sdxl.*-(pony|tempest|noobai)|instantid|infinite-id|photomaker"),
    ("latent_diffusion_2022", r"glid-?3|\bdit-xl"),
    # Services. DALL-E 2, DALL-E mini and Stable Image are told apart here.
    ("autoregressive", r"dall-?e[ -]?mini|craiyon|min-?dalle|rudalle|^dall-?e$"),
    ("diffusion_2021", r"dall-?e[ -]?2"),
    ("closed", r"dall-?e[ -]?3|dall-?e \(chatgpt|gpt-?(image|4o)|chatgpt|stable-?image"),
    ("closed", r"nano-?banana|gemini|\bimagen|midjourney|\bmj[ -]?v?\d|ideogram|firefly|\bgrok"),
    ("closed", r"seedream|seededit|\bluma|recraft|\breve\b|leonardo\.ai|\bbing\b|kling|wombo"),
    # Adversarial. Some names of benchmarks are those of the task or of the site.
    ("gan", r"(?<!vq)gan(?![a-z])|pix2pix|whichfaceisreal|\bwfir\b|styleswin|styleswim"),
    ("gan", r"^(crn|imle|san|seeingdark|sitd|deepfake)$|faceswap|simswap|inswap|blendface|\be4s\b"),
    # Flow matching.
    ("flow_2024", r"flux|stable[ -]?diffusion[ -]?(v?3|3\.5)|\bsd[ -]?3|qwen-?image|z-?image"),
    ("flow_2024", r"hidream|auraflow|\bsana\b|chroma\b|lumina-?(image|next|2|$)|omnigen|\buno\b"),
    ("flow_2024", r"ominicontrol|\bwan(\b|\d)|hunyuan-?(image|video)|ernie-?image|cogview-?4"),
    ("flow_2024", r"kandinsky[ -]?5|f-lite|\banima\b|cosmos|longcat|fibo|firered|joyai|ovis-image"),
    ("flow_2024", r"krea|chronoedit|pony-v7|flex\.[12]|mage-flow|step1x|\bhdm\b|bagel|bria-?3\.2"),
    ("flow_2024", r"boogu|cenkrechro|nucleus-?image|unipic-?[23]|^(microsoft-)?lens(-turbo)?$"),
    # Tokens.
    ("autoregressive", r"janus|llamagen|infinity|\bvar\b|meissonic|amused|muse\b|\bparti\b|emu3"),
    ("autoregressive", r"show-o|cogview(?![ -]?[34])|lumina-mgpt|maskgit|\bmage\b|\bmar\b|vqgan"),
    # Latent diffusion after Stable Diffusion 2.
    ("latent_diffusion_2023", r"sd[ -]?xl|xl(?![a-z])|ssd-1b|sdxs|kandinsky[ -]?[23]|pixart"),
    ("latent_diffusion_2023", r"cascade|w[uü]rstchen|kolors|hunyuan-?dit|playground|cosxl"),
    ("latent_diffusion_2023", r"juggernaut-?(x|v1\d)|illustrious|noobai|cogview-?3|natvis"),
    ("latent_diffusion_2023", r"animeillustdiffusion-v0\d"),
    # Pixel space; before "diffusion" alone means Stable Diffusion.
    ("diffusion_2021", r"clip-?guided|disco|dt-diffusion|\badm\b|guided|deep-?floyd|\bif-i\b"),
    ("diffusion_2021", r"karlo|unclip|\bglide|\bddpm|improved-?diffusion|pix-?diff"),
    # Latent diffusion until Stable Diffusion 2, and checkpoints tuned from it.
    ("latent_diffusion_2022", r"\bldm|latent|\brdm\b|majesty|vq-?diffusion|vqdm|wukong|\bdit\b"),
    ("latent_diffusion_2022", r"stable[ -]?diffusion|\bsd\b|\bsd[ -]?v?[12]|\bsdv?[1245]|v1-5"),
    ("latent_diffusion_2022", r"dreamshaper[ -]8|facechain|majicmix|blip|ip-?adapter|openjourney"),
    ("latent_diffusion_2022", r"architecturerealmix|xsarchitectural|altdiffusion"),
    ("latent_diffusion_2022", r"van-?gogh-?diffusion|foto-assisted-diffusion"),
    ("latent_diffusion_2022", r"vae-ft-(mse|ema)-"),  # a decoder for Stable Diffusion 1 and 2 alone
)
_PATTERNS = tuple((family, re.compile(pattern)) for family, pattern in _TABLE)
_SEVERAL = re.compile(r" / | \+ |, ")
"""What stands between the names of several generators."""


@cache
def family(generator: str) -> Family:
    """Return the family of a generator's name; "unknown" where it names none, or two.

    A name of several generators ("sdxl base / flux.1-dev mix") has a family only if all that are
    known share it: nobody says which of them made an image.
    """
    name = re.sub(r"\s+", " ", generator.replace("_", "-").lower()).strip()
    found = {known for part in _SEVERAL.split(name) if (known := _one(part)) != "unknown"}
    return found.pop() if len(found) == 1 else "unknown"


def _one(name: str) -> Family:
    return next((known for known, pattern in _PATTERNS if pattern.search(name)), "unknown")
