"""client.appeals: disputes about verdicts. See _flows for how verbs are written."""

from __future__ import annotations

import msgspec

from . import _calls as calls
from ._calls import Call
from ._flows import Face, Listing, M, listing, verb
from .errors import InputError
from .wire import (
    Appeal,
    AppealDecision,
    AppealDecisionRequest,
    AppealList,
    AppealRequest,
    Scan,
)


class Appeals(Face[M]):
    """Disputes about verdicts."""

    @verb
    def create(
        self,
        scan: Scan | str,
        *,
        reason: str,
        evidence_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Appeal]:
        """Say why the verdict of a scan is wrong. Raises ConflictError if there is an appeal.

        Examples:
            >>> appeal = client.appeals.create(scan, reason="I drew it; see the sketches.")
            >>> appeal.state
            <AppealState.OPEN: 'open'>
        """
        evidence = msgspec.UNSET if evidence_url is None else evidence_url
        request = AppealRequest(reason=reason, evidence_url=evidence)
        scan_id = calls.scan_id(scan)
        path = f"{calls.scan_path(scan_id)}/appeals"
        call = calls.post(path, Appeal, request, idempotency_key=idempotency_key)
        return call._replace(scan_id=scan_id)

    @verb
    def get(self, appeal_id: str) -> Call[Appeal]:
        """Return an appeal as it is now. Raises InputError or APIError.

        Examples:
            >>> client.appeals.get(appeal.id).scan_id == scan.id
            True
        """
        return calls.get(_path(appeal_id), Appeal)

    @listing
    def list(self, *, page_size: int = 100) -> Listing[Appeal]:
        """Iterate over the appeals of this key's owner, newest first. Raises APIError.

        Examples:
            >>> [appeal.reason for appeal in client.appeals.list()]
            ['I drew it; see the sketches.']
        """
        return lambda cursor: calls.get("/v1/appeals", AppealList, cursor=cursor, limit=page_size)

    @verb
    def decide(
        self, appeal: Appeal | str, decision: AppealDecision | str, *, note: str = ""
    ) -> Call[Appeal]:
        """Let the verdict stand (`uphold`) or not (`overturn`): then its bytes are cleared.

        Needs a key with the scope `moderate`. Raises ConflictError if it is decided already.

        Examples:
            >>> client.appeals.decide(appeal, "overturn", note="Sketches seen.").state
            <AppealState.OVERTURNED: 'overturned'>
        """
        if decision not in tuple(AppealDecision):
            raise InputError(
                f"decision is {decision!r}.", hint=f"Use {' or '.join(AppealDecision)}."
            )
        request = AppealDecisionRequest(decision=AppealDecision(decision), note=note)
        appeal_id = appeal.id if isinstance(appeal, Appeal) else appeal
        return calls.post(f"{_path(appeal_id)}/decision", Appeal, request)


def _path(appeal_id: str) -> str:
    return f"/v1/appeals/{calls.segment(appeal_id, 'appeal')}"
