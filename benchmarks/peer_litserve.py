"""What a user would build with LitServe: the same model, batches of up to 8. Served on a port.

    POST /predict {"url": ...} -> {"score": ...}

Runs in LitServe's own environment, which sees this project's packages too.
"""

from __future__ import annotations

import io
import sys
import urllib.request
from typing import Any

import litserve
import numpy as np
from PIL import Image

from pinclip.detector import load
from pinclip.preprocess import to_rgb

BATCH = 8
WAIT_SECONDS = 0.05


class Api(litserve.LitAPI):
    """Fetch, decode, prepare; forward; score."""

    def setup(self, device: str) -> None:
        """Load the model, once in the worker process."""
        del device
        self.model = load(engine="torch", precision="float32", batch_limit=BATCH)

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        """Return the array of the image at the URL."""
        with urllib.request.urlopen(request["url"]) as answer:
            return self.model.prepare(to_rgb(Image.open(io.BytesIO(answer.read()))))

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Join the arrays of several requests."""
        return np.stack(inputs)

    def predict(self, batch: np.ndarray) -> list[Any]:
        """Return a reading for each."""
        return self.model.finish(self.model.forward(batch))

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Give each request its own."""
        return output

    def encode_response(self, output: Any) -> dict[str, float]:
        """Return what is sent back."""
        return {"score": output.score}


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False
    )
