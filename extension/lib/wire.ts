/**
 * What the server says, read: a message that is not what it should be is refused, never guessed.
 *
 *     bytes of an answer -> JSON -> read(scan, ...) -> Scan | TypeError
 *
 * Rules that no type can carry, the same as in the SDK and checked by the same vectors:
 * a verdict of a newer server is `inconclusive`; an error code of a newer server is `unknown`;
 * fields of a newer server are left out; fields that an older one lacks are empty.
 * Shapes come from wire.gen.ts; that these readers agree with it is checked by the compiler.
 */
import * as v from "valibot";
import { type components, problemCodeValues, scanErrorCodeValues, verdictValues } from "./wire.gen";

type Schemas = components["schemas"];
export type Verdict = Schemas["Verdict"];
export type PointName = Schemas["PointName"];
export type ProblemCode = Schemas["ProblemCode"];
export type ScanErrorCode = Schemas["ScanErrorCode"];
export type ScanRequest = Schemas["ScanRequest"];
export type KeyFacts = Schemas["KeyFacts"];

const orNull = <T extends v.GenericSchema>(schema: T) => v.optional(v.nullable(schema), null);
const words = v.optional(v.record(v.string(), v.string()), {});

/** A word of a closed list; one that is not in it reads as `otherwise`. */
function wordOf<const W extends string>(known: readonly W[], otherwise: W) {
  const isKnown = (text: string): text is W => (known as readonly string[]).includes(text);
  return v.pipe(
    v.string(),
    v.transform((text): W => (isKnown(text) ? text : otherwise)),
  );
}

const verdict = wordOf<Verdict>(verdictValues, "inconclusive");

const point = v.object({
  name: v.string(),
  slice: v.string(),
  threshold: v.nullable(v.number()),
  clear_below: v.nullable(v.number()),
  expected_false_alarm_rate: v.nullable(v.number()),
  ci95: v.nullable(v.tuple([v.number(), v.number()])),
  n: v.number(),
  calibration_id: v.string(),
});

const model = v.object({ id: v.string(), weights_sha256: v.string() });

const input = v.object({
  kind: v.string(),
  url: orNull(v.string()),
  final_url: orNull(v.string()),
  fetched_by: orNull(v.string()),
  sha256: orNull(v.string()),
  bytes: orNull(v.number()),
  mime: orNull(v.string()),
  width: orNull(v.number()),
  height: orNull(v.number()),
  frames: orNull(v.number()),
  variant: v.optional(v.string(), "as_served"),
});

const scanError = v.object({
  code: wordOf<ScanErrorCode>(scanErrorCodeValues, "unknown"),
  detail: v.string(),
  hint: v.string(),
  retryable: v.boolean(),
});

export const scan = v.object({
  id: v.string(),
  status: v.string(),
  verdict: orNull(verdict),
  score: orNull(v.number()),
  probability: orNull(v.number()),
  operating_point: orNull(point),
  reasons: v.optional(v.array(v.object({ code: v.string(), text: v.string() })), []),
  warnings: v.optional(v.array(v.string()), []),
  declaration: orNull(
    v.object({
      kind: v.string(),
      trust: v.string(),
      source_type: orNull(v.string()),
      signer: orNull(v.string()),
    }),
  ),
  input,
  model: orNull(model),
  error: orNull(scanError),
  appeal: v.optional(v.object({ state: v.optional(v.string(), "none"), id: orNull(v.string()) }), {
    state: "none",
    id: null,
  }),
  superseded_by: orNull(v.string()),
  context: words,
  metadata: words,
  sequence: v.optional(v.number(), 0),
  created_at: v.string(),
  completed_at: orNull(v.string()),
});
export type Scan = v.InferOutput<typeof scan>;
export type OperatingPoint = v.InferOutput<typeof point>;

export const upload = v.object({
  id: v.string(),
  sha256: v.string(),
  bytes: v.number(),
  expires_at: v.string(),
});
export type Upload = v.InferOutput<typeof upload>;

export const lookup = v.object({
  sha256: v.string(),
  verdict: orNull(verdict),
  probability: orNull(v.number()),
  operating_point: orNull(point),
  model: orNull(model),
  judged_at: orNull(v.string()),
});
export type Lookup = v.InferOutput<typeof lookup>;

export const hashRange = v.object({ prefix: v.string(), data: v.array(lookup) });
export type HashRange = v.InferOutput<typeof hashRange>;

export const feedback = v.object({
  id: v.string(),
  scan_id: v.string(),
  label: v.string(),
  comment: v.string(),
  sha256: v.nullable(v.string()),
  verdict: v.nullable(verdict),
  created_at: v.string(),
});
export type Feedback = v.InferOutput<typeof feedback>;

export const appeal = v.object({
  id: v.string(),
  scan_id: v.string(),
  state: v.string(),
  reason: v.string(),
  evidence_url: v.nullable(v.string()),
  note: v.nullable(v.string()),
  created_at: v.string(),
  decided_at: v.nullable(v.string()),
});
export type Appeal = v.InferOutput<typeof appeal>;

export const health = v.object({ status: v.string() });

export const keyFacts = v.object({
  id: v.nullable(v.string()),
  owner: v.string(),
  scopes: v.array(v.string()),
  expires_at: v.nullable(v.string()),
  rate_per_minute: v.nullable(v.number()),
  parallel: v.nullable(v.number()),
  quota_per_day: v.nullable(v.number()),
});

export const modelList = v.object({ data: v.array(v.object({ id: v.string() })) });

export const problem = v.object({
  type: v.string(),
  title: v.string(),
  status: v.number(),
  detail: v.string(),
  code: wordOf<ProblemCode>(problemCodeValues, "unknown"),
  hint: v.string(),
  request_id: v.string(),
  retryable: v.boolean(),
});
export type Problem = v.InferOutput<typeof problem>;

/** What a message says; throws TypeError, which names the first field that is wrong. */
export function read<T extends v.GenericSchema>(schema: T, message: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, message);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new TypeError(`${v.getDotPath(issue) ?? "the message"}: ${issue.message}`);
}

/** What a message says, or null where it is something else. */
export function readOrNull<T extends v.GenericSchema>(
  schema: T,
  message: unknown,
): v.InferOutput<T> | null {
  const result = v.safeParse(schema, message);
  return result.success ? result.output : null;
}

/** `T` with every word of a list as plain text: readers keep words of a newer server. */
type Loose<T> = T extends string
  ? string
  : T extends readonly (infer E)[]
    ? readonly Loose<E>[]
    : T extends object
      ? { [K in keyof T]: Loose<T[K]> }
      : T;

/** True where a message of the generated wire is one that a reader gives; else no value fits. */
type Reads<Read, Wire> = Loose<Wire> extends Loose<Read> ? true : never;

/** The compiler refuses this where a reader and wire.gen.ts have come to differ. */
export const AGREES: [
  Reads<Scan, Schemas["Scan"]>,
  Reads<Upload, Schemas["Upload"]>,
  Reads<Lookup, Schemas["Lookup"]>,
  Reads<HashRange, Schemas["HashRange"]>,
  Reads<Problem, Schemas["Problem"]>,
  Reads<Appeal, Schemas["Appeal"]>,
  Reads<Feedback, Schemas["Feedback"]>,
  Reads<v.InferOutput<typeof keyFacts>, Schemas["KeyFacts"]>,
] = [true, true, true, true, true, true, true, true];
