"""A pinclip server that knows what it says beforehand: `with ScriptedServer() as server: ...`

    bytes that begin with a verdict's word, and whatever follows  --upload, scan-->  that verdict
    server.overturn(scan_id), server.rescore(scan_id, verdict)    what a person, a new model says
    server.answers(503)                                           until it is None again

Speaks the part of /v1 that a bot needs, on loopback, in threads; keeps everything in memory. For
what hangs on the client side alone, such as a bot that is killed.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from sdk import wire
from sdk.codes import PROBLEMS, ProblemCode, ScanErrorCode

RATE = 0.01
POINT = wire.OperatingPoint(
    name=wire.PointName.BALANCED,
    slice="photo",
    threshold=0.87,
    clear_below=0.2,
    expected_false_alarm_rate=RATE,
    ci95=(0.006, 0.016),
    n=2400,
    calibration_id="cal_scripted",
)
AT = "2026-11-26T00:00:00Z"


class ScriptedServer:
    """Serves from `with` on; `looks` has the sha256 of every image that was asked about."""

    def __init__(self) -> None:
        self.scans: dict[str, wire.Scan] = {}
        self.looks: list[str] = []
        self._images: dict[str, bytes] = {}
        self._numbers = itertools.count(1)
        self._status: int | None = None
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> ScriptedServer:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answers(self, status: int | None) -> None:
        """Refuse everything with this status, until it is None again."""
        self._status = status

    def scan_of(self, image: bytes) -> wire.Scan:
        """Return the newest scan of these bytes."""
        digest = sha256(image).hexdigest()
        found = [scan for scan in self.scans.values() if scan.input.sha256 == digest]
        return found[-1]

    def overturn(self, scan_id: str) -> wire.Scan:
        """Let a person decide that the verdict does not stand; return the scan as it is then."""
        scan = msgspec.structs.replace(
            self.scans[scan_id],
            verdict=wire.Verdict.INCONCLUSIVE,
            appeal=wire.ScanAppeal(wire.AppealState.OVERTURNED, "apl_1"),
        )
        self.scans[scan_id] = scan
        return scan

    def rescore(self, scan_id: str, verdict: wire.Verdict) -> wire.Scan:
        """Let a new model say something else; return the scan that replaces this one."""
        old = self.scans[scan_id]
        new = msgspec.structs.replace(
            old, id=f"scan_{next(self._numbers):026d}", verdict=verdict, rescore_of=scan_id
        )
        self.scans[new.id] = new
        self.scans[scan_id] = msgspec.structs.replace(old, superseded_by=new.id)
        return new

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Return the status and the value of one request."""
        if self._status is not None:
            return self._status, _problem(ProblemCode.STORE_UNAVAILABLE, self._status)
        if (method, path) == ("POST", "/v1/uploads"):
            return 201, self._upload(body)
        if (method, path) == ("POST", "/v1/scans"):
            scan = self._scan(msgspec.json.decode(body, type=wire.ScanRequest))
            return 200, scan
        scan_id = path.rpartition("/")[2]
        if method == "GET" and scan_id in self.scans:
            return 200, self.scans[scan_id]
        return 404, _problem(ProblemCode.NOT_FOUND, 404)

    def _upload(self, body: bytes) -> wire.Upload:
        upload_id = f"upl_{next(self._numbers):026d}"
        self._images[upload_id] = body
        digest = sha256(body).hexdigest()
        return wire.Upload(id=upload_id, sha256=digest, bytes=len(body), expires_at=AT)

    def _scan(self, request: wire.ScanRequest) -> wire.Scan:
        if isinstance(request.url, str):
            # What would be at the URL: its path's last part.
            image = request.url.rpartition("/")[2].encode()
            kind = wire.InputKind.URL
        else:
            image, kind = self._images[str(request.upload_id)], wire.InputKind.UPLOAD
        scan = _judged(image, f"scan_{next(self._numbers):026d}", kind)
        self.looks.append(scan.input.sha256 or "")
        self.scans[scan.id] = scan
        return scan


def _judged(image: bytes, scan_id: str, kind: wire.InputKind) -> wire.Scan:
    word = image.split(b":")[0].decode(errors="replace")
    known: dict[str, Any] = {
        "id": scan_id,
        "input": wire.Input(kind=kind, sha256=sha256(image).hexdigest(), bytes=len(image)),
        "created_at": AT,
        "completed_at": AT,
    }
    if word in list(ScanErrorCode):
        error = wire.ScanError(
            code=ScanErrorCode(word), detail="It did not work.", hint="", retryable=False
        )
        return wire.Scan(status=wire.Status.FAILED, error=error, **known)
    verdict = wire.Verdict(word)
    if verdict is wire.Verdict.DECLARED_AI:
        trust = image.split(b":")[1].decode()
        known["declaration"] = wire.Declaration(kind="c2pa", trust=trust)
    return wire.Scan(
        status=wire.Status.COMPLETED,
        verdict=verdict,
        score=0.9,
        operating_point=POINT,
        reasons=(wire.Reason("scripted", f"The script says {word}."),),
        **known,
    )


def _problem(code: ProblemCode, status: int) -> wire.Problem:
    facts = PROBLEMS[code]
    return wire.Problem(
        type=f"/v1/errors/{code}",
        title=facts.title,
        status=status,
        detail="The script says so.",
        code=code,
        hint=facts.hint,
        request_id="req_scripted",
        retryable=facts.retryable,
    )


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer, or each waits 40 ms for an acknowledgement

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # of a client that was killed
                super().handle()

        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionAbortedError
            status, value = server.answer(self.command, self.path, body)
            sent = msgspec.json.encode(value)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = _answer

        def log_message(self, *args: object) -> None:
            pass

    return Handler
