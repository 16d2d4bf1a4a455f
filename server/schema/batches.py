"""What the document says of batches and of look-ups. Data alone."""

from __future__ import annotations

from sdk.codes import ProblemCode
from sdk.wire import Batch, BatchResult, HashRange, LookupList, Scope

from .parts import NDJSON
from .shape import Answer, Operation

_READERS = (Scope.SCAN, Scope.READ)

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/batches",
        id="createBatch",
        tag="batches",
        summary="Have up to 1,000 images judged",
        description="The scans are done as bulk unless they say otherwise. One that cannot be "
        "accepted is refused by itself, in the results; the others go on. Not for publishable "
        "keys.",
        scopes=(Scope.SCAN,),
        is_limited=True,
        is_idempotent=True,
        body="BatchRequest",
        answers={202: Answer("Accepted.", Batch, ("Location",), link="batch")},
        problems=(
            ProblemCode.OPERATING_POINT_UNKNOWN,
            ProblemCode.WEBHOOK_URL_REJECTED,
            ProblemCode.BATCH_TOO_LARGE,
            ProblemCode.QUEUE_FULL,
            ProblemCode.MODEL_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/v1/batches/{batch_id}",
        id="getBatch",
        tag="batches",
        summary="Read how far a batch is",
        description="`completed` once every scan of it is final. Not for publishable keys.",
        scopes=_READERS,
        parameters=("batch_id",),
        answers={200: Answer("The batch.", Batch, link="batch")},
        problems=(ProblemCode.NOT_FOUND,),
    ),
    Operation(
        method="get",
        path="/v1/batches/{batch_id}/results",
        id="getBatchResults",
        tag="batches",
        summary="Read the results of a batch",
        description="A BatchResult a line, in the order of the request; scans that are not final "
        "are there as they are. Not for publishable keys.",
        scopes=_READERS,
        parameters=("batch_id",),
        answers={200: Answer("The results, a line each.", BatchResult, media_type=NDJSON)},
        problems=(ProblemCode.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/batches/{batch_id}/cancel",
        id="cancelBatch",
        tag="batches",
        summary="Cancel what of a batch is not final",
        description="What is final stays. Not for publishable keys.",
        scopes=(Scope.SCAN,),
        parameters=("batch_id",),
        answers={200: Answer("The batch.", Batch, link="batch")},
        problems=(ProblemCode.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/lookups",
        id="lookUp",
        tag="lookups",
        summary="Ask what is known of bytes by their sha256",
        description="An answer for each of up to 100, in the same order; `verdict` is null where "
        "nothing is known. Costs as much as one scan.",
        scopes=_READERS,
        is_limited=True,
        body="LookupRequest",
        answers={200: Answer("What is known.", LookupList)},
        problems=(ProblemCode.OPERATING_POINT_UNKNOWN,),
    ),
    Operation(
        method="get",
        path="/v1/lookups/range/{prefix}",
        id="lookUpRange",
        tag="lookups",
        summary="Ask without saying of what",
        description="All known sha256 that begin with five hex digits: look for yours among them, "
        "and nobody learns which it was.",
        scopes=_READERS,
        is_limited=True,
        parameters=("prefix", "operating_point"),
        answers={200: Answer("What is known.", HashRange, ("Cache-Control",))},
        problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.OPERATING_POINT_UNKNOWN),
    ),
)
