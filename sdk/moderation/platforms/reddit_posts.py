"""What Reddit sends, read: posts as items, and their images.

    Submission --> item_of       id, revision, author; None without images
               --> media_of      a gallery, images in the text, a link to an image, a crosspost
               --> happened      when, in seconds

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncpraw.models import Submission

from sdk.moderation.platform import Item, Media


def item_of(post: Submission) -> Item | None:
    """Return a post as an item if it has images; a gallery grows while Reddit prepares it."""
    images = len(media_of(post))
    if not images:
        return None
    return Item(
        id=post.fullname,
        revision=f"{int(post.edited or post.created_utc)}-{images}",
        url=f"https://www.reddit.com{post.permalink}",
        author=post.author.name if post.author else None,
    )


def happened(post: Submission) -> int:
    """Return when a post was made or last edited, in seconds."""
    return int(post.edited or post.created_utc)


def is_deleted(post: Submission) -> bool:
    """Tell if its author has deleted the post; its shell is still there then."""
    return bool(post.removed_by_category == "deleted")


def media_of(post: Submission) -> list[Media]:
    """Return the images of a post, or of the one that it shares from elsewhere."""
    shared = getattr(post, "crosspost_parent_list", None)
    data: Mapping[str, Any] = shared[0] if shared else vars(post)
    found = _uploads(data)
    link = data.get("url_overridden_by_dest") or data.get("url") or ""
    if data.get("post_hint") == "image" or link.startswith("https://i.redd.it/"):
        found.setdefault(link, link)
    return [Media(id=name, url=url) for name, url in found.items()]


def _uploads(data: Mapping[str, Any]) -> dict[str, str]:
    """Return id and original of each image in a gallery or in a post's text, in their order.

    Reddit names the smaller, signed copies on preview.redd.it only; the original has the same id.
    """
    images = data.get("media_metadata") or {}
    gallery = (data.get("gallery_data") or {}).get("items", [])
    return {
        name: f"https://i.redd.it/{name}.{images[name]['m'].removeprefix('image/')}"
        for name in [one["media_id"] for one in gallery] or images
        if "|" not in name  # emotes and stickers
        and images.get(name, {}).get("status") == "valid"
        and images[name].get("m", "").startswith("image/")
    }
