"""A small Django project in one file: POST /photos takes a form, POST /raw any body."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path

from tests.sdk.moderation.fakes.web import shown

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="of-a-test",
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["sdk.moderation.platforms.django.UploadMiddleware"],
        PINCLIP={},
        FILE_UPLOAD_MAX_MEMORY_SIZE=100_000,
        DATA_UPLOAD_MAX_MEMORY_SIZE=200_000,
    )

HEARD: list[tuple[str | None, str]] = []
"""What on_review was told: the action, and whether it could use the request."""


def on_review(check: Any, request: HttpRequest) -> None:
    HEARD.append((check.decision.action, request.path))
    raise RuntimeError("the mail server is down")


def photos(request: HttpRequest) -> JsonResponse:
    files = {
        name: [shown(file.read()) for file in request.FILES.getlist(name)] for name in request.FILES
    }
    return JsonResponse({**_said(request), "form": request.POST.dict(), "files": files})


def raw(request: HttpRequest) -> JsonResponse:
    return JsonResponse({**_said(request), "body": shown(request.read())})


async def photos_async(request: HttpRequest) -> JsonResponse:
    return photos(request)


def _said(request: Any) -> dict[str, Any]:
    check = request.pinclip
    return {"verdicts": check and check.summary, "action": check and check.decision.action}


urlpatterns = [path("photos", photos), path("raw", raw), path("photos-async", photos_async)]
