"""The job of a plain RQ worker, which forks for each: load the model, score one image, end."""

from __future__ import annotations

import io
import urllib.request


def score(url: str) -> float:
    """Return the score of the image at the URL. Imports and loads anew, as every fork must."""
    from PIL import Image

    from pinclip.detector import load

    model = load(engine="torch", precision="float32")
    with urllib.request.urlopen(url) as answer:
        return model.predict([Image.open(io.BytesIO(answer.read()))])[0].score
