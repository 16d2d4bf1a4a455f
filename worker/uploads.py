"""Reads what people uploaded, from the folder that server and worker share."""

from __future__ import annotations

import re
from pathlib import Path

from sdk.codes import ScanErrorCode

from .contract import UPLOAD_LIMIT_BYTES, upload_path
from .ports import Refusal

_ID = re.compile(r"upl_[0-9A-Za-z]{1,64}")


def read(state_dir: Path, upload_id: str) -> bytes:
    """Return the upload's bytes; raises Refusal where there are none or too many."""
    # The id came through Redis: nothing else of the disk may be named by it.
    if _ID.fullmatch(upload_id) is None:
        raise _gone(upload_id)
    try:
        with upload_path(state_dir, upload_id).open("rb") as file:
            data = file.read(UPLOAD_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise _gone(upload_id) from None
    if len(data) > UPLOAD_LIMIT_BYTES:
        raise Refusal(
            ScanErrorCode.FETCH_TOO_LARGE,
            f"The upload {upload_id} is larger than {UPLOAD_LIMIT_BYTES} bytes.",
        )
    return data


def _gone(upload_id: str) -> Refusal:
    return Refusal(
        ScanErrorCode.FETCH_NOT_FOUND,
        f"The upload {upload_id!r} is not kept any more: send the bytes again.",
    )
