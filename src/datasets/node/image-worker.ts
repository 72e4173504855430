import { DataError } from "../../util/errors.ts";
import { sizeOf } from "../../util/ndarray.ts";
import type { ImageShape } from "../image.ts";
import { Pipeline } from "../pipeline.ts";
import type { Transform } from "../transforms.ts";
import { decoded } from "./decode.ts";
import { serve } from "./worker-pool.ts";

/** An image to prepare. */
export interface ImageTask {
  readonly path: string;
  readonly transforms: readonly Transform[];
  /** Of the random transforms. */
  readonly seed: number;
  /** What the result must have. */
  readonly shape: ImageShape;
}

serve(async ({ path, transforms, seed, shape }: ImageTask) => {
  const image = await decoded(path);
  const pipeline = new Pipeline(transforms);
  const found = pipeline.outputShape(image.shape, path);
  if (found.join() !== shape.join())
    throw new DataError(
      `${path}: expected an image of shape [${shape}], as the first one's, found [${found}]; resize and crop them to one size`,
    );
  const out = new Float32Array(sizeOf(shape));
  pipeline.write(image, seed, out);
  return out;
});
