/**
 * What tests need of a model: files as `pinclip export` lays them out, with no weights to speak of.
 *
 *     exported(said)             a graph of noise, and what the file says of itself
 *     exported({..., graph})     ... a graph of the caller's
 *     BRIGHTNESS                 a graph that scores what is bright, as worker/testing.py does
 */
import type { Bytes } from "../lib/images";

export interface Said {
  preprocessing: unknown;
  outputs: unknown;
  slices: unknown;
  id?: string;
  weightsSha256?: string;
  graph?: Uint8Array;
}

const NOISE = new Uint8Array(70_000).fill(0xff);

export function exported(said: Said): Bytes {
  const { id = "small", weightsSha256 = "", graph = NOISE } = said;
  const entries = {
    "pinclip.weights": id,
    "pinclip.weights_sha256": weightsSha256,
    "pinclip.preprocessing": JSON.stringify(said.preprocessing),
    "pinclip.outputs": JSON.stringify(said.outputs),
    "pinclip.slices": JSON.stringify(said.slices),
  };
  return message(
    number(1, 8), // the version of ONNX's own layout
    field(7, graph),
    field(8, message(number(2, 13))), // of its operators
    ...Object.entries(entries).map(([key, value]) =>
      field(14, message(field(1, text(key)), field(2, text(value)))),
    ),
  );
}

/* Graphs. images (B, 3, 224, 224) -> mean (B, 3) -> outputs (B, 5): score, then the slices. */

const [INT, INTS, FLOAT] = [2, 7, 1];
const WEIGHT = [2, 2, 2].flatMap((score) => [score, 0, 0, 0, 0]);
const BIAS = [0, 9, 0, 0, 0];

export const BRIGHTNESS = message(
  field(1, node("ReduceMean", ["images"], "mean", axes(2, 3), keepNone())),
  field(1, node("Gemm", ["mean", "weight", "bias"], "outputs")),
  field(2, text("brightness")),
  field(5, tensor("weight", [3, 5], WEIGHT)),
  field(5, tensor("bias", [5], BIAS)),
  field(11, value("images", [1, 3, 224, 224])),
  field(12, value("outputs", [1, 5])),
);

function node(kind: string, from: string[], to: string, ...attributes: Uint8Array[]): Uint8Array {
  return message(
    ...from.map((name) => field(1, text(name))),
    field(2, text(to)),
    field(4, text(kind)),
    ...attributes.map((attribute) => field(5, attribute)),
  );
}

function axes(...numbers: number[]): Uint8Array {
  const each = numbers.map((axis) => number(8, axis));
  return message(field(1, text("axes")), ...each, number(20, INTS));
}

function keepNone(): Uint8Array {
  return message(field(1, text("keepdims")), number(3, 0), number(20, INT));
}

function tensor(name: string, shape: number[], values: number[]): Uint8Array {
  const raw = new Uint8Array(new Float32Array(values).buffer);
  const sides = shape.map((side) => number(1, side));
  return message(...sides, number(2, FLOAT), field(8, text(name)), field(9, raw));
}

function value(name: string, shape: number[]): Uint8Array {
  const sides = message(...shape.map((side) => field(1, message(number(1, side)))));
  const type = message(field(1, message(number(1, FLOAT), field(2, sides))));
  return message(field(1, text(name)), field(2, type));
}

/* Protobuf, which ONNX is made of. */

function field(tag: number, content: Uint8Array): Uint8Array {
  return message(varint((tag << 3) | 2), varint(content.length), content);
}

function number(tag: number, value: number): Uint8Array {
  return message(varint(tag << 3), varint(value));
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let left = value;
  for (; left > 127; left >>= 7) bytes.push((left & 127) | 128);
  return Uint8Array.from([...bytes, left]);
}

function message(...parts: Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
