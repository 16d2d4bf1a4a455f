/** page.js: put into the frames of a site by the worker, as often as it likes. See page/start.ts. */
import { defineUnlistedScript } from "wxt/utils/define-unlisted-script";
import { start } from "../page/start";

export default defineUnlistedScript(() => start());
