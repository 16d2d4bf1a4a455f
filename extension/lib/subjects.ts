/**
 * What can be pointed at, as something to check: an image of a page, or a file of the user's.
 *
 *     an address (menu, shortcut) -> worker reads it, or the frame that owns it -> Subject
 *     a File (dropped, pasted, chosen) -> Subject
 */
import { browser } from "wxt/browser";
import { UPLOAD_LIMIT_BYTES } from "./api";
import type { Subject } from "./check";
import { ImageError } from "./errors";
import { readBlob } from "./frame";
import { hostPattern } from "./hosts";
import { checkedBytes, readImage } from "./images";
import type { Source } from "./store";

/** An image of a page. `isAllowed`: the user has said yes to it although it is on their network. */
export function fromPage(source: Source, isAllowed = false): Subject {
  return {
    title: titleOf(source.url),
    // An image inside its own address may be megabytes: it can be shown again, but not kept here.
    source: source.url.startsWith("data:") ? null : source,
    bytes: () => {
      if (source.url.startsWith("blob:") && source.tabId !== null) {
        return readBlob(source.url, source.tabId, source.frameId);
      }
      return readImage(source.url, {
        fetch: (input, init) => fetch(input, init),
        mayBePrivate: isAllowed,
        isGranted: (origin) => browser.permissions.contains({ origins: [hostPattern(origin)] }),
      });
    },
  };
}

/** A file that the user gave. */
export function fromFile(file: File): Subject {
  return {
    title: file.name || file.type || "image",
    source: null,
    bytes: async () => {
      // A document that was dropped by mistake stays here.
      if (file.type && !file.type.startsWith("image/")) {
        throw new ImageError("not_an_image", `The file is ${file.type}.`);
      }
      if (file.size > UPLOAD_LIMIT_BYTES) {
        throw new ImageError("fetch_too_large", "The image is larger than 20 MiB.");
      }
      return checkedBytes(new Uint8Array(await file.arrayBuffer()));
    },
  };
}

/** What an image is shown as: its host, never its whole address, which may hold a secret. */
export function titleOf(address: string): string {
  try {
    const url = new URL(address);
    return url.protocol === "blob:" ? new URL(url.pathname).host : url.host || url.protocol;
  } catch {
    return "?";
  }
}
