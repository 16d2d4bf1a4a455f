/**
 * The file of a model, and all that is written in it beside its weights. Pure.
 *
 *     ONNX: a protobuf message -> its metadata (field 14: key, value) -> Model
 *
 * `pinclip export` puts preprocessing, calibration and thresholds there, so what judges and what
 * it is judged by cannot come apart. Only the outermost fields are walked: a library that reads
 * all of protobuf would be larger than what reads the model itself.
 */
import * as v from "valibot";
import type { Bytes } from "../lib/images";

const rate = v.nullable(v.pipe(v.number(), v.minValue(0), v.maxValue(1)));
const point = v.object({
  threshold: rate,
  clear_below: rate,
  false_alarm_rate: rate,
  ci95: v.nullable(v.tuple([v.number(), v.number()])),
  n: v.number(),
});
const slice = v.object({
  calibration: v.nullable(v.object({ temperature: v.number(), bias: v.number() })),
  points: v.record(v.string(), point),
});
const side = v.pipe(v.number(), v.integer(), v.minValue(32), v.maxValue(1024));
const channels = v.tuple([v.number(), v.number(), v.number()]);
const preprocessing = v.object({
  canonical: v.object({
    short_side: side,
    long_ratio: v.pipe(v.number(), v.minValue(1)),
    quality: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100)),
    reducing_gap: v.pipe(v.number(), v.minValue(1)),
  }),
  size: side,
  mean: channels,
  std: channels,
});
/** The names of the slices, behind that of the score. */
const outputs = v.pipe(
  v.tupleWithRest([v.literal("score"), v.string()], v.string()),
  v.transform(([, ...names]) => names),
);

export type Point = v.InferOutput<typeof point>;
export type Slice = v.InferOutput<typeof slice>;

/** What a model's file says of itself. */
export interface Model {
  id: string;
  preprocessing: v.InferOutput<typeof preprocessing>;
  /** In the order of their logits, which stand behind the score's in the model's outputs. */
  slices: [name: string, facts: Slice][];
}

/** Read what the file says; null for a file that `pinclip export` did not write. */
export function modelOf(file: Bytes): Model | null {
  try {
    const said = metadataOf(file);
    const json = (name: string) => JSON.parse(said.get(`pinclip.${name}`) ?? "null");
    const slices = v.parse(v.record(v.string(), slice), json("slices"));
    return {
      id: v.parse(v.string(), said.get("pinclip.weights")),
      preprocessing: v.parse(preprocessing, json("preprocessing")),
      slices: v.parse(outputs, json("outputs")).map((name) => [name, v.parse(slice, slices[name])]),
    };
  } catch {
    return null;
  }
}

const METADATA = 14;
const [KEY, VALUE] = [1, 2];

function metadataOf(file: Bytes): Map<string, string> {
  const found = new Map<string, string>();
  for (const { field, content } of fieldsOf(file)) {
    if (field !== METADATA) continue;
    const entry = new Map([...fieldsOf(content)].map((part) => [part.field, part.content]));
    found.set(textOf(entry.get(KEY)), textOf(entry.get(VALUE)));
  }
  return found;
}

function textOf(content: Uint8Array | undefined): string {
  return new TextDecoder().decode(content);
}

/** The fields of a protobuf message that have a length; numbers are passed over. */
function* fieldsOf(message: Uint8Array): Generator<{ field: number; content: Uint8Array }> {
  const walk = { message, at: 0 };
  while (walk.at < message.length) {
    const tag = varint(walk);
    const kind = tag % 8;
    if (kind === 0) varint(walk);
    else if (kind === 2) yield { field: Math.floor(tag / 8), content: taken(walk, varint(walk)) };
    else taken(walk, kind === 1 ? 8 : 4);
  }
}

function varint(walk: { message: Uint8Array; at: number }): number {
  let value = 0;
  for (let scale = 1; ; scale *= 128) {
    const byte = walk.message[walk.at++];
    if (byte === undefined) throw new RangeError("The message ends within a number.");
    value += (byte & 127) * scale;
    if (byte < 128) return value;
  }
}

function taken(walk: { message: Uint8Array; at: number }, length: number): Uint8Array {
  const end = walk.at + length;
  if (end > walk.message.length) throw new RangeError("The message ends within a field.");
  const content = walk.message.subarray(walk.at, end);
  walk.at = end;
  return content;
}
