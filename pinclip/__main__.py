"""`python -m pinclip`: the `pinclip` command."""

from __future__ import annotations

from .cli import main

raise SystemExit(main())
