import type { FullLoss, Loss, Module, Parameter } from "../nn/index.ts";
import type { ParameterGroup } from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import { refuseUnknown } from "../util/options.ts";
import { NEWTON_OPTIONS, type NewtonSummaryOptions } from "./newton-options.ts";
import { NewtonSummary } from "./newton-summary.ts";
import { type StochasticHvOptions, StochasticHvUpdater } from "./updaters/stochastic-hv.ts";

/** Options that belong to another updater. */
const REPLACED = ["updater", "momentum", "momentumDamp"] as const;
type Replaced = (typeof REPLACED)[number];

/** Options of {@link NewtonStochasticHv}: those of {@link NewtonSummary} without its updater. */
export interface NewtonStochasticHvOptions extends Omit<NewtonSummaryOptions, Replaced> {
  /** How the direction is learned. */
  readonly direction?: StochasticHvOptions;
}

function create(model: Module, loss: Loss, options?: NewtonStochasticHvOptions): Promise<NewtonSummary>;
function create(
  groups: readonly ParameterGroup<Parameter>[],
  loss: FullLoss,
  options?: NewtonStochasticHvOptions,
): Promise<NewtonSummary>;
async function create(
  target: Module | readonly ParameterGroup<Parameter>[],
  loss: Loss,
  given: NewtonStochasticHvOptions & Pick<NewtonSummaryOptions, Replaced> = {},
): Promise<NewtonSummary> {
  refuseUnknown("NewtonStochasticHv", given, ["direction", ...NEWTON_OPTIONS]);
  const { direction, ...options } = given;
  for (const name of REPLACED)
    if (options[name] !== undefined)
      throw new OptionError(`${name} would be ignored beside direction, which NewtonStochasticHv learns`);
  return await NewtonSummary.create(target as Module, loss, {
    ...options,
    updater: new StochasticHvUpdater(direction),
  });
}

/**
 * {@link NewtonSummary} along a learned direction: d ← d − lr (H d + ridge d − g) at each step, with the exact product H d on
 * the step's batch; the rates come from summaries along d. See {@link StochasticHvUpdater}.
 */
export const NewtonStochasticHv = {
  /**
   * @param target a model, or groups of parameters, as for {@link NewtonSummary.create}.
   * @throws OptionError, PartitionError
   */
  create,
};
