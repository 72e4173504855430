import * as arithmetic from "./arithmetic.ts";
import { convInputOp, convOp, convWeightOp } from "./conv.ts";
import * as elementwise from "./elementwise.ts";
import { matmulOp } from "./matmul.ts";
import { concatOp, padOp, permuteOp, reshapeOp, sliceOp } from "./move.ts";
import { maxPoolIndexOp, maxPoolOp } from "./pool.ts";
import { broadcastOp, cumsumOp, sumOp } from "./reduce.ts";
import { indexAddOp, indexSelectOp } from "./rows.ts";
import { argmaxOp, gatherOp, maxOp, scatterAddOp } from "./select.ts";
import { softmaxOp } from "./softmax.ts";
import { constantOp, inputOp } from "./source.ts";

/** Every primitive. What a room must know of each (a lowering, a test case) is a table over these keys. */
export const primitives = {
  input: inputOp,
  constant: constantOp,
  reshape: reshapeOp,
  permute: permuteOp,
  slice: sliceOp,
  concat: concatOp,
  pad: padOp,
  broadcast: broadcastOp,
  sum: sumOp,
  cumsum: cumsumOp,
  gather: gatherOp,
  scatterAdd: scatterAddOp,
  indexSelect: indexSelectOp,
  indexAdd: indexAddOp,
  argmax: argmaxOp,
  max: maxOp,
  softmax: softmaxOp,
  matmul: matmulOp,
  conv: convOp,
  convInput: convInputOp,
  convWeight: convWeightOp,
  maxPool: maxPoolOp,
  maxPoolIndex: maxPoolIndexOp,
  add: arithmetic.addOp,
  sub: arithmetic.subOp,
  scale: arithmetic.scaleOp,
  mul: arithmetic.mulOp,
  where: arithmetic.whereOp,
  greater: arithmetic.greaterOp,
  greaterEqual: arithmetic.greaterEqualOp,
  equal: arithmetic.equalOp,
  sign: arithmetic.signOp,
  cast: arithmetic.castOp,
  stopGradient: arithmetic.stopGradientOp,
  exp: elementwise.expOp,
  log: elementwise.logOp,
  reciprocal: elementwise.reciprocalOp,
  sqrt: elementwise.sqrtOp,
  pow: elementwise.powOp,
  tanh: elementwise.tanhOp,
  sigmoid: elementwise.sigmoidOp,
  softplus: elementwise.softplusOp,
  relu: elementwise.reluOp,
  minZero: elementwise.minZeroOp,
  elu: elementwise.eluOp,
  erf: elementwise.erfOp,
  gelu: elementwise.geluOp,
  abs: elementwise.absOp,
  sin: elementwise.sinOp,
  cos: elementwise.cosOp,
} as const;

/** The name of a primitive. */
export type Primitive = keyof typeof primitives;
/** The attributes of a primitive. */
export type AttrsOf<P extends Primitive> = (typeof primitives)[P] extends {
  infer(inputs: never, attrs: infer A): unknown;
}
  ? A
  : never;

export {
  add,
  cast,
  equal,
  greater,
  greaterEqual,
  mul,
  scale,
  shift,
  sign,
  stopGradient,
  sub,
  where,
} from "./arithmetic.ts";
export { type ConvAttrs, type ConvInputAttrs, type ConvWeightAttrs, conv, convInput, convWeight } from "./conv.ts";
export {
  abs,
  cos,
  elu,
  erf,
  exp,
  gelu,
  log,
  minZero,
  pow,
  reciprocal,
  relu,
  sigmoid,
  sin,
  softplus,
  sqrt,
  tanh,
} from "./elementwise.ts";
export { matmul } from "./matmul.ts";
export { concat, flatten, pad, permute, reshape, slice, transposeLast, unsqueeze } from "./move.ts";
export { maxPool, maxPoolIndex, type PoolAttrs } from "./pool.ts";
export { productFlops } from "./products.ts";
export { broadcast, commonShape, cumsum, sum, sumKeep, unrepeated } from "./reduce.ts";
export { indexAdd, indexSelect } from "./rows.ts";
export { argmax, gather, max, scatterAdd } from "./select.ts";
export { softmax } from "./softmax.ts";
export { BATCH_SIZE, batchSize, type ConstantAttrs, constant, input, scalar } from "./source.ts";
export { normalizeAxis, offsets, stridesOf } from "./strides.ts";
export { placesOf, type Window } from "./window.ts";
