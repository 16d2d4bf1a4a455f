/** Pages that get in the way: by policy, by style, by full screen, by script, by sheer number. */
import { CDN, type Row, type Rows, SITE, there } from "./row.ts";

const STRICT =
  "default-src 'none'; img-src http://cdn.example data:; style-src 'nonce-a'; " +
  "require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'; sandbox allow-scripts";

const image = (name: string, more = "") =>
  `<img id="i" src="${there(name)}" width="400" height="300" alt="grey" ${more}>`;

function one(says: string, name: string, more: Partial<Row> = {}): Row {
  return { says, html: image(name), targets: [{ at: "#i", paints: there(name) }], ...more };
}

const IN_THE_WAY: Rows = {
  policy: one("A content policy that lets no style, script or connection in.", "bright-policy", {
    headers: { "Content-Security-Policy": STRICT },
  }),
  reset: one("A style sheet that undoes and hides everything else.", "bright-reset", {
    head: `<style>* { all: unset !important } :not(html, body, img) { display: none !important }
      img { display: block !important; width: 400px !important; height: 300px !important }</style>`,
  }),
  fullscreen: one("An image that fills the screen at a click.", "bright-full", {
    html: `<div id="stage">${image("bright-full")}</div>
      <button id="go" onclick="stage.requestFullscreen()">Fill the screen</button>`,
  }),
  dialog: one("An image in a dialog that lies over everything.", "bright-dialog", {
    html: `<dialog id="d">${image("bright-dialog")}</dialog>
      <button id="go" onclick="d.showModal()">Open</button>`,
    targets: [{ at: "#i", paints: there("bright-dialog"), first: "d.showModal()" }],
  }),
  rtl: one("A page that reads from right to left.", "bright-rtl", {
    html: `<div dir="rtl" lang="ar">${image("bright-rtl")} \u0635\u0648\u0631\u0629</div>`,
  }),
  keyboard: {
    says: "Images in links and buttons, for who has no mouse.",
    html: `<a id="link" href="#a" style="display: inline-block"><img src="${there("bright-key1")}" alt="grey"></a>
      <button id="button"><img src="${there("bright-key2")}" alt="grey"></button>
      <div id="card" class="card"><img src="${there("bright-key3")}" alt="grey">
      <a id="laid" class="over" href="#b" aria-label="open"></a></div>
      <span id="words" tabindex="0">Only words.</span>`,
    targets: [
      { at: "#link", paints: there("bright-key1") },
      { at: "#button", paints: there("bright-key2") },
      { at: "#laid", paints: there("bright-key3") },
      { at: "#words", paints: null },
    ],
  },
};

const AGAINST_US: Rows = {
  clobbered: {
    says: "Fields and images whose names are those of the browser's own functions.",
    html: `<form id="f" class="box" style="background: url(${there("bright-form")})">
      ${["getBoundingClientRect", "checkVisibility", "querySelectorAll", "localName", "parentNode"]
        .map((name) => `<input type="hidden" name="${name}">`)
        .join("")}</form>
      ${["elementsFromPoint", "querySelectorAll", "documentElement", "body", "getElementById"]
        .map((name) => `<img name="${name}" src="" alt="" hidden>`)
        .join("")}
      ${image("bright-clobbered")}`,
    targets: [
      { at: "#f", paints: there("bright-form") },
      { at: "#i", paints: there("bright-clobbered") },
    ],
  },
  overridden: {
    says: "A script that replaces the browser's functions, and hosts that throw when looked at.",
    html: `<x-trap id="trap" class="box" style="display: block"></x-trap>${image("bright-over")}
      <script>
      const no = () => { throw new Error("no"); };
      class Trap extends HTMLElement {
        get shadowRoot() { no(); } get isConnected() { no(); } getBoundingClientRect() { no(); }
      }
      customElements.define("x-trap", Trap);
      for (const name of ["getBoundingClientRect", "checkVisibility", "attachShadow"]) {
        Element.prototype[name] = no;
      }
      Document.prototype.elementsFromPoint = no;
      window.getComputedStyle = no;
      Object.defineProperty(HTMLImageElement.prototype, "currentSrc", { get: no });
      trap.style.backgroundImage = "url(${there("bright-trap")})";
      </script>`,
    targets: [
      { at: "#trap", paints: there("bright-trap") },
      { at: "#i", paints: there("bright-over") },
    ],
  },
  gigantic: {
    says: "Attributes of megabytes, and four hundred layers over an image.",
    html: `<div id="piled" class="card">${image("dark-piled")}</div>
      <div id="long" class="box"></div><img id="wordy" alt="grey" width="400" height="300"><script>
      piled.insertAdjacentHTML("beforeend", "<b class=over></b>".repeat(400));
      long.style.backgroundImage = "url(data:image/png;base64," + "A".repeat(1e6) + ")";
      wordy.alt = "x".repeat(1e6);
      wordy.src = "${there("bright-wordy")}?" + "y".repeat(8000);</script>`,
    targets: [
      { at: "#piled", paints: null },
      { at: "#long", paints: "data:" },
    ],
  },
  pile: {
    says: "Three thousand images in the same place.",
    html: `<div id="pile" class="card" style="height: 300px"></div><script>
      const lower = '<img class="over" src="${there("dark-pile")}" alt="">';
      pile.innerHTML = lower.repeat(2999) + '<img class="over" src="${there("bright-pile")}" alt="">';
      </script>`,
    targets: [{ at: "#pile", paints: there("bright-pile") }],
  },
  worded: {
    says: "Alternative texts and addresses that look like code, or turn the writing round.",
    html: `<img id="alt" src="${there("bright-alt")}" alt="&lt;img src=x onerror=alert(1)&gt; \u202e IA">
      <img id="address" src="${CDN}/p/bright-address.png?a=%3Cscript%3E&quot;'&amp;b=\u202e" alt="grey">`,
    targets: [
      { at: "#alt", paints: there("bright-alt") },
      { at: "#address", paints: `${CDN}/p/bright-address.png?a=%3Cscript%3E%22%27&b=%E2%80%AE` },
    ],
  },
  reads: one(
    "Looks for whatever was put into it, and keeps what it finds in `window.found`.",
    "bright-read",
    {
      html: `${image("bright-read")}<script>
      window.found = [];
      const note = (what) => found.push(String(what));
      new MutationObserver((changes) => changes.forEach((one) => {
        for (const node of one.addedNodes) if (node.shadowRoot || node.textContent.trim()) note(node.textContent);
        if (one.type === "attributes" && one.target.id === "i") note(one.attributeName);
      })).observe(document, { subtree: true, childList: true, attributes: true });
      for (const kind of ["click", "keydown", "message"]) addEventListener(kind, (event) => {
        if (kind === "message") note(JSON.stringify(event.data));
        for (const node of event.composedPath()) if (node instanceof ShadowRoot) note(node.innerHTML);
      }, true);</script>`,
    },
  ),
  forges: one("Draws a verdict of its own.", "bright-forged", {
    html: `<div class="card">${image("bright-forged")}<b id="forged" style="position: absolute;
      left: 4px; top: 4px; background: #fff; padding: 2px 6px">\u2713 No sign of AI</b></div>`,
  }),
  covers: one("Lays itself over everything, again and again.", "bright-covered", {
    html: `${image("bright-covered")}<div id="lid" popover="manual" style="margin: 0; inset: 0;
      width: 100vw; height: 100vh; border: 0; background: #fff; opacity: .97; pointer-events: none">
      </div><script>setInterval(() => { lid.hidePopover(); lid.showPopover(); }, 200);</script>`,
    targets: [],
  }),
  removes: one("Removes whatever was put into it that is not its own.", "bright-removed", {
    html: `<main>${image("bright-removed")}</main><script>
      setInterval(() => { for (const node of [...document.documentElement.children]) {
        if (!["HEAD", "BODY"].includes(node.tagName)) node.remove();
      } }, 100);</script>`,
    targets: [],
  }),
  swaps: one("Swaps the image, or moves it, whenever the pointer comes near.", "bright-swap", {
    html: `${image("bright-swap")}<script>
      i.onpointerenter = () => setTimeout(() => { i.src = "${there("dark-swap")}"; }, 600);</script>`,
    targets: [],
  }),
};

const MANY: Rows = {
  thumbnails: {
    says: "Fifty thumbnails.",
    html: Array.from(
      { length: 50 },
      (_, n) => `<img id="t${n}" src="${there(`bright-t${n}-120x90`)}" alt="thumbnail ${n}">`,
    ).join("\n"),
    targets: [{ at: "#t7", paints: there("bright-t7-120x90") }],
  },
  small: {
    says: "Icons: under 64 pixels on one side, or a picture that is shown so small.",
    html: `<img id="icon" src="${there("dark-small-48x48")}" alt="icon">
      <img id="flat" src="${there("dark-flat-600x40")}" alt="line">
      <img id="shrunk" style="height: 40px" src="${there("dark-shrunk")}" alt="grey">`,
    targets: ["#icon", "#flat", "#shrunk"].map((at) => ({ at, paints: null })),
  },
  many: {
    says: "?n=500 images, or 2000, or 10000; two hundred of them differ.",
    html: `<div id="all"></div><script>
      const n = Number(new URLSearchParams(location.search).get("n") ?? 500);
      const each = (_, k) => '<a href="#' + k + '"><img width="120" height="90" alt="" src="${SITE}/p/bright-m' +
        k % 200 + '-120x90.png"></a>';
      all.innerHTML = Array.from({ length: n }, each).join("");</script>`,
  },
  endless: {
    says: "More images as one scrolls; what is far above is taken away again.",
    html: `<div id="list" style="height: 240000px; position: relative"></div><script>
      const shown = new Map();
      function draw() {
        const first = Math.floor(scrollY / 120), last = first + 12;
        for (const [k, node] of shown) if (k < first || k > last) { node.remove(); shown.delete(k); }
        for (let k = first; k <= Math.min(last, 1999); k++) {
          if (shown.has(k)) continue;
          const node = Object.assign(new Image(), { src: "${SITE}/p/bright-e" + k + "-120x90.png", alt: "" });
          node.style.cssText = "position:absolute;top:" + k * 120 + "px";
          shown.set(k, node);
          list.append(node);
        }
      }
      addEventListener("scroll", draw);
      draw();</script>`,
  },
};

export const HOSTILE: Rows = { ...IN_THE_WAY, ...AGAINST_US, ...MANY };
