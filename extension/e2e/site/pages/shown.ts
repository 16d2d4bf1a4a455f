/** Pages that ask: which image is painted here? By srcset, by CSS, under a link, in a root. */
import { CDN, type Rows, SITE, SPACER, there } from "./row.ts";

const at = (selector: string, paints: string | null, more = {}) => ({
  at: selector,
  paints,
  ...more,
});

const CHOSEN: Rows = {
  formats: {
    says: "The five formats of the web; the last one moves.",
    html: ["bright.jpeg", "bright-format.png", "bright.webp", "bright.avif", "animated.gif"]
      .map((name) => `<img id="${name.split(".").at(-1)}" src="${CDN}/p/${name}" alt="grey">`)
      .join("\n"),
    targets: ["jpeg", "png", "webp", "avif", "gif"].map((kind) => {
      const name = kind === "png" ? "bright-format" : kind === "gif" ? "animated" : "bright";
      return at(`#${kind}`, `${CDN}/p/${name}.${kind}`);
    }),
  },
  srcset: {
    says: "One image in two densities: a screen of 2 pixels to one shows the other.",
    html: `<img id="i" width="400" height="300" alt="grey" src="${there("dark-src")}"
      srcset="${there("bright-1x")} 1x, ${there("bright-2x-800x600")} 2x">`,
    targets: [
      at("#i", there("bright-1x"), { scale: 1 }),
      at("#i", there("bright-2x-800x600"), { scale: 2 }),
    ],
  },
  sizes: {
    says: "The width of the window chooses the image.",
    html: `<img id="i" sizes="100vw" style="width: 90vw" alt="grey" src="${there("dark-src")}"
      srcset="${there("bright-w-300x200")} 300w, ${there("bright-w-1600x1000")} 1600w">`,
    targets: [
      at("#i", there("bright-w-300x200"), { width: 300 }),
      at("#i", there("bright-w-1600x1000"), { width: 900 }),
    ],
  },
  picture: {
    says: "A picture of three sources: of a format that nobody paints, for print, and in AVIF.",
    html: `<picture><source type="image/x-none" srcset="${there("dark-none")}">
      <source media="print" srcset="${there("dark-print")}">
      <source type="image/avif" srcset="${CDN}/p/bright.avif">
      <img id="i" src="${there("dark-fallback")}" alt="grey"></picture>`,
    targets: [at("#i", `${CDN}/p/bright.avif`)],
  },
  resize: {
    says: "Another image once the window is narrower than 700 pixels.",
    html: `<picture><source media="(max-width: 700px)" srcset="${there("dark-narrow-320x240")}">
      <img id="i" src="${there("bright-broad")}" alt="grey"></picture>`,
    targets: [
      at("#i", there("bright-broad"), { width: 1000 }),
      at("#i", there("dark-narrow-320x240"), { width: 600 }),
    ],
  },
  carousel: {
    says: "One place, two images in turn: by the button, or each second with ?play.",
    html: `<img id="i" width="400" height="300" src="${there("bright-slide")}" alt="grey">
      <button id="next">Next</button><script>
      const slides = ["${there("dark-slide")}", "${there("bright-slide")}"];
      let turn = 0;
      function next() { document.querySelector("#i").src = slides[turn++ % 2]; }
      document.querySelector("#next").onclick = next;
      if (location.search === "?play") setInterval(next, 1000);</script>`,
    targets: [
      at("#i", there("bright-slide")),
      at("#i", there("dark-slide"), { first: "next()" }),
      at("#i", null, {
        first: `document.querySelector("#i").src = "${CDN}/slow/9000/p/dark-a.png"`,
      }),
    ],
  },
  slides: {
    says: "Two slides in the same place: the upper one is faded out, or lies below.",
    html: `<div class="card" id="faded" style="height: 320px">
      <img style="position: absolute" src="${there("bright-slide-seen")}" alt="grey">
      <img style="position: absolute; opacity: 0" src="${there("dark-slide-faded")}" alt="grey"></div>
      <div class="card" id="below" style="height: 300px">
      <img style="position: absolute; z-index: 2" src="${there("bright-slide-up")}" alt="grey">
      <img style="position: absolute; z-index: 1" src="${there("dark-slide-down")}" alt="grey"></div>`,
    targets: [at("#faded", there("bright-slide-seen")), at("#below", there("bright-slide-up"))],
  },
  lazy: {
    says: "An image that is loaded once it is near, and one whose script puts it into a spacer.",
    html: `<img id="spacer" class="box" src="${SPACER}" alt="grey">
      <button id="load" onclick="document.querySelector('#spacer').src='${there("bright-lazy")}'">
      Load</button><div style="height: 9000px"></div>
      <img id="lazy" loading="lazy" class="box" src="${there("bright-far")}" alt="grey">`,
    targets: [
      at("#spacer", null),
      at("#spacer", there("bright-lazy"), { first: "document.querySelector('#load').click()" }),
      at("#lazy", there("bright-far"), { first: "scrollTo(0, 99999)" }),
    ],
  },
  blurred: {
    says: "A few blurred pixels until the image comes, behind it or beneath it.",
    html: `<img id="i" class="box" src="${there("bright-sharp")}" alt="grey"
      style="background: url(${there("dark-blur-32x24")}) 0 0 / cover">
      <div id="d" class="box" style="background: url(${there("dark-blur-64x48")}) 0 0 / cover">
      <img src="${there("bright-clear")}" alt="grey"></div>
      <img id="few" class="box" src="${there("dark-few-8x6")}" alt="grey">`,
    targets: [at("#i", there("bright-sharp")), at("#d", there("bright-clear")), at("#few", null)],
  },
};

const STYLED: Rows = {
  css: {
    says: "Backgrounds: plain, of a set, of layers, under a gradient, too small.",
    html: ["plain", "set", "layers", "shade", "hidden", "icon", "none"]
      .map((id) => `<div id="${id}" class="box"></div>`)
      .join("\n"),
    head: `<style>
      #plain { background: url("${there("bright-plain")}") }
      #set { background: image-set(url("${there("bright-set2-800x600")}") 2x,
        url("${there("bright-set1")}") 1x) }
      #layers { background: url("${there("dark-icon-32x32")}") 0 0 / 32px 32px no-repeat,
        url("${there("bright-layer")}") }
      #shade { background: linear-gradient(transparent, #0008), url("${there("bright-shade")}") }
      #hidden { background: linear-gradient(red, blue), url("${there("dark-hidden")}") }
      #icon { background: url("${there("dark-icon2-32x32")}") 0 0 / 32px 32px no-repeat }</style>`,
    targets: [
      at("#plain", there("bright-plain"), { kind: "background" }),
      at("#set", there("bright-set1"), { scale: 1 }),
      at("#set", there("bright-set2-800x600"), { scale: 2 }),
      at("#layers", there("bright-layer")),
      at("#shade", there("bright-shade")),
      at("#hidden", null),
      at("#icon", null),
      at("#none", null),
    ],
  },
  pseudo: {
    says: "Images that CSS puts before, after and in place of an element.",
    html: `<div id="before"></div><div id="after" class="box"></div>
      <div id="instead" class="box"></div><div id="off" class="box"></div>`,
    head: `<style>#before { width: 400px }
      #before::before { content: ""; display: block; height: 300px;
        background: url("${there("bright-before")}") }
      #after::after { content: url("${there("bright-after")}") }
      #instead { content: url("${there("bright-instead")}") }
      #off::before { display: none; content: url("${there("dark-off")}") }</style>`,
    targets: [
      at("#before", there("bright-before"), { kind: "pseudo" }),
      at("#after", there("bright-after"), { kind: "pseudo" }),
      at("#instead", there("bright-instead")),
      at("#off", null),
    ],
  },
  drawing: {
    says: "A picture inside of a drawing, a drawing as a picture, and a drawing alone.",
    html: `<svg width="400" height="300"><rect width="400" height="300" fill="pink"/>
      <image id="inner" href="/p/bright-inner.png" width="400" height="300"/></svg>
      <img id="file" src="/drawing.svg" alt="a circle">
      <svg id="alone" width="400" height="300"><circle r="90" cx="200" cy="150"/></svg>`,
    targets: [
      at("#inner", `${SITE}/p/bright-inner.png`, { kind: "svg" }),
      at("#file", `${SITE}/drawing.svg`, { kind: "img" }),
      at("#alone", null),
    ],
  },
  poster: {
    says: "A film's poster, which goes as the film begins; a button and an object of an image.",
    html: `<video id="film" class="box" poster="${there("bright-poster")}" muted></video>
      <form><input id="button" type="image" src="${there("bright-button")}" alt="Go"></form>
      <object id="object" type="image/png" data="${there("bright-object")}"></object>
      <script>async function begin() {
        const canvas = Object.assign(document.createElement("canvas"), { width: 400, height: 300 });
        const film = document.querySelector("#film");
        const pen = canvas.getContext("2d");
        film.srcObject = canvas.captureStream();
        setInterval(() => pen.fillRect(0, 0, Math.random() * 400, 300), 30);
        await film.play();
      }</script>`,
    targets: [
      at("#film", there("bright-poster"), { kind: "poster" }),
      at("#film", "pixels", { kind: "video", first: "begin()" }),
      at("#button", there("bright-button"), { kind: "input" }),
      at("#object", there("bright-object")),
    ],
  },
};

const LAID_OVER: Rows = {
  twin: {
    says: "What takes the pointer is see-through: a spacer over a background, over an image.",
    html: `<div id="spaced" class="box" style="background: url(${there("bright-twin1")})">
      <img class="box" src="${SPACER}" alt="grey"></div>
      <div id="faded" class="card"><img src="${there("bright-twin2")}" alt="grey">
      <img class="over" style="opacity: 0" src="${there("dark-twin2")}" alt="grey"></div>
      <img id="own" class="box" src="${SPACER}" alt="grey"
        style="background: url(${there("bright-twin3")})">
      <div id="stretched" class="card"><img src="${there("bright-twin4")}" alt="grey">
      <img class="over box" src="${CDN}/p/dark-dot-1x1.png" style="opacity: .001" alt="grey"></div>`,
    targets: [
      at("#spaced", there("bright-twin1"), { kind: "background" }),
      at("#faded", there("bright-twin2")),
      at("#own", there("bright-twin3"), { kind: "background" }),
      at("#stretched", there("bright-twin4")),
    ],
  },
  overlay: {
    says: "Links, shades and maps over images, and boxes that hide one.",
    html: `<div id="link" class="card"><img src="${there("bright-under1")}" alt="grey">
      <a class="over" href="#a" aria-label="open"></a></div>
      <div id="through" class="card"><a class="over" href="#b" aria-label="open"></a>
      <img src="${there("bright-under2")}" alt="grey" style="pointer-events: none"></div>
      <div id="shade" class="card"><img src="${there("bright-under3")}" alt="grey">
      <div class="over" style="background: #0004"></div></div>
      <div id="hidden" class="card"><img src="${there("dark-under4")}" alt="grey">
      <div class="over" style="background: white">words</div></div>
      <map name="m"><area shape="rect" coords="0,0,400,300" href="#c" alt="open"></map>
      <img id="map" usemap="#m" src="${there("bright-under5")}" alt="grey">`,
    targets: [
      at("#link", there("bright-under1")),
      at("#through", there("bright-under2")),
      at("#shade", there("bright-under3")),
      at("#hidden", null),
      at("#map", there("bright-under5")),
    ],
  },
  roots: {
    says: "Images in shadow roots: open, closed, one in the other, and slotted.",
    html: `<div id="open" class="card"></div><div id="closed" class="card"></div>
      <x-card id="nested" class="card"></x-card>
      <div id="slotted" class="card" style="background: white"><img src="${there("bright-slotted")}" alt="grey"></div>
      <script>
      const image = (name) => '<img src="${CDN}/p/' + name + '.png" alt="grey">';
      const root = (id, mode) => document.querySelector(id).attachShadow({ mode });
      root("#open", "open").innerHTML = image("bright-open");
      root("#closed", "closed").innerHTML = image("bright-closed");
      const outer = root("#nested", "closed");
      outer.innerHTML = "<div></div>";
      outer.firstChild.attachShadow({ mode: "closed" }).innerHTML = image("bright-nested");
      root("#slotted", "closed").innerHTML =
        '<div style="position:relative"><slot></slot><a href="#" style="position:absolute;inset:0"></a></div>';
      </script>`,
    head: "<style>x-card { display: block }</style>",
    targets: [
      at("#open", there("bright-open")),
      at("#closed", there("bright-closed")),
      at("#nested", there("bright-nested")),
      at("#slotted", there("bright-slotted")),
    ],
  },
};

export const SHOWN: Rows = { ...CHOSEN, ...STYLED, ...LAID_OVER };
