"""An origin that answers as many requests as it is allowed, and lets the others wait.

    python gated_origin.py ADDRESS PORT FOLDER

FOLDER/picture.png   what it answers, whatever the path
FOLDER/allowed       how many requests may be answered by now, as text
FOLDER/asked         a line for each request: the address that it came from
"""

from __future__ import annotations

import contextlib
import http.server
import sys
import threading
from pathlib import Path


class Gate:
    """Counts requests, and holds those that come too early."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._count = 0

    def pass_through(self, address: str) -> bytes:
        """Return the picture once this request is one of those allowed."""
        with self._lock, (self._folder / "asked").open("a") as asked:
            self._count += 1
            number = self._count
            asked.write(f"{address}\n")
        while number > int((self._folder / "allowed").read_text()):
            threading.Event().wait(0.02)
        return (self._folder / "picture.png").read_bytes()


def main(address: str, port: str, folder: str) -> None:
    """Serve until killed."""
    gate = Gate(Path(folder))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = gate.pass_through(self.client_address[0])
            # Whoever asked may have been killed.
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
