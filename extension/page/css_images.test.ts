import { describe, expect, test } from "vitest";
import { imageOfBackground, imageOfContent, isFiller, opacityOf } from "./css_images";

const DATA = `data:image/png;base64,${"A".repeat(300)}`;

function seen(image: string, { size = "auto", scale = 1 } = {}): string | null {
  return imageOfBackground({ image, size }, { scale, smallest: 64 });
}

describe("the image of a background", () => {
  test.each([
    ["none", "none", null],
    ["one image", 'url("https://a.example/1.png")', "https://a.example/1.png"],
    ["brackets and commas", 'url("https://a.example/(1),2.png")', "https://a.example/(1),2.png"],
    ["an escaped quote", 'url("https://a.example/\\"1.png")', 'https://a.example/"1.png'],
    ["a number for a letter", 'url("https://a.example/\\31 .png")', "https://a.example/1.png"],
    ["an escape of no letter", 'url("x\\ffffff y")', "x\ufffdy"],
    ["a gradient", "linear-gradient(rgb(0, 0, 0), rgb(1, 1, 1))", null],
    ["a part of a drawing", 'url("#clouds")', null],
    ["a filler", 'url("data:image/gif;base64,R0lGODlhAQABAAAAACw=")', null],
    ["bytes in the address", `url("${DATA}")`, DATA],
    ["a mix of two", 'cross-fade(url("https://a.example/1.png") 50%, url("b"))', null],
  ])("%s", (_, image, address) => {
    expect(seen(image)).toBe(address);
  });

  test("is the topmost layer's", () => {
    expect(seen('url("https://a.example/1.png"), url("https://a.example/2.png")')).toBe(
      "https://a.example/1.png",
    );
  });

  test("is seen through a gradient that lets light through, and not through another", () => {
    const image = 'url("https://a.example/1.png")';

    expect(seen(`linear-gradient(rgba(0, 0, 0, 0.5), rgb(0, 0, 0)), ${image}`)).not.toBeNull();
    expect(seen(`linear-gradient(rgb(9, 0, 0), rgb(0, 0, 0)), ${image}`)).toBeNull();
  });

  test("is not a small decoration over it", () => {
    const image = 'url("https://a.example/icon.png"), url("https://a.example/photo.jpg")';

    expect(seen(image, { size: "24px 24px, cover" })).toBe("https://a.example/photo.jpg");
  });

  test.each([
    [1, "https://a.example/1.png"],
    [1.5, "https://a.example/2.png"],
    [3, "https://a.example/2.png"],
  ])("of a set is the one for a screen of %d pixels to one", (scale, address) => {
    const set =
      'image-set(url("https://a.example/2.png") 2dppx, url("https://a.example/1.png") 96dpi)';

    expect(seen(set, { scale })).toBe(address);
  });

  test("of a set is of a format that browsers paint", () => {
    const set =
      'image-set(url("https://a.example/1.jxl") 1dppx type("image/jxl"), ' +
      'url("https://a.example/1.avif") 1dppx type("image/avif"))';

    expect(seen(set)).toBe("https://a.example/1.avif");
  });

  test("of megabytes is found without walking them", () => {
    const address = `data:image/png;base64,${"A".repeat(20 * 1024 * 1024)}`;

    expect(seen(`url("${address}")`)?.length).toBe(address.length);
    expect(seen(`url("${address}${address}")`)).toBeNull();
  });
});

test.each([
  ["normal", null],
  ['"words"', null],
  ['url("https://a.example/1.png") / "in words"', "https://a.example/1.png"],
  ['"before " image-set(url("https://a.example/1.png") 1dppx)', "https://a.example/1.png"],
])("the image of content %s", (content, address) => {
  expect(imageOfContent(content, 1)).toBe(address);
});

test.each([
  ["rgb(1, 2, 3)", 1],
  ["rgba(1, 2, 3, 0.25)", 0.25],
  ["color(srgb 1 0 0 / 0.5)", 0.5],
  ["transparent", 0],
])("how opaque %s is", (colour, opacity) => {
  expect(opacityOf(colour)).toBe(opacity);
});

test("a filler is an address too short for a picture", () => {
  expect(isFiller("data:image/svg+xml,%3Csvg/%3E")).toBe(true);
  expect(isFiller(DATA)).toBe(false);
  expect(isFiller("https://a.example/1.gif")).toBe(false);
});
