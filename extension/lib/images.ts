/**
 * The one door to other people's images: the exact bytes that the user sees, or why not.
 *
 *     https:  the address that was painted, as the page asked for it -> bytes
 *                 | 401, 403, and we are let into that host
 *             once more, saying which site it is for -> bytes
 *     data:   the bytes are in the address
 *     blob:   only the frame that made it can read it: see frame.ts
 *     private host, file:, chrome: ...  refused, with a reason
 *
 * What is painted is judged, so: the exact address and never a guessed larger one; the browser's
 * own copy (`force-cache`) before the net; the Accept header of an image, since servers choose
 * the format by it. A Referer only where the host refuses without, and then the site's origin, see
 * referer.ts. Cookies only where the user has said so for this very image: they say who asks. A
 * 404 is final, so is a second 403. Never canvas readback: browsers that guard against
 * fingerprints put noise into it.
 *
 * A browser follows a redirect before we learn where it leads. What comes from a private host is
 * not read and not sent on, but that host was asked once, without cookies, as by the page's <img>.
 */
import { UPLOAD_LIMIT_BYTES } from "./api";
import { ImageError } from "./errors";
import { isPrivateHost } from "./hosts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** As browsers send it for an <img>; servers that negotiate answer with what the user sees. */
const ACCEPT = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
const TIMEOUT_SECONDS = 25;

export interface Reading {
  fetch: typeof fetch;
  /** True once the user has said yes to this very image on their own network. */
  mayBePrivate: boolean;
  /** True once the user has said yes to reading this very image as who they are there. */
  withCookies: boolean;
  /** The origin of the frame that shows the image; null where that is not known. */
  site: string | null;
  /** Whether this extension was granted the image's host. */
  isGranted(origin: string): Promise<boolean>;
  /** Do something while requests to `url` carry this Referer. */
  withReferer(url: URL, site: string, work: () => Promise<Response>): Promise<Response>;
}

/** Where an image's address leads; throws ImageError for what is not to be read. Pure. */
export function target(address: string, mayBePrivate: boolean): URL {
  const url = parsed(address);
  if (url.protocol === "data:") return url;
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new ImageError("address_unsupported", `Images at ${url.protocol} cannot be read.`);
  }
  if (!mayBePrivate && isPrivateHost(url.hostname)) {
    throw new ImageError("private_address", `${url.hostname} is on your own network.`);
  }
  return url;
}

function parsed(address: string): URL {
  try {
    return new URL(address);
  } catch {
    throw new ImageError("address_unsupported", "The image has no address that can be read.");
  }
}

/** The bytes of the image at this address; throws ImageError. */
export async function readImage(address: string, reading: Reading): Promise<Bytes> {
  const url = target(address, reading.mayBePrivate);
  const response = await answered(url, reading);
  // Where a redirect led is known only afterwards; what came from there is not sent on.
  if (response.url) target(response.url, reading.mayBePrivate);
  refuseStatus(response.status);
  const type = response.headers.get("content-type") ?? "";
  if (/^(text\/html|application\/(json|xhtml\+xml))/i.test(type)) {
    throw new ImageError("not_an_image", `The host answered with ${type.split(";")[0]}.`);
  }
  return whole(response);
}

/** What the host answers, asked a second time as the page asked it where it will not else. */
async function answered(url: URL, reading: Reading): Promise<Response> {
  const first = await fetched(url, reading, "force-cache");
  const { site } = reading;
  const isRefused = first.status === 401 || first.status === 403;
  if (!isRefused || site === null || !(await reading.isGranted(url.origin))) return first;
  await first.body?.cancel();
  return reading.withReferer(url, site, () => fetched(url, reading, "reload"));
}

async function fetched(url: URL, reading: Reading, cache: RequestCache): Promise<Response> {
  try {
    return await reading.fetch(url.href, {
      headers: { Accept: ACCEPT },
      credentials: reading.withCookies ? "include" : "omit",
      cache,
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(TIMEOUT_SECONDS * 1000),
    });
  } catch {
    // The browser gives one error for "not allowed to read this host" and for "no answer".
    const isGranted = url.protocol === "data:" || (await reading.isGranted(url.origin));
    throw isGranted
      ? new ImageError("fetch_failed", `${url.hostname} gave no answer.`)
      : new ImageError("host_not_granted", `This browser may not read images of ${url.hostname}.`);
  }
}

function refuseStatus(status: number): void {
  if (status >= 200 && status < 300) return;
  const detail = `The host answered ${status}.`;
  if (status === 401 || status === 403) throw new ImageError("fetch_forbidden", detail);
  if (status === 404 || status === 410) throw new ImageError("fetch_not_found", detail);
  throw new ImageError("fetch_http_error", detail);
}

/** The body, as far as it is no larger than what the server takes. */
async function whole(response: Response): Promise<Bytes> {
  refuseLength(Number(response.headers.get("content-length") ?? 0));
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of partsOf(response)) {
    parts.push(part);
    length += part.length;
    refuseLength(length);
  }
  return checkedBytes(joined(parts, length));
}

async function* partsOf(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function joined(parts: Uint8Array[], length: number): Bytes {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Bytes that may be an image; throws ImageError for none and for too many. */
export function checkedBytes(bytes: Bytes): Bytes {
  refuseLength(bytes.length);
  if (bytes.length === 0) throw new ImageError("image_empty", "The image has no bytes.");
  return bytes;
}

function refuseLength(length: number): void {
  if (length > UPLOAD_LIMIT_BYTES) {
    throw new ImageError("fetch_too_large", "The image is larger than 20 MiB.");
  }
}

/** The sha256 of bytes in small hex digits. */
export async function sha256Of(bytes: Bytes): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
