"""Labelled images: where they lie, what they are called, how much each weighs."""

from .errors import DataError
from .manifest import MIXED, SLICES, STYLES, Row, digest, read_manifest, weights

__all__ = ["MIXED", "SLICES", "STYLES", "DataError", "Row", "digest", "read_manifest", "weights"]
