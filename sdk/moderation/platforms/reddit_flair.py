"""Flair on Reddit: given, and taken back to what it was, which stands in a mod note meanwhile.

    set_flair    mod note "pinclip <key> ... before: {old flair}"  -->  flair  --> what undo needs
    reset_flair  flair, if it is still ours  -->  the note is deleted

Reddit keeps no history of a post's flair. The note is written first and found again by the key,
so that a bot that died between the two still knows what to give back.
"""

from __future__ import annotations

import hashlib

import msgspec
from asyncpraw.models import ModNote, Submission
from msgspec import Struct

from sdk.moderation.platform import PlatformError, UndoResult


class Flair(Struct, frozen=True, omit_defaults=True):
    """The flair of a post, as much as it takes to set it again; css only without a template."""

    text: str = ""
    template: str = ""
    css: str = ""


async def set_flair(post: Submission, text: str, *, key: str) -> dict[str, str]:
    """Flair a post with the text, once a key; returns what `reset_flair` needs."""
    if post.author is None:
        raise PlatformError(
            f"The author of {post.fullname} has left Reddit, and with them the place for a note "
            "of the flair it had: flair it yourself, or let the policy report."
        )
    head = f"pinclip {hashlib.sha256(key.encode()).hexdigest()[:16]} set a flair; before: "
    note = await _find(post, head)
    if note is None:
        before = msgspec.json.encode(_flair(post)).decode()
        note = await post.mod.create_note(note=head + before)
    if post.link_flair_text != text:
        await post.mod.flair(text=text)
    return {
        "text": text,
        "before": note.note.removeprefix(head),
        "note": note.id,
        "author": post.author.name,
    }


async def reset_flair(post: Submission, data: dict[str, str]) -> UndoResult:
    """Give a post the flair that it had, unless a moderator has changed it since."""
    before = msgspec.json.decode(data["before"], type=Flair)
    if _flair(post) == before:
        return UndoResult.UNDONE
    if post.link_flair_text != data["text"]:
        return UndoResult.KEPT_FOR_HUMAN
    template = before.template or None
    await post.mod.flair(text=before.text, css_class=before.css, flair_template_id=template)
    await post.subreddit.mod.notes.delete(note_id=data["note"], redditor=data["author"])
    return UndoResult.UNDONE


async def _find(post: Submission, head: str) -> ModNote | None:
    notes = post.mod.author_notes(all_notes=True, limit=None, params={"filter": "NOTE"})
    note: ModNote
    async for note in notes:
        if note.reddit_id == post.fullname and (note.note or "").startswith(head):
            return note
    return None


def _flair(post: Submission) -> Flair:
    template = getattr(post, "link_flair_template_id", None) or ""
    css = "" if template else post.link_flair_css_class or ""
    return Flair(text=post.link_flair_text or "", template=template, css=css)
