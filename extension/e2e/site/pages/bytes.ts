/** Pages that ask: can the very bytes be had? From frames, scripts, hosts that refuse or lie. */
import { CDN, OTHER, type Row, type Rows, SHUT, SITE, there } from "./row.ts";

const FRAME = "width: 440px; height: 340px";

const FRAMED: Rows = {
  frames: {
    says: "Images in frames: of the same site, of another, sandboxed, and written in place.",
    html: `<iframe title="same" style="${FRAME}" src="${SITE}/inner?same"></iframe>
      <iframe title="cross" style="${FRAME}" src="${OTHER}/inner?cross"></iframe>
      <iframe title="sandboxed" style="${FRAME}" sandbox="allow-scripts"
        src="${SITE}/inner?sandboxed"></iframe>
      <iframe title="written" style="${FRAME}"
        srcdoc="<img id=i src=${there("bright-srcdoc")} alt=grey>"></iframe>`,
    targets: [
      { at: "#i", frame: "inner?same", paints: `${CDN}/p/bright-inner-same.png` },
      { at: "#i", frame: "inner?cross", paints: `${CDN}/p/bright-inner-cross.png` },
      { at: "#i", frame: "inner?sandboxed", paints: `${CDN}/p/bright-inner-sandboxed.png` },
      { at: "#i", frame: "about:srcdoc", paints: there("bright-srcdoc") },
    ],
  },
  inner: {
    says: "What the frames show; which image, by the address.",
    html: `<img id="i" alt="grey"><script>
      document.querySelector("#i").src = "${CDN}/p/bright-inner-" + location.search.slice(1) + ".png";
      </script>`,
  },
};

const MADE: Rows = {
  data: {
    says: "An image that is its own address, in an img and in CSS.",
    html: `<img id="i" alt="grey"><div id="d" class="box"></div><script>
      (async () => {
        for (const [id, name] of [["i", "bright-data1"], ["d", "bright-data2"]]) {
          const blob = await (await fetch("/p/" + name + ".png")).blob();
          const reader = new FileReader();
          reader.onload = () => {
            const element = document.getElementById(id);
            if (id === "i") element.src = reader.result;
            else element.style.backgroundImage = "url(" + reader.result + ")";
          };
          reader.readAsDataURL(blob);
        }
      })();</script>`,
    targets: [
      { at: "#i", paints: "data:" },
      { at: "#d", paints: "data:", kind: "background" },
    ],
  },
  blob: {
    says: "Images that a script made: one whose address still works, one that was withdrawn.",
    html: `<img id="kept" alt="grey"><img id="gone" alt="grey"><script>
      (async () => {
        for (const id of ["kept", "gone"]) {
          const made = await (await fetch("/p/bright-blob-" + id + ".png")).blob();
          const image = document.getElementById(id);
          image.src = URL.createObjectURL(made);
          await image.decode();
          if (id === "gone") URL.revokeObjectURL(image.src);
        }
      })();</script>`,
    targets: [
      { at: "#kept", paints: "blob:" },
      { at: "#gone", paints: "blob:" },
    ],
  },
  canvas: {
    says: "Pixels without an address: drawn, drawn from another site's image, and in WebGL.",
    html: `<canvas id="clean" width="400" height="300"></canvas>
      <canvas id="tainted" width="400" height="300"></canvas>
      <canvas id="gl" width="400" height="300"></canvas><script>
      (async () => {
        for (const [id, src] of [
          ["clean", "/p/bright-canvas.png"],
          ["tainted", "${there("bright-tainted")}"],
        ]) {
          const image = Object.assign(new Image(), { src });
          await image.decode();
          document.getElementById(id).getContext("2d").drawImage(image, 0, 0);
        }
        const gl = document.getElementById("gl").getContext("webgl", { preserveDrawingBuffer: true });
        gl?.clearColor(0.97, 0.97, 0.97, 1);
        gl?.clear(gl.COLOR_BUFFER_BIT);
      })();</script>`,
    targets: ["#clean", "#tainted", "#gl"].map((at) => ({ at, paints: "pixels", kind: "canvas" })),
  },
};

function single(says: string, address: string, more: Partial<Row> = {}): Row {
  const html = `<img id="i" src="${address}" width="400" height="300" alt="grey">`;
  return { says, html, targets: [{ at: "#i", paints: address }], ...more };
}

/** The image is broken: nothing is painted, and only the browser's own menu knows its address. */
function broken(says: string, address: string): Row {
  return single(says, address, { targets: [{ at: "#i", paints: null }] });
}

const GUARDED: Rows = {
  hotlink: single(
    "Its host wants to know which site shows it.",
    `${CDN}/hotlink/bright-hotlink.png`,
  ),
  private: single("For who has a cookie of this site.", `${SITE}/private/bright-private.png`, {
    headers: { "Set-Cookie": "reader=1; Path=/; SameSite=Lax" },
  }),
  expiring: single("Its address works once.", `${CDN}/once/expiring/bright-expiring.png`),
  negotiated: single("AVIF to a browser, JPEG to others.", `${CDN}/negotiated/picture`),
  shut: single("On a host that the browser has not let us into.", `${SHUT}/p/bright-shut.png`),
  slow: single("Takes a second each time.", `${CDN}/slow/1000/current/bright-slow.png`, {
    targets: [],
  }),
  noisy: single(
    "The page's canvas lies, as browsers' do against fingerprints.",
    there("bright-noisy"),
    {
      head: `<script>
      const read = CanvasRenderingContext2D.prototype.getImageData;
      CanvasRenderingContext2D.prototype.getImageData = function (...box) {
        const pixels = read.apply(this, box);
        pixels.data.forEach((_, at, all) => { all[at] ^= 1; });
        return pixels;
      };</script>`,
    },
  ),
  changing: single("One address, another picture each turn.", `${CDN}/current/bright-turn.png`),
};

const FAULTY: Rows = {
  missing: broken("Not there (404).", `${CDN}/status/404/a.png`),
  failing: broken("Its host fails (500).", `${CDN}/status/500/a.png`),
  html: broken("A page that asks to log in, in place of an image.", `${CDN}/html/a.png`),
  empty: broken("No bytes.", `${CDN}/empty/a.png`),
  truncated: single("Half of its bytes.", `${CDN}/truncated/bright-half.png`),
  big: single("30 MB.", `${CDN}/big/bright-big.png`),
  wide: single("20,000 pixels wide.", `${CDN}/wide/bright-wide.png`),
};

const ON_THE_OWN_NETWORK: Rows = {
  local: single("On a printer of the own network.", "http://printer.local/p/bright-printer.png"),
  toLocal: single("Sent on to that printer.", `${CDN}/to/printer.local/bright-sent.png`),
  toPrivate: single(
    "Sent on to an address of an own network.",
    `${CDN}/to/10.0.0.1/bright-ten.png`,
  ),
};

const DECLARED: Rows = {
  declared: single(
    "The file says that a machine made it; nobody signed that.",
    `${CDN}/p/declared.jpeg`,
  ),
  manifest: single("A C2PA manifest says so; nobody signed that either.", `${CDN}/p/manifest.jpeg`),
  cutManifest: single("A C2PA manifest that breaks off.", `${CDN}/p/cut-manifest.jpeg`),
  smeared: single("Words of a declaration behind the file's end.", `${CDN}/p/smeared.jpeg`),
};

export const BYTES: Rows = {
  ...FRAMED,
  ...MADE,
  ...GUARDED,
  ...FAULTY,
  ...ON_THE_OWN_NETWORK,
  ...DECLARED,
};
