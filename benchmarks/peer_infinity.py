"""Our tower as infinity-emb loads it: a folder in the format of transformers, made when measured.

    weights --save--> folder --infinity_emb v2--> POST /embeddings_image --> (512,), unit length
       |                                                                        |
       '------embed, in this process--> (512,), unit length ------ check: cosine over ALIKE

No code of this project runs in infinity-emb's process: it is started as its manual says, with all
that is not in SETTINGS as it comes. It answers with an embedding, so it is spared the JPEG pass,
the head and the records that a scan has. The text tower that the format wants is one small layer
of random weights, and is never asked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from pinclip.preprocess import PREPROCESSING, transform
from pinclip.weights import EMBED, HEADS, LAYERS, PATCH, SIZE, WIDTH, Base, open_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

ALIKE = 0.999
"""Two embeddings with a cosine above this are of one tower; pictures are rounded to 8 bits."""
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "INFINITY_MEDIA_URL_BLACKLIST": "",  # it refuses loopback, where the pictures are
}
"""Environment variables of its server."""
RENAMED = {
    "transformer.resblocks.": "encoder.layers.",
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.": "embeddings.patch_embedding.",
    "ln_pre.": "pre_layrnorm.",  # spelt so in transformers
    "ln_post.": "post_layernorm.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.": "self_attn.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
"""Parts of open_clip's names, and what transformers calls them."""
TOKENS = ("<|startoftext|>", "<|endoftext|>")


def save(folder: Path) -> None:
    """Write all that transformers wants of a CLIP model into the folder: 345 MB."""
    tensors = dict(renamed(open_weights().base()))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in _described().items():
        (folder / name).write_text(json.dumps(content))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def renamed(base: Base) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the tower's tensors, float32, the adapter's change included, as transformers names."""
    for name in base.names():
        values, at = base.tensor(name), f"vision_model.{_theirs(name)}"
        if name == "proj":
            yield "visual_projection.weight", np.ascontiguousarray(values.T)
        elif ".in_proj_" in at:
            for part, rows in zip("qkv", np.split(values, 3), strict=True):
                yield at.replace(".in_proj_", f".{part}_proj."), np.ascontiguousarray(rows)
        else:
            yield at, values


def check(embedding: list[float], own: NDArray[np.float32]) -> float:
    """Return the cosine of infinity-emb's embedding of a picture to the tower's own, (512,) each.

    Raises RuntimeError unless it is above ALIKE: then another tower was measured.
    """
    cosine = float(np.dot(own, embedding))
    if not cosine > ALIKE:
        raise RuntimeError(f"it does not run our tower: cosine {cosine:.6f}, over {ALIKE} expected")
    return cosine


def embed(image: Image.Image) -> NDArray[np.float32]:
    """Return the tower's embedding of an RGB picture, prepared as CLIP does: (512,), length 1."""
    import torch

    from pinclip.tower import image_tower

    pixels = torch.from_numpy(transform(image, PREPROCESSING)[None])
    with torch.inference_mode():
        found: NDArray[np.float32] = image_tower(open_weights().base())(pixels)[0].numpy()
    return found / np.float32(np.linalg.norm(found))


def _theirs(name: str) -> str:
    for ours, theirs in RENAMED.items():
        name = name.replace(ours, theirs)
    return name


def _described() -> dict[str, Any]:
    """Return the files besides the tensors, by name: the towers, the preprocessing, two tokens."""
    how = PREPROCESSING
    return {
        "config.json": {
            "model_type": "clip",
            "architectures": ["CLIPModel"],
            "projection_dim": EMBED,
            "vision_config": {
                "hidden_size": WIDTH,
                "intermediate_size": 4 * WIDTH,
                "num_hidden_layers": LAYERS,
                "num_attention_heads": HEADS,
                "image_size": SIZE,
                "patch_size": PATCH,
                "hidden_act": "quick_gelu",
            },
            "text_config": {
                "vocab_size": len(TOKENS),
                "hidden_size": 8,
                "intermediate_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 1,
            },
        },
        "preprocessor_config.json": {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": how.size},
            "crop_size": {"height": how.size, "width": how.size},
            "resample": 3,
            "image_mean": how.mean,
            "image_std": how.std,
        },
        "tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer"},
        "vocab.json": {token: number for number, token in enumerate(TOKENS)},
    }
