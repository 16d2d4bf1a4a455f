/**
 * What the fixture site answers for an image: well, badly, or differently each time.
 *
 *     /p/NAME                 the picture            /slow/MS/p/NAME     after so many milliseconds
 *     /hotlink/NAME           403 without the site's Referer
 *     /private/NAME           403 without the cookie that the page `private` sets
 *     /once/ID/NAME           the first time, then 410
 *     /status/CODE/NAME  /empty/NAME  /html/NAME  /truncated/NAME  /big/NAME  /wide/NAME
 *     /to/HOST/NAME           sent on to another host's /p/NAME
 *     /negotiated/NAME        AVIF to who accepts it, else JPEG
 *     /current/NAME           another picture after each `turn`
 *     /drawing.svg  /paper.pdf
 *
 * Decides and returns; knows nothing of sockets.
 */
import type { IncomingHttpHeaders } from "node:http";
import { chunk } from "../png.ts";
import { image, typeOf } from "./images.ts";

export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
  waitMs: number;
}

/** What lasts between two requests. */
export interface State {
  turn: number;
  given: Set<string>;
}

type Asked = { rest: string; headers: IncomingHttpHeaders; state: State };

const PLENTY = 30 * 1024 * 1024;
const DRAWING =
  '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="300">' +
  '<rect width="400" height="300" fill="teal"/><circle cx="200" cy="150" r="90"/></svg>';

/** A page of nothing. */
const PAPER =
  "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n" +
  "2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n" +
  "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF";

const ANSWERS: Record<string, (asked: Asked) => Answer> = {
  p: ({ rest }) => picture(rest),
  slow: ({ rest, ...asked }) => {
    const [wait, ...then] = rest.split("/");
    return {
      ...answerImage(`/${then.join("/")}`, asked.headers, asked.state),
      waitMs: Number(wait),
    };
  },
  hotlink: ({ rest, headers }) =>
    headers.referer?.startsWith("http://site.example/") ? unkept(rest) : text(403, "hotlink"),
  private: ({ rest, headers }) =>
    headers.cookie?.includes("reader=1") ? unkept(rest) : text(403, "who are you?"),
  once: ({ rest, state }) => {
    const [id = "", name = ""] = rest.split("/");
    if (state.given.has(id)) return text(410, "expired");
    state.given.add(id);
    return unkept(name);
  },
  status: ({ rest }) => text(Number(rest.split("/")[0]), "no image"),
  empty: () => ({ ...text(200, ""), headers: { "Content-Type": "image/png" } }),
  html: () => ({ ...text(200, "<h1>Log in</h1>"), headers: { "Content-Type": "text/html" } }),
  truncated: ({ rest }) => {
    const whole = picture(rest);
    return { ...whole, body: whole.body.subarray(0, Math.floor(whole.body.length / 2)) };
  },
  big: ({ rest }) => padded(picture(rest)),
  wide: ({ rest }) => picture(rest.replace(".png", "-20000x400.png")),
  to: ({ rest }) => {
    const [host = "", name = ""] = rest.split("/");
    return { ...text(302, ""), headers: { Location: `http://${host}/p/${name}` } };
  },
  negotiated: ({ headers }) => {
    const name = headers.accept?.includes("image/avif") ? "bright.avif" : "dark.jpeg";
    const answer = picture(name);
    return { ...answer, headers: { ...answer.headers, Vary: "Accept" } };
  },
  current: ({ rest, state }) => unkept(rest.replace(/^(bright|dark)-/, `$1-${state.turn}-`)),
  "paper.pdf": () => ({
    ...ok(Buffer.from(PAPER)),
    headers: { "Content-Type": "application/pdf" },
  }),
  "drawing.svg": () => ({
    ...ok(Buffer.from(DRAWING)),
    headers: { "Content-Type": typeOf(".svg") },
  }),
};

/** The answer to a path of an image, or 404. */
export function answerImage(path: string, headers: IncomingHttpHeaders, state: State): Answer {
  const [kind = "", ...rest] = path.slice(1).split("?")[0]?.split("/") ?? [];
  const answer = Object.hasOwn(ANSWERS, kind) ? ANSWERS[kind] : undefined;
  return answer?.({ rest: rest.join("/"), headers, state }) ?? text(404, "not found");
}

function picture(name: string): Answer {
  const body = image(name);
  if (body === null) return text(404, `no picture ${name}`);
  return { ...ok(body), headers: { "Content-Type": typeOf(name), "Cache-Control": "max-age=600" } };
}

/** Not to be kept by any cache, so that each reading is a request. */
function unkept(name: string): Answer {
  const answer = picture(name);
  return { ...answer, headers: { ...answer.headers, "Cache-Control": "no-store" } };
}

/** Larger than any server takes, and still painted: a chunk that nobody knows, before the end. */
function padded(answer: Answer): Answer {
  const end = chunk("IEND");
  const whole = answer.body.subarray(0, answer.body.length - end.length);
  return { ...answer, body: Buffer.concat([whole, chunk("paDd", Buffer.alloc(PLENTY)), end]) };
}

function ok(body: Buffer): Answer {
  return { status: 200, headers: {}, body, waitMs: 0 };
}

export function text(status: number, words: string): Answer {
  return { ...ok(Buffer.from(words)), status, headers: { "Content-Type": "text/plain" } };
}
