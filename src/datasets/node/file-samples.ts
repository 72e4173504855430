import { setMaxListeners } from "node:events";
import { basename, dirname, join } from "node:path";
import { type NDArray, sizeOf } from "../../util/ndarray.ts";
import { sampleSeeds } from "../draw.ts";
import type { ImageShape } from "../image.ts";
import { Pipeline } from "../pipeline.ts";
import type { ImageSamples } from "../samples.ts";
import type { ImageTask } from "./image-worker.ts";
import type { WorkerPool } from "./worker-pool.ts";

/**
 * Images in files that worker threads read and transform.
 * @param first the shape of the first one as it is stored; what the pipeline makes of it is the shape of all.
 * @throws DataError naming the first file, where it does not fit the pipeline.
 */
export function fileSamples(
  paths: readonly string[],
  first: ImageShape,
  pipeline: Pipeline,
  pool: WorkerPool<ImageTask>,
): ImageSamples {
  const shape = pipeline.outputShape(first, paths[0]!);
  const { transforms } = pipeline;
  return {
    length: paths.length,
    shape,
    elsewhere: true,
    // The end of the path: a folder may be moved.
    names: paths.map((path) => join(basename(dirname(path)), basename(path))),
    gather: async (indices, draw) => {
      const seeds = sampleSeeds(draw);
      const tasks = Array.from(indices, (i) => ({ path: paths[i]!, transforms, seed: seeds(i), shape }));
      return await together(tasks, shape, pool, draw.signal);
    },
    transformed: (list) => fileSamples(paths, first, new Pipeline(list, pipeline.normalize), pool),
    dispose: () => pool.dispose(),
  };
}

/** One array of the results of all tasks; the first that fails lets the others be. */
async function together(
  tasks: readonly ImageTask[],
  shape: ImageShape,
  pool: WorkerPool<ImageTask>,
  signal: AbortSignal | undefined,
): Promise<NDArray> {
  const size = sizeOf(shape);
  const data = new Float32Array(tasks.length * size);
  const failed = new AbortController();
  const wanted = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  // Each task listens; Node would warn of more than ten.
  setMaxListeners(0, wanted);
  try {
    await Promise.all(tasks.map(async (task, row) => data.set(await pool.run(task, wanted), row * size)));
  } catch (error) {
    failed.abort();
    throw error;
  }
  return { shape: [tasks.length, ...shape], data };
}
