"""pinclip.data.families: which generators are left out together."""

from __future__ import annotations

import pytest

from pinclip.data.families import FAMILIES, family

NAMES = {
    "gan": (
        "stylegan2-ada-ffhq, biggan-deep, r3gan, progan, ProGAN, StyleGAN-XL, cyclegan, gaugan, "
        "whichfaceisreal, WFIR, StyleSwim, BlendFace, crn, imle, san, deepfake, pix2pix"
    ),
    "clip_optimised": "vqgan+clip, vqgan-clip, big-sleep (biggan+clip), deep-daze (siren+clip)",
    "diffusion_2021": (
        "dalle-2, DALLE2, karlo (unclip), disco diffusion, clip-guided-diffusion (adm), ADM, "
        "guided, glide_100_27, Glide, deepfloyd if"
    ),
    "latent_diffusion_2022": (
        "latent diffusion (ldm), ldm_200_cfg, sd, sd-1.x, sd1.5-controlnet, sdv1.4, "
        "stable_diffusion_v_1_5, Stable Diffusion V1.4, stable diffusion 2.1, "
        "stabilityai/stable-diffusion-2, runwayml/stable-diffusion-v1-5, rdm, glid-3-xl, VQDM, "
        "wukong, majesty diffusion, comfy v1-5-pruned-emaonly-fp16.safetensors, BLIP, "
        "comfy vanGoghDiffusion_v1.ckpt, comfy FAD-foto-assisted-diffusion_V0.safetenso, "
        "comfy vae-ft-mse-840000-ema-pruned.ckpt"
    ),
    "latent_diffusion_2023": (
        "sdxl, SDXL, sdxl-turbo, stabilityai/stable-diffusion-xl-base-1.0, kandinsky 3, pixart, "
        "stable-cascade, kolors, hunyuan-dit, playground-v2, comfy sd_xl_base_1.0.safetensors, "
        "comfy juggernautXL_9.safetensors, sdxl-pony, InstantID, "
        "natvisV10, comfy animeIllustDiffusion_v08.safetensors"
    ),
    "autoregressive": (
        "dall-e mini, dalle, janus-pro, llamagen, infinity (bitwise var), meissonic, amused"
    ),
    "flow_2024": (
        "flux-dev, FLUX1-dev, flux.2-klein, sd3-medium, SD3, sd-3.5, qwen-image-edit, z-image, "
        "hidream, sana, auraflow, chroma, omnigen, wan2.2, uno (flux.1), kandinsky 5, cogview4, "
        "boogu-image, cenkrechro, nucleus-image, unipic3, lens, microsoft-lens"
    ),
    "closed": (
        "midjourney-v4, Midjourney-V6, dalle-3, DALLE-3, dall-e (chatgpt), gpt-image-2, gpt-4o, "
        "nano-banana-pro, gemini-image, imagen, Imagen3, ideogram-3, firefly, grok, seedream-5, "
        "luma-photon, recraft, stable-image-ultra"
    ),
    "unknown": (
        ", unknown-diffusion, SocialRF, CommunityAI, comfy , bria, segmoe, canon-lens, "
        "comfy AnimeLineart_v10.ckpt, comfy architectureSketch_v10.safetensors, "
        "comfy lBChibiSketch_v10.safetensors, comfy toonify_remastered.safetensors"
    ),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [(name, expected) for expected, names in NAMES.items() for name in names.split(", ")],
)
def test_a_generator_is_of_its_family(name: str, expected: str) -> None:
    assert family(name) == expected


def test_every_family_has_an_example() -> None:
    assert tuple(sorted(NAMES)) == tuple(sorted(FAMILIES))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sdxl base / juggernautXL / flux.1-dev / sd1.5 mix", "unknown"),
        ("flux.1-dev (9 files) / fluxmania V, a flux finetune (4 files)", "flow_2024"),
        ("sd1.5 (vintedois, v1-5-pruned-emaonly)", "latent_diffusion_2022"),
        ("natvisV10 (finetune, base model not checked)", "latent_diffusion_2023"),
    ],
)
def test_a_name_of_several_has_a_family_only_if_they_share_it(name: str, expected: str) -> None:
    assert family(name) == expected
