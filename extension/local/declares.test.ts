import { expect, test } from "vitest";
import { mayDeclare } from "./declares";

const bytes = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const wide = (text: string) => bytes([...text].map((letter) => `${letter}\0`).join(""));

test.each([
  ["XMP", bytes('Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/.../trainedAlgorithmicMedia"')],
  ["C2PA in a JPEG", bytes("\xff\xebJP\0\0jumb\0\0jumdc2pa")],
  ["C2PA in a PNG", bytes("\0\0\0\x09caBXxxxx")],
  ["a generator's parameters", bytes("parameters\0a cat\nSteps: 20, Sampler: Euler")],
  ["the same in EXIF, two bytes a letter", wide("a cat\nSteps: 20, Sampler: Euler")],
  ["a workflow", bytes('prompt\0{"3": {"class_type": "KSampler"}}')],
  ["packed text", bytes("\0\0\0\x09zTXtparameters\0\0xx")],
])("%s is left to the server", (_, file) => {
  expect(mayDeclare(file)).toBe(true);
});

test("a plain picture is not", () => {
  expect(mayDeclare(bytes("\xff\xd8\xff\xe0\0\x10JFIF\0 Exif\0 NIKON Z6 \xff\xd9"))).toBe(false);
});
