/**
 * Why the server cannot be used, by its likeliest cause: what the connection test finds.
 *
 *     address readable? -> key given? -> GET /v1/key -> GET /v1/models -> ready
 *          |                               | no answer that may be read
 *     address_invalid                      v
 *                          does anything answer at all (an answer that may not be read)?
 *                            yes: origin_unknown   no: offline | unreachable_local | unreachable
 *
 * A browser gives one error for every connection that fails, so the causes are told apart by what
 * else is true. It asks only the address that the user has typed, and only when told to.
 */
import { Client, type World, world } from "./api";
import { APIConnectionError, APIStatusError, PinclipError } from "./errors";
import { isPrivateHost } from "./hosts";
import type { Settings } from "./store";

export type Cause =
  | "ready"
  | "no_model"
  | "address_invalid"
  | "address_insecure"
  | "origin_unknown"
  | "offline"
  | "unreachable_local"
  | "unreachable"
  | "key_missing"
  | "key_wrong"
  | "not_pinclip"
  | "busy";

export interface Finding {
  cause: Cause;
  /** The server's or the browser's own words, for who wants to know more. */
  detail: string;
}

/** What of the browser is needed beside World. */
export interface Surroundings extends World {
  isOnline: boolean;
}

export function surroundings(): Surroundings {
  return { ...world(), isOnline: navigator.onLine };
}

/** Why an address cannot be a server's, or null where it can. Pure. */
export function faultOfAddress(text: string): "address_invalid" | "address_insecure" | null {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return "address_invalid";
  }
  const isPlain = url.username === "" && url.password === "" && !url.search && !url.hash;
  if (!/^https?:$/.test(url.protocol) || !isPlain) return "address_invalid";
  // Without TLS, everybody on the way reads the key and the images.
  return url.protocol === "http:" && !isPrivateHost(url.hostname) ? "address_insecure" : null;
}

/** Ask the server that the settings name. Never throws. */
export async function test(
  settings: Settings,
  around: Surroundings = surroundings(),
): Promise<Finding> {
  const fault = faultOfAddress(settings.backend);
  if (fault) return { cause: fault, detail: settings.backend };
  const client = new Client(settings.backend, settings.key, around);
  try {
    await client.key();
    const models = await client.models();
    const ids = models.data.map((one) => one.id).join(", ");
    return ids ? { cause: "ready", detail: ids } : { cause: "no_model", detail: "" };
  } catch (error) {
    return causeOf(error, settings, around);
  }
}

async function causeOf(error: unknown, settings: Settings, around: Surroundings): Promise<Finding> {
  const detail = error instanceof Error ? error.message : String(error);
  if (error instanceof APIConnectionError) {
    return { cause: await causeOfSilence(settings, around), detail };
  }
  return { cause: causeOfRefusal(error), detail };
}

async function causeOfSilence(settings: Settings, around: Surroundings): Promise<Cause> {
  if (await answers(settings.backend, around)) return "origin_unknown";
  if (isPrivateHost(new URL(settings.backend).hostname)) return "unreachable_local";
  return around.isOnline ? "unreachable" : "offline";
}

/** Whether anything answers at the address, though its answer may not be read. */
async function answers(backend: string, around: Surroundings): Promise<boolean> {
  try {
    const url = `${backend.replace(/\/+$/, "")}/healthz`;
    await around.fetch(url, { mode: "no-cors", credentials: "omit", cache: "no-store" });
    return true;
  } catch {
    return false;
  }
}

const CAUSES: Partial<Record<string, Cause>> = {
  auth_missing: "key_missing",
  auth_invalid: "key_wrong",
  key_revoked: "key_wrong",
  scope_missing: "key_wrong",
  origin_not_allowed: "origin_unknown",
};

function causeOfRefusal(error: unknown): Cause {
  const known = error instanceof PinclipError ? CAUSES[error.code] : undefined;
  if (known) return known;
  const isBusy = error instanceof APIStatusError && error.problem !== null;
  return isBusy ? "busy" : "not_pinclip";
}
