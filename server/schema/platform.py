"""What the document says of models, keys, codes, health, and other programs' doors. Data alone."""

from __future__ import annotations

from sdk.codes import ProblemCode
from sdk.wire import ErrorFacts, Health, KeyFacts, ModelInfo, ModelList, Scope
from server.rules.compat import Moderation, Vetting

from .parts import BYTES, TEXT
from .shape import Answer, Operation

_READERS = (Scope.SCAN, Scope.READ)

OPERATIONS = (
    Operation(
        method="get",
        path="/v1/models",
        id="listModels",
        tag="models",
        summary="List the models",
        description="Those that live workers score with now.",
        scopes=_READERS,
        answers={200: Answer("The models.", ModelList, link="models")},
    ),
    Operation(
        method="get",
        path="/v1/models/{model_id}",
        id="getModel",
        tag="models",
        summary="Read about a model",
        description="With its card: what it was trained on, and how often it is wrong.",
        scopes=_READERS,
        parameters=("model_id",),
        answers={200: Answer("The model.", ModelInfo)},
        problems=(ProblemCode.MODEL_UNKNOWN,),
    ),
    Operation(
        method="get",
        path="/v1/models/{model_id}/gate-report",
        id="getGateReport",
        tag="models",
        summary="Read why a model was let in",
        description="How it compares with the one before it, as `pinclip gate` reported.",
        scopes=_READERS,
        parameters=("model_id",),
        answers={200: Answer("The report, as `pinclip gate --json` wrote it.")},
        problems=(ProblemCode.MODEL_UNKNOWN, ProblemCode.NOT_FOUND),
    ),
    Operation(
        method="get",
        path="/v1/models/{model_id}/onnx",
        id="getModelFile",
        tag="models",
        summary="Get a model's file",
        description="ONNX, with preprocessing, calibration and thresholds in its metadata. One "
        "`Range` of it may be asked for. Whoever runs the server names the file by PINCLIP_ONNX.",
        scopes=_READERS,
        parameters=("model_id", "If-None-Match"),
        answers={
            200: Answer("The file.", None, ("ETag", "Cache-Control"), media_type=BYTES),
            206: Answer("That range.", None, ("ETag", "Cache-Control"), media_type=BYTES),
            304: Answer("You have it.", None, ("ETag", "Cache-Control"), media_type=None),
            416: Answer("No such bytes.", None, ("ETag", "Cache-Control"), media_type=None),
        },
        problems=(ProblemCode.MODEL_UNKNOWN, ProblemCode.NOT_FOUND),
    ),
    Operation(
        method="get",
        path="/v1/key",
        id="getKey",
        tag="keys",
        summary="Read what the key may do",
        description="The owner, the scopes and the limits of the key that asks.",
        scopes=(),
        answers={200: Answer("The key.", KeyFacts)},
    ),
    Operation(
        method="get",
        path="/v1/errors/{code}",
        id="getErrorCode",
        tag="errors",
        summary="Read what an error code means",
        description="A problem's `type` is such an address, but for 429, whose `type` is the one "
        "that IANA has for it; codes of failed scans have one too.",
        parameters=("code",),
        answers={200: Answer("What the code means.", ErrorFacts)},
        problems=(ProblemCode.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/compat/openai/v1/moderations",
        id="createModeration",
        tag="compat",
        summary="Judge images for OpenAI's client",
        description="Category `ai_generated`, as OpenAI's moderation has its own. Waits for the "
        "verdicts; an image without one is an error, never `flagged: false`.",
        scopes=(Scope.SCAN,),
        is_limited=True,
        body="ModerationRequest",
        answers={200: Answer("One answer for all images.", Moderation)},
        problems=(
            ProblemCode.URL_INVALID,
            ProblemCode.URL_SCHEME_NOT_ALLOWED,
            ProblemCode.ADDRESS_BLOCKED,
            ProblemCode.OPERATING_POINT_UNKNOWN,
            ProblemCode.UPLOAD_EMPTY,
            ProblemCode.QUEUE_FULL,
            ProblemCode.MODEL_UNAVAILABLE,
        ),
    ),
    Operation(
        method="post",
        path="/compat/pictrs/{secret}",
        id="vetForPictrs",
        tag="compat",
        summary="Judge an image for pict-rs",
        description="As `external_validation` of pict-rs asks. PINCLIP_PICTRS_ON_FAILURE "
        "says what is answered where there is no verdict.",
        parameters=("secret",),
        body="image",
        answers={
            200: Answer("Keep it.", Vetting),
            406: Answer("Reject it.", Vetting),
        },
        problems=(
            ProblemCode.AUTH_INVALID,
            ProblemCode.KEY_REVOKED,
            ProblemCode.SCOPE_MISSING,
        ),
    ),
    Operation(
        method="get",
        path="/healthz",
        id="getHealth",
        tag="health",
        summary="Ask whether the process lives",
        description="Asks nothing else, neither the store nor Redis.",
        answers={200: Answer("It lives.", Health)},
    ),
    Operation(
        method="get",
        path="/readyz",
        id="getReadiness",
        tag="health",
        summary="Ask whether a scan can be taken now",
        description="Names the store, Redis and the workers, and what is wrong with each.",
        answers={
            200: Answer("A scan can be taken.", Health),
            503: Answer("A part is in the way.", Health, ("Retry-After",)),
        },
    ),
    Operation(
        method="get",
        path="/metrics",
        id="getMetrics",
        tag="health",
        summary="Read the metrics",
        description="What this process has counted, and how the system is now, for Prometheus.",
        scopes=(Scope.READ,),
        answers={200: Answer("The metrics.", media_type=TEXT)},
    ),
    Operation(
        method="get",
        path="/schema",
        id="getSchema",
        tag="schema",
        summary="Read this document",
        description="OpenAPI 3.1.",
        answers={200: Answer("This document.")},
    ),
)
