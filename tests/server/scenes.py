"""What the server's tests start from: a scan to open, an outcome of it, a worker that lives."""

from __future__ import annotations

from sdk.codes import ScanErrorCode
from sdk.wire import Input, InputKind, Model, PointName, Priority, Scan, ScanError, Status, Verdict
from server import ids
from server.ports import Opened
from server.rules.caller import LOCAL_OWNER
from worker.contract import Entry, Outcome, WorkerBeat

URL = "http://example.com/cat.jpg"
BEAT = WorkerBeat(
    name="worker-1",
    model=Model("fixed", "00"),
    engine="fixed",
    precision="float32",
    device="cpu",
    at=0.0,
)


def opened(
    at: float,
    *,
    upload_id: str | None = None,
    deadline: float | None = None,
    priority: Priority = Priority.INTERACTIVE,
    owner: str = LOCAL_OWNER,
) -> Opened:
    """Return a new scan of one URL, or of an upload, accepted at this Unix time."""
    scan_id = ids.scan_id(at)
    kind = InputKind.UPLOAD if upload_id else InputKind.URL
    url = None if upload_id else URL
    return Opened(
        owner=owner,
        scan=Scan(
            id=scan_id,
            status=Status.QUEUED,
            input=Input(kind=kind, url=url),
            sequence=1,
            created_at=ids.rfc3339(at),
        ),
        entry=Entry(
            scan_id=scan_id,
            kind=kind,
            operating_point=PointName.BALANCED,
            deadline=at + 900 if deadline is None else deadline,
            url=url,
            upload_id=upload_id,
            priority=priority,
        ),
    )


def completed(scan_id: str, *, score: float = 0.9) -> Outcome:
    """Return what a worker says of an image that it judged."""
    return Outcome(
        scan_id=scan_id,
        attempt=1,
        worker="worker-1",
        status=Status.COMPLETED,
        input=Input(kind=InputKind.URL, sha256="ab" * 32, bytes=3, width=640, height=480),
        verdict=Verdict.LIKELY_AI,
        score=score,
        probability=0.8,
        model=Model("fixed", "00"),
    )


def failed(scan_id: str) -> Outcome:
    """Return what a worker says of an image that it could not get."""
    code = ScanErrorCode.FETCH_NOT_FOUND
    return Outcome(
        scan_id=scan_id,
        attempt=1,
        worker="worker-1",
        status=Status.FAILED,
        input=Input(kind=InputKind.URL, url=URL),
        error=ScanError(code=code, detail="404", hint="Check.", retryable=False),
    )
