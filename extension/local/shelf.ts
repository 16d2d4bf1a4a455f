/**
 * Where this browser keeps the model's file: one at a time, in the extension's own cache.
 *
 *     fetchModel()   the user's server -> whole, and a model? -> kept, the older one dropped
 *     keptModel()    which one there is, without reading it      keptFile()   its bytes
 *
 * The one thing that is asked of the server beside lib/api.ts: 94 MB are streamed, not read as JSON.
 */
import { PinclipError } from "../lib/errors";
import type { Bytes } from "../lib/images";
import type { Settings } from "../lib/store";
import { modelOf } from "./model";

const SHELF = "model";
/** A name for the cache, which wants addresses; nobody asks for it. */
const PLACE = "https://model.invalid/";
const [ID, LENGTH] = ["x-model-id", "x-length"];

export interface Kept {
  id: string;
  bytes: number;
}

export async function keptModel(): Promise<Kept | null> {
  const headers = (await (await caches.open(SHELF)).match(PLACE))?.headers;
  if (!headers) return null;
  return { id: headers.get(ID) ?? "", bytes: Number(headers.get(LENGTH)) };
}

export async function keptFile(): Promise<Bytes | null> {
  const found = await (await caches.open(SHELF)).match(PLACE);
  return found ? new Uint8Array(await found.arrayBuffer()) : null;
}

export async function dropModel(): Promise<void> {
  await caches.delete(SHELF);
}

/**
 * Get the file of the model that the server judges with, and keep it. `told` hears how much of it
 * is here, 0 to 1. Throws PinclipError: not_found where the server has none to give.
 */
export async function fetchModel(
  { backend, key }: Pick<Settings, "backend" | "key">,
  id: string,
  told: (share: number) => void,
): Promise<void> {
  const address = `${backend.replace(/\/+$/, "")}/v1/models/${encodeURIComponent(id)}/onnx`;
  const file = await whole(await asked(address, key), told);
  if (modelOf(file)?.id !== id) {
    throw new PinclipError("response_invalid", `The file is not that of the model ${id}.`);
  }
  const headers = { [ID]: id, [LENGTH]: String(file.length) };
  await (await caches.open(SHELF)).put(PLACE, new Response(file, { headers }));
}

async function asked(address: string, key: string): Promise<Response> {
  const response = await fetch(address, {
    headers: key ? { Authorization: `Bearer ${key}` } : {},
    credentials: "omit",
    redirect: "error",
    cache: "no-store", // it is kept on the shelf, once
    referrerPolicy: "no-referrer",
  }).catch(() => null);
  if (response === null) throw new PinclipError("connection_failed", "The server had no answer.");
  if (response.ok) return response;
  await response.body?.cancel();
  const code = response.status === 404 ? "not_found" : "response_invalid";
  throw new PinclipError(code, `The server answered ${response.status}.`);
}

/** The body, counted as it comes; a connection that breaks is an error. */
async function whole(response: Response, told: (share: number) => void): Promise<Bytes> {
  const length = Number(response.headers.get("content-length"));
  let at = 0;
  const counted = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform: (part, passed) => {
      at += part.length;
      if (length > 0) told(at / length);
      passed.enqueue(part);
    },
  });
  try {
    const body = new Response(response.body?.pipeThrough(counted) ?? null);
    return new Uint8Array(await body.arrayBuffer());
  } catch {
    throw new PinclipError("connection_failed", "The connection broke before the file was here.");
  }
}
