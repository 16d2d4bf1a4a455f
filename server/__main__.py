"""`python -m server` is `pinclip serve`."""

from __future__ import annotations

import sys

from .command import serve

if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
