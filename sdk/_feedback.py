"""client.feedback: what people say that images are. See _flows for how verbs are written."""

from __future__ import annotations

from . import _calls as calls
from ._calls import Call
from ._flows import Face, Listing, M, listing, verb
from .errors import InputError
from .wire import Feedback, FeedbackLabel, FeedbackList, FeedbackRequest, Scan


class Words(Face[M]):
    """What people say that images are. It changes no verdict: `appeals` ask for a decision."""

    @verb
    def create(
        self,
        scan: Scan | str,
        label: FeedbackLabel | str,
        *,
        comment: str = "",
        idempotency_key: str | None = None,
    ) -> Call[Feedback]:
        """Say what the image of a final scan is: `ai` or `not_ai`. A publishable key may, too.

        Raises ConflictError if the scan is not final, or has 20 of them already; InputError.

        Examples:
            >>> said = client.feedback.create(scan, "not_ai", comment="My own photo.")
            >>> said.verdict
            <Verdict.LIKELY_AI: 'likely_ai'>
        """
        request = FeedbackRequest(label=_label(label), comment=comment)
        scan_id = calls.scan_id(scan)
        call = calls.post(_path(scan_id), Feedback, request, idempotency_key=idempotency_key)
        return call._replace(scan_id=scan_id)

    @listing
    def list(self, scan: Scan | str | None = None, *, page_size: int = 100) -> Listing[Feedback]:
        """Iterate over what was said of a scan, or of all of this key's owner, newest first.

        Needs a secret key with the scope `read`. Raises APIError or InputError.

        Examples:
            >>> said = client.feedback.create(scan, "ai")
            >>> [one.label for one in client.feedback.list(scan)]
            [<FeedbackLabel.AI: 'ai'>]
        """
        path = "/v1/feedback" if scan is None else _path(calls.scan_id(scan))
        return lambda cursor: calls.get(path, FeedbackList, cursor=cursor, limit=page_size)


def _path(scan_id: str) -> str:
    return f"{calls.scan_path(scan_id)}/feedback"


def _label(label: FeedbackLabel | str) -> FeedbackLabel:
    if label not in tuple(FeedbackLabel):
        raise InputError(f"label is {label!r}.", hint=f"Use {' or '.join(FeedbackLabel)}.")
    return FeedbackLabel(label)
