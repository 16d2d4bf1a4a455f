/**
 * The page that nobody sees: it owns the thread that judges, and ends itself when nothing is asked.
 *
 *     channel --Question--> thread --Answer--> channel
 *     IDLE_MS without one, and nobody waits -> close: the model's memory is given back
 */
import { CHANNEL, IN_USE } from "../../local/channel";

const IDLE_MS = 120_000;

const thread = new Worker(new URL("../../local/thread.ts", import.meta.url), { type: "module" });
const channel = new BroadcastChannel(CHANNEL);
let idle = setTimeout(end, IDLE_MS);

channel.addEventListener("message", ({ data }) => {
  if ("bytes" in data) thread.postMessage(data);
});
thread.addEventListener("message", ({ data }) => {
  channel.postMessage(data);
  clearTimeout(idle);
  idle = setTimeout(end, IDLE_MS);
});

function end(): void {
  void navigator.locks.request(IN_USE, { ifAvailable: true }, (lock) => {
    if (lock !== null) close();
    else idle = setTimeout(end, IDLE_MS);
  });
}
