/**
 * The model in ONNX Runtime: prepared pictures in, one row of outputs for each.
 *
 *     file -> Model (what it says of itself) + session -> rows
 *
 * WebAssembly on one thread: more need extension pages that are cut off from all others, and gained
 * nothing on two cores. The weights are 8 bits in the file and float32 at work, so the numbers are
 * the server's.
 */
import * as ort from "onnxruntime-web/wasm";
import type { Bytes } from "../lib/images";
import { type Model, modelOf } from "./model";

export interface Session {
  model: Model;
  /** A row of the model's outputs for one prepared picture. */
  run(prepared: Float32Array<ArrayBuffer>): Promise<Float32Array>;
}

/** Open a model's file; throws Error for one that is none, or cannot be run. */
export async function opened(file: Bytes): Promise<Session> {
  const model = modelOf(file);
  if (model === null) throw new Error("The file is no model that pinclip exported.");
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(file, {
    executionProviders: ["wasm"],
    // Weights are widened where they are used, not once for all: 0.53 GB of memory instead of 1.3.
    extra: { optimization: { disable_specified_optimizers: "ConstantFolding" } },
  });
  const { size } = model.preprocessing;
  return {
    model,
    run: async (prepared) => {
      const images = new ort.Tensor("float32", prepared, [1, 3, size, size]);
      const { outputs } = await session.run({ images });
      return (await outputs?.getData()) as Float32Array;
    },
  };
}
