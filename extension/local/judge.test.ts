import { expect, test } from "vitest";
import type { Verdict } from "../lib/wire";
import { vectors } from "../testing/world";
import { judge, mustConfirm, readingOf } from "./judge";
import { modelOf } from "./model";
import { exported } from "./testing";

interface Row {
  id: string;
  row: number[];
  again: number[] | null;
  size: [width: number, height: number];
  point: string;
  must_confirm: boolean;
  verdict: Verdict;
  probability: number | null;
  rate: number | null;
  slice: string;
  warnings: string[];
}

const given = vectors("local");
const model = modelOf(exported(given));
if (model === null) throw new Error("the file is not read");

test.each(given.verdicts as Row[])("$id: as the server says", (one) => {
  const [width, height] = one.size;
  const size = { width, height };
  const reading = readingOf(one.row, model);
  const again = one.again && readingOf(one.again, model);

  const found = judge(reading, again, size, one.point);

  expect(mustConfirm(reading, size, one.point)).toBe(one.must_confirm);
  expect(found.verdict).toBe(one.verdict);
  expect(found.falseAlarms?.rate ?? null).toBe(one.rate);
  expect(found.falseAlarms?.slice ?? one.slice).toBe(one.slice);
  expect(found.warnings).toEqual(one.warnings);
  if (one.probability === null) expect(found.probability).toBeNull();
  else expect(found.probability).toBeCloseTo(one.probability, 5);
});

test.each([[[Number.NaN, 1, 0, 0, 0]], [[0, Number.POSITIVE_INFINITY, 0, 0, 0]], [[0, 1, 2]]])(
  "outputs that are no numbers, or too few, are no verdict: %s",
  (row) => {
    expect(() => readingOf(row, model)).toThrow(RangeError);
  },
);
