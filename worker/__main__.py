"""`python -m worker` is `pinclip work`."""

from __future__ import annotations

import sys

from .command import work

if __name__ == "__main__":
    sys.exit(work(sys.argv[1:]))
