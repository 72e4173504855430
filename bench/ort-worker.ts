/**
 * The engine's thread as the benchmarks start it: where `GRNEWT_PROFILE` is set, ONNX Runtime writes its own profile of
 * each session to a file whose name begins with that, when the session is released.
 */
import { InferenceSession } from "onnxruntime-node";
import "../src/engine/ort-node/ort-worker.ts";

type Create = (model: Uint8Array, options?: InferenceSession.SessionOptions) => Promise<InferenceSession>;

const create = InferenceSession.create as Create;
const prefix = process.env.GRNEWT_PROFILE;
const profiled: Create = (model, options) =>
  create(model, { ...options, enableProfiling: true, profileFilePrefix: prefix! });
if (prefix !== undefined) InferenceSession.create = profiled as typeof InferenceSession.create;
