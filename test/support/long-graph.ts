import { GraphBuilder } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { checkedGraph } from "./run.ts";

/** The rows and columns of the input of {@link longGraph}. */
export const SIDE = 512;

/** A graph that takes a while, a few ms for each product: x, [SIDE, SIDE], times itself and divided by SIDE, again and again. */
export function longGraph(products: number) {
  const b = new GraphBuilder();
  const x = o.input(b, "x", [SIDE, SIDE]);
  let z = x;
  for (let i = 0; i < products; i++) z = o.scale(b, o.matmul(b, z, x), 1 / SIDE);
  return checkedGraph({ z });
}
