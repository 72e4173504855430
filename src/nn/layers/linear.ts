import { checkWhole, refuseUnknown } from "../../util/options.ts";
import { linear } from "../functional.ts";
import { uniform } from "../init.ts";
import { Module, Parameter } from "../module.ts";
import type { Tensor } from "../tensor.ts";

/** x Wᵀ + b. `weight` is [out, in], `bias` [out]; both start uniform on ±1/√in, as in PyTorch. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias?: Parameter;

  /** @throws OptionError */
  constructor(inFeatures: number, outFeatures: number, options: { readonly bias?: boolean } = {}) {
    super();
    refuseUnknown("Linear", options, ["bias"]);
    checkWhole("Linear: inFeatures", inFeatures, 1);
    checkWhole("Linear: outFeatures", outFeatures, 1);
    const b = 1 / Math.sqrt(inFeatures);
    this.weight = new Parameter(uniform([outFeatures, inFeatures], { a: -b, b }));
    if (options.bias ?? true) this.bias = new Parameter(uniform([outFeatures], { a: -b, b }));
  }

  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}
