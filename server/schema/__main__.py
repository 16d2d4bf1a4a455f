"""Writes the OpenAPI document to stdout."""

from __future__ import annotations

import sys

from . import encoded

sys.stdout.buffer.write(encoded())
