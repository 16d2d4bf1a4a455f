import { expect, test } from "vitest";
import { vectors } from "../testing/world";
import { modelOf } from "./model";
import { exported } from "./testing";

const given = vectors("local");

test("a file says how it is used", () => {
  const model = modelOf(exported(given));

  expect(model).toMatchObject({ id: "small" });
  expect(model?.preprocessing).toEqual(given.preprocessing);
  expect(model?.slices.map(([name]) => name)).toEqual(given.outputs.slice(1));
});

test.each([
  ["nothing", new Uint8Array()],
  ["a page", new TextEncoder().encode("<!doctype html>".repeat(99))],
  ["a file that was cut", exported(given).slice(0, -1)],
  ["thresholds that are none", exported({ ...given, slices: { photo: { points: 1 } } })],
  ["outputs without thresholds", exported({ ...given, outputs: [...given.outputs, "poster"] })],
  ["outputs without a score", exported({ ...given, outputs: given.outputs.slice(1) })],
  ["sizes that would fill the memory", exported({ ...given, preprocessing: { size: 1e9 } })],
])("%s is no model", (_, file) => {
  expect(modelOf(file)).toBeNull();
});
