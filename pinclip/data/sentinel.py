"""The bias sentinel: can AI be told from real without looking at the picture? (method 2.7, 2.8, 5)

    header of each image -> width, height, aspect, bytes per pixel, JPEG quality, encoding, mode
                         -> a small classifier, cross-validated by group -> AUC

If it can, a detector may learn that instead. Decodes no image.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .errors import DataError, UnreadableError
from .sets import ImageSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .manifest import Row

FEATURES = ("width", "height", "aspect", "bytes_per_pixel", "quality", "encoding", "mode")
LIMIT = 0.55
"""AUC above which a set is separable by its files alone (method 5)."""
_FOLDS = 5
_ENCODINGS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_MODES = ("RGB", "L", "RGBA", "P", "CMYK", "LA", "1")
_STANDARD = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
"""Luminance table of the JPEG standard, annex K, that qualities scale."""
_ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True)
class Audit:
    """How well files alone tell AI from real.

    `auc` is that of all features, `by_feature` of each alone, 0.5 being blind; `warning` is "" up
    to LIMIT. Both are of held-out groups.
    """

    auc: float
    by_feature: dict[str, float]
    images: int
    warning: str


def audit(images: ImageSet) -> Audit:
    """Return how far the set is separable without looking at a picture.

    Images whose header cannot be read are left out. Raises DataError one_class where fewer than
    two images of a class are left.
    """
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda row: _measured(images, row), images.rows))
    rows = [row for row, known in zip(images.rows, found, strict=True) if known]
    features = np.array([known for known in found if known], np.float64)
    cuts = _cuts(images.name, rows)
    is_ai = np.array([row.label == "ai" for row in rows])
    total = _auc(features, is_ai, cuts)
    by_feature = {
        name: _auc(features[:, [column]], is_ai, cuts) for column, name in enumerate(FEATURES)
    }
    warning = _warning(images.name, total, by_feature, _chance(is_ai))
    return Audit(auc=total, by_feature=by_feature, images=len(rows), warning=warning)


def measure(data: bytes) -> tuple[float, ...]:
    """Return FEATURES of an encoded image, of its header alone; raises UnreadableError.

    Width and height in pixels as displayed; aspect is width over height; quality is NaN for what
    is not JPEG; encoding and mode are places in a closed list, -1 for others.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION, 1) >= 5:
                width, height = height, width
            return (
                width,
                height,
                width / height,
                len(data) / (width * height),
                quality(image),
                _place(image.format, _ENCODINGS),
                _place(image.mode, _MODES),
            )
    except Exception as error:
        # As in decode: decoders raise whatever their author thought of.
        raise UnreadableError(f"{len(data)} bytes have no readable header: {error}") from error


def quality(image: Image.Image) -> float:
    """Return about which quality, 1 to 100, a JPEG was saved with; NaN for anything else.

    From the sum of its luminance table, by the scale that libjpeg gives the standard's table.
    """
    tables = getattr(image, "quantization", None)
    if not tables:
        return float("nan")
    scale = 100 * sum(next(iter(tables.values()))) / sum(_STANDARD)
    return float(np.clip((200 - scale) / 2 if scale <= 100 else 5000 / scale, 1, 100))


def _measured(images: ImageSet, row: Row) -> tuple[float, ...] | None:
    try:
        return measure(images.read(row))
    except UnreadableError:
        return None


def _cuts(name: str, rows: Sequence[Row]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return pairs of rows to fit and to score, by group where both classes have two groups."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = [row.label for row in rows]
    images = min(labels.count(label) for label in ("ai", "real"))
    if images < 2:
        raise DataError(
            "one_class",
            f"{name} has {images} images of its rarer class whose header can be read: two at "
            "least are needed to see whether files alone tell the classes apart.",
        )
    groups = min(len({row.group for row in rows if row.label == label}) for label in ("ai", "real"))
    kind = StratifiedGroupKFold if groups > 1 else StratifiedKFold
    cutter = kind(min(_FOLDS, groups if groups > 1 else images), shuffle=True, random_state=0)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return list(cutter.split(np.zeros(len(rows)), labels, [row.group for row in rows]))


def _auc(
    features: NDArray[np.float64],
    is_ai: NDArray[np.bool_],
    cuts: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> float:
    """Return the AUC of all held-out scores of a small classifier."""
    features = np.nan_to_num(features, nan=-1.0)  # the quality of what is no JPEG
    if len(np.unique(features, axis=0)) == 1:
        return 0.5
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    score = np.full(len(is_ai), 0.5)
    for fit, held in cuts:
        if len(set(is_ai[fit].tolist())) == 2:
            model = HistGradientBoostingClassifier(
                max_iter=30,
                learning_rate=0.2,
                max_depth=3,
                min_samples_leaf=max(2, min(20, len(fit) // 20)),
                class_weight="balanced",
                early_stopping=False,
                random_state=0,
            )
            score[held] = model.fit(features[fit], is_ai[fit]).predict_proba(features[held])[:, 1]
    return float(roc_auc_score(is_ai, score))


def _chance(is_ai: NDArray[np.bool_]) -> float:
    """Return the AUC that a blind score exceeds in one set of 40: two standard errors above 0.5.

    Hanley and McNeil 1982, the variance of the Mann-Whitney statistic without ties.
    """
    ai, real = int(is_ai.sum()), int((~is_ai).sum())
    return float(0.5 + 2 * np.sqrt((ai + real + 1) / (12 * ai * real)))


def _warning(name: str, total: float, by_feature: dict[str, float], chance: float) -> str:
    if total <= LIMIT:
        return ""
    worst = sorted(by_feature, key=lambda feature: -by_feature[feature])[:3]
    alone = ", ".join(f"{feature} {by_feature[feature]:.2f}" for feature in worst)
    doubt = f" So few images reach {chance:.2f} by chance." if total <= chance else ""
    return (
        f"{name} is separable without looking at a picture: AUC {total:.2f} from size and encoding "
        f"alone ({alone}), {LIMIT} being harmless.{doubt} A detector may learn that instead: bring "
        "both classes to one law (`pinclip data pack`, or [equalise] is_on = true)."
    )


def _place(name: str | None, names: Sequence[str]) -> int:
    return names.index(name) if name in names else -1
