/** The dedicated worker of the offscreen page: questions in, answers out. */
import type { Question } from "./channel";
import { answer } from "./work";

addEventListener("message", async ({ data }: MessageEvent<Question>) => {
  postMessage(await answer(data));
});
