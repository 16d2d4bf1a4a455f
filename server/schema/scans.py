"""What the document says of scans, uploads, appeals, feedback and receipts. Data alone."""

from __future__ import annotations

from sdk.codes import ProblemCode
from sdk.wire import (
    Appeal,
    AppealList,
    Feedback,
    FeedbackList,
    Receipt,
    Scan,
    ScanList,
    Scope,
    Upload,
)

from .parts import EVENTS
from .shape import Answer, Operation

_READERS = (Scope.SCAN, Scope.READ)
"""A key that may submit scans may read them, too."""

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/scans",
        id="submitScan",
        tag="scans",
        summary="Have an image judged",
        description="Takes exactly one of `url`, `upload_id` and `sha256`. Poll the Location until "
        "`status` is completed, failed or canceled, follow its events, or ask with "
        "`Prefer: wait=N` to be answered then. Send `priority: bulk` with what nobody waits for: "
        "the scans of people then go first. What was judged at this operating point within a day, "
        "as far as one can know the same bytes by the same model, is completed at once: an upload "
        "of these bytes, or a URL whose host vouches for its answer until later (RFC 9111). With "
        "`sha256` alone only what is known is told; of unknown bytes send the upload.",
        scopes=(Scope.SCAN,),
        is_limited=True,
        is_idempotent=True,
        parameters=("Prefer", "Cache-Control"),
        body="ScanRequest",
        answers={
            202: Answer("Accepted; not final yet.", Scan, ("Location", "Retry-After"), link="scan"),
            200: Answer(
                "Known already, or final within the wait.",
                Scan,
                ("Location",),
                ("Preference-Applied",),
                link="scan",
            ),
        },
        problems=(
            ProblemCode.URL_INVALID,
            ProblemCode.URL_SCHEME_NOT_ALLOWED,
            ProblemCode.NOT_FOUND,
            ProblemCode.EXPIRED,
            ProblemCode.ADDRESS_BLOCKED,
            ProblemCode.WEBHOOK_URL_REJECTED,
            ProblemCode.OPERATING_POINT_UNKNOWN,
            ProblemCode.QUEUE_FULL,
            ProblemCode.MODEL_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/v1/scans",
        id="listScans",
        tag="scans",
        summary="List scans",
        description="Those of the key's owner, newest first, a page at a time. A filter that does "
        "not exist is refused. Not for publishable keys.",
        scopes=_READERS,
        parameters=(
            "limit",
            "cursor",
            "status",
            "verdict",
            "sha256",
            "of_batch",
            "created_after",
            "created_before",
        ),
        answers={200: Answer("A page.", ScanList, ("Cache-Control",))},
        problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.CURSOR_INVALID),
    ),
    Operation(
        method="get",
        path="/v1/scans/{scan_id}",
        id="getScan",
        tag="scans",
        summary="Read a scan",
        description="A scan whose image could not be fetched or read is `failed`, with `error`; "
        "that is an answer of this operation and no HTTP error.",
        scopes=_READERS,
        parameters=("scan_id", "Prefer", "If-None-Match"),
        answers={
            200: Answer(
                "The scan as it is.",
                Scan,
                ("ETag", "Cache-Control"),
                ("Retry-After", "Preference-Applied", "Location"),
                link="scan",
            ),
            202: Answer(
                "Not final after the wait.",
                Scan,
                ("Location", "Retry-After", "ETag", "Cache-Control"),
                link="scan",
            ),
            304: Answer(
                "It is still as you have it.",
                headers=("ETag", "Cache-Control"),
                may=("Retry-After", "Preference-Applied"),
                media_type=None,
            ),
        },
        problems=(ProblemCode.NOT_FOUND, ProblemCode.EXPIRED),
    ),
    Operation(
        method="delete",
        path="/v1/scans/{scan_id}",
        id="eraseScan",
        tag="scans",
        summary="Erase a scan",
        description="Erases the scan, its appeals, feedback, events and upload; one that is not "
        "final is canceled by it. That it was erased stays in the audit log, and `expired` is what "
        "is heard of it from then on. Not for publishable keys.",
        scopes=(Scope.SCAN,),
        parameters=("scan_id",),
        answers={204: Answer("Erased.", media_type=None)},
        problems=(ProblemCode.NOT_FOUND, ProblemCode.EXPIRED),
    ),
    Operation(
        method="post",
        path="/v1/scans/{scan_id}/cancel",
        id="cancelScan",
        tag="scans",
        summary="Cancel a scan",
        description="What a worker finds afterwards changes nothing. Not for publishable keys.",
        scopes=(Scope.SCAN,),
        parameters=("scan_id",),
        answers={200: Answer("Canceled.", Scan, ("Cache-Control",), link="scan")},
        problems=(ProblemCode.NOT_FOUND, ProblemCode.EXPIRED, ProblemCode.STATE_CONFLICT),
    ),
    Operation(
        method="post",
        path="/v1/scans/{scan_id}/rescore",
        id="rescoreScan",
        tag="scans",
        summary="Judge an image again",
        description="Makes a new scan of the same input that is looked at anew, by the model of "
        "now. The old one keeps its verdict and names the new one as `superseded_by`. Not for "
        "publishable keys.",
        scopes=(Scope.SCAN,),
        is_limited=True,
        is_idempotent=True,
        parameters=("scan_id", "Prefer"),
        answers={
            202: Answer(
                "Accepted; not final yet.",
                Scan,
                ("Location", "Retry-After", "Cache-Control"),
                link="scan",
            ),
            200: Answer(
                "Final within the wait, or by the time of a repeated request.",
                Scan,
                ("Location", "Cache-Control"),
                ("Preference-Applied",),
                link="scan",
            ),
        },
        problems=(
            ProblemCode.NOT_FOUND,
            ProblemCode.EXPIRED,
            ProblemCode.STATE_CONFLICT,
            ProblemCode.QUEUE_FULL,
            ProblemCode.MODEL_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/v1/scans/{scan_id}/events",
        id="followScan",
        tag="scans",
        summary="Follow a scan",
        description="Server-sent events: each has the scan as `data` and its `sequence` as `id`. "
        "Ends once the scan is final, or the server stops: ask again with Last-Event-ID, and hear "
        "204 where there is nothing to come. Accept must allow application/json or "
        "text/event-stream.",
        scopes=_READERS,
        parameters=("scan_id", "Last-Event-ID"),
        answers={
            200: Answer("The events.", None, ("Cache-Control",), media_type=EVENTS),
            204: Answer("The scan is final, and you know it.", media_type=None),
        },
        problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.NOT_FOUND, ProblemCode.EXPIRED),
    ),
    Operation(
        method="get",
        path="/v1/scans/{scan_id}/receipt",
        id="getReceipt",
        tag="scans",
        summary="Have a verdict signed",
        description="What was said of which bytes, signed, so that it can be checked without us.",
        scopes=_READERS,
        parameters=("scan_id",),
        answers={200: Answer("The receipt.", Receipt)},
        problems=(ProblemCode.NOT_FOUND, ProblemCode.STATE_CONFLICT),
    ),
    Operation(
        method="post",
        path="/v1/scans/{scan_id}/appeals",
        id="createAppeal",
        tag="appeals",
        summary="Dispute a verdict",
        description="Only `likely_ai` and `declared_ai` can be disputed, once a scan.",
        scopes=(Scope.SCAN,),
        is_idempotent=True,
        parameters=("scan_id",),
        body="AppealRequest",
        answers={201: Answer("Recorded, and open.", Appeal, ("Location",), link="appeal")},
        problems=(
            ProblemCode.NOT_FOUND,
            ProblemCode.STATE_CONFLICT,
            ProblemCode.APPEAL_EXISTS,
        ),
    ),
    Operation(
        method="get",
        path="/v1/appeals",
        id="listAppeals",
        tag="appeals",
        summary="List appeals",
        description="Those of the key's owner, newest first, a page at a time.",
        scopes=(Scope.READ,),
        parameters=("limit", "cursor"),
        answers={200: Answer("A page.", AppealList)},
        problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.CURSOR_INVALID),
    ),
    Operation(
        method="get",
        path="/v1/appeals/{appeal_id}",
        id="getAppeal",
        tag="appeals",
        summary="Read an appeal",
        description="As it is now.",
        scopes=(Scope.READ,),
        parameters=("appeal_id",),
        answers={200: Answer("The appeal.", Appeal, link="appeal")},
        problems=(ProblemCode.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/appeals/{appeal_id}/decision",
        id="decideAppeal",
        tag="appeals",
        summary="Decide an appeal",
        description="Overturned, the scan is `inconclusive`, and so are all scans of the owner "
        "with these bytes, past and to come. An appeal is decided once.",
        scopes=(Scope.MODERATE,),
        parameters=("appeal_id",),
        body="AppealDecisionRequest",
        answers={200: Answer("Decided.", Appeal, link="appeal")},
        problems=(ProblemCode.NOT_FOUND, ProblemCode.STATE_CONFLICT),
    ),
    Operation(
        method="post",
        path="/v1/scans/{scan_id}/feedback",
        id="createFeedback",
        tag="feedback",
        summary="Say what an image is",
        description="Recorded for the owner to read, with the verdict as it is now. It changes no "
        "verdict: an appeal asks for a decision. Up to 20 for each final scan; for publishable "
        "keys, too.",
        scopes=(Scope.SCAN,),
        is_idempotent=True,
        parameters=("scan_id",),
        body="FeedbackRequest",
        answers={201: Answer("Recorded.", Feedback, link="feedback")},
        problems=(ProblemCode.NOT_FOUND, ProblemCode.EXPIRED, ProblemCode.STATE_CONFLICT),
    ),
    Operation(
        method="get",
        path="/v1/scans/{scan_id}/feedback",
        id="listScanFeedback",
        tag="feedback",
        summary="List the feedback of a scan",
        description="Newest first, a page at a time. Not for publishable keys.",
        scopes=(Scope.READ,),
        parameters=("scan_id", "limit", "cursor"),
        answers={200: Answer("A page.", FeedbackList)},
        problems=(
            ProblemCode.NOT_FOUND,
            ProblemCode.EXPIRED,
            ProblemCode.INVALID_PARAMETER,
            ProblemCode.CURSOR_INVALID,
        ),
    ),
    Operation(
        method="get",
        path="/v1/feedback",
        id="listFeedback",
        tag="feedback",
        summary="List feedback",
        description="On all scans of the key's owner, newest first, a page at a time. Not for "
        "publishable keys.",
        scopes=(Scope.READ,),
        parameters=("limit", "cursor"),
        answers={200: Answer("A page.", FeedbackList)},
        problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.CURSOR_INVALID),
    ),
    Operation(
        method="post",
        path="/v1/uploads",
        id="createUpload",
        tag="uploads",
        summary="Send the bytes of an image",
        description="The body is the image itself, or a form with one file; at most 20 MiB. The "
        "bytes are kept for 15 minutes, to be named as `upload_id` of a scan.",
        scopes=(Scope.SCAN,),
        body="image",
        answers={201: Answer("Kept.", Upload, link="upload")},
        problems=(
            ProblemCode.INVALID_PARAMETER,
            ProblemCode.UPLOAD_EMPTY,
            ProblemCode.BODY_TOO_LARGE,
            ProblemCode.MEDIA_TYPE_UNSUPPORTED,
        ),
    ),
)
