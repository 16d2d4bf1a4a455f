/**
 * What can be pointed at, as something to check: an image of a page, or a file of the user's.
 *
 *     an address (menu, page.js) -> worker reads it, or the frame that owns it -> Subject
 *     a place on the screen      -> a picture of it -> Subject, at most inconclusive
 *     a File (dropped, pasted, chosen) -> Subject
 */
import { browser } from "wxt/browser";
import { UPLOAD_LIMIT_BYTES } from "./api";
import { capture, type Shot } from "./capture";
import type { Subject } from "./check";
import { ImageError } from "./errors";
import { readBlob } from "./frame";
import { hostPattern } from "./hosts";
import { checkedBytes, readImage } from "./images";
import { withReferer } from "./referer";
import type { Source } from "./store";

/** What the user has said yes to, for one image. */
export interface Consent {
  /** It is on their own network. */
  isAllowed: boolean;
  /** It may be read as who they are on its host. */
  withCookies: boolean;
}
const NO_CONSENT: Consent = { isAllowed: false, withCookies: false };

/** An image of a page. */
export function fromPage(source: Source, consent = NO_CONSENT): Subject {
  return {
    isCapture: false,
    title: titleOf(source.url),
    // An image inside its own address may be megabytes: it can be shown again, but not kept here.
    source: source.url.startsWith("data:") ? null : source,
    bytes: () => {
      if (source.url.startsWith("blob:") && source.tabId !== null) {
        return readBlob(source.url, source.tabId, source.frameId);
      }
      return readImage(source.url, {
        fetch: (input, init) => fetch(input, init),
        mayBePrivate: consent.isAllowed,
        withCookies: consent.withCookies,
        site: source.site,
        withReferer,
        isGranted: (origin) => browser.permissions.contains({ origins: [hostPattern(origin)] }),
      });
    },
  };
}

/** What the screen shows of an image in a page of `site`. */
export function fromScreen(shot: Shot, site: string | null): Subject {
  return {
    isCapture: true,
    title: titleOf(site ?? ""),
    source: null,
    bytes: () => capture(shot),
  };
}

/** Nothing that could be read: its check says why. */
export function failing(title: string, error: ImageError): Subject {
  return { isCapture: false, title, source: null, bytes: () => Promise.reject(error) };
}

/** A file that the user gave. */
export function fromFile(file: File): Subject {
  return {
    isCapture: false,
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
