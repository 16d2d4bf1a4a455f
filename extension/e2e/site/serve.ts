/**
 * The fixture site for a person: `node e2e/site/serve.ts [PORT]`, then the command that it prints.
 *
 * The names of the site lead nowhere but to this machine, and only in the browser that is started
 * so: the extension treats them as it treats the web.
 */
import { startSite } from "./site.ts";

const { hosts } = await startSite(Number(process.argv[2] ?? 0));
const rules = Object.entries(hosts).map(([name, port]) => `MAP ${name} 127.0.0.1:${port}`);
console.log(`The fixture site is up. Load the extension in a browser that knows its names:

  chromium --host-resolver-rules="${rules.join(",")}" \\
    --load-extension=.output/chrome-mv3 --user-data-dir=/tmp/pinclip-profile http://site.example/

Ctrl-C ends it.`);
