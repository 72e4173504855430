import { encodeModel, NCHWC, OWN } from "../../onnx/index.ts";

/**
 * Multiplications for each entry of factors and product from which on a product is faster in blocks, though all of them be put
 * in blocks for it and back.
 */
export const WORTH = 300;

/** Channels that fill no block of any size that is used. */
const FEW = 4;

/** A model whose output has as many channels as a block has. */
export function blockModel(): Uint8Array {
  const image = { name: `${OWN}image`, element: "float32", shape: [1, FEW, 1, 1] } as const;
  const output = `${OWN}block`;
  return encodeModel({
    nodes: [
      { type: `${NCHWC}.ReorderInput`, inputs: [image.name], outputs: [output], attributes: { channels_last: 0 } },
    ],
    initializers: [{ ...image, bytes: new Uint8Array(4 * FEW) }],
    inputs: [],
    outputs: [{ name: output, element: "float32", shape: [1, "channels", 1, 1] }],
    values: [],
  });
}

/** How many channels a block has, by the shape of that output; undefined where none has several. */
export function blockSizeOf(shape: Int32Array): number | undefined {
  const channels = shape[1]!;
  return channels > FEW ? channels : undefined;
}
