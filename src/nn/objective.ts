import type { Objective, RangeCheck, Variable } from "../engine/index.ts";
import type { Builder, Node } from "../graph/index.ts";
import { countOf, formatShape } from "../graph/index.ts";
import { GraphError } from "../util/errors.ts";
import type { Loss } from "./losses.ts";
import { checkTensor, type Traceable, traceTwice, variablesOf } from "./predict.ts";
import { Tensor, tracing } from "./tensor.ts";

/** A loss of the batch alone, with the model inside it: (x, target) → scalar. */
export type FullLoss = (x: Tensor, target: Tensor) => Tensor;

/**
 * The loss of a model as a function of its parameters and a batch.
 * Without a batch, the model's `forward()` takes no input and the loss gets the output alone.
 */
export function objective(model: Traceable, loss: Loss): Objective {
  const modules = model.modules();
  return {
    variables: variablesOf(model),
    mode: () => modules.map(({ training }) => Number(training)).join(""),
    trace: (b, variables, [x, y]) => {
      let node: Node | undefined;
      const traced = traceScalar(b, variables, () => {
        const output: unknown = x ? model.forward(new Tensor(x)) : model.forward();
        checkTensor("forward", output);
        node = output.node;
        return loss(output, y ? new Tensor(y) : output);
      });
      return node ? { ...traced, output: node } : traced;
    },
  };
}

/** The same for a loss that contains the model, with its parameters named. */
export function fullObjective(variables: ReadonlyMap<string, Variable>, loss: FullLoss): Objective {
  return {
    variables,
    trace: (b, nodes, data) =>
      traceScalar(b, nodes, () => {
        const [x, y] = data.map((node) => new Tensor(node));
        return loss(x!, y!);
      }),
  };
}

function traceScalar(
  builder: Builder,
  variables: ReadonlyMap<Variable, Node>,
  run: () => Tensor,
): { loss: Node; checks: readonly RangeCheck[] } {
  const trace = { builder, variables, checks: [] as RangeCheck[] };
  const loss = traceTwice(trace, () => {
    const value: unknown = run();
    checkTensor("the loss", value);
    return value;
  });
  const { factor, power } = countOf(loss.shape);
  if (factor !== 1 || power !== 0 || loss.dtype !== "float")
    throw new GraphError(`the loss must be one real number, found ${loss.dtype}${formatShape(loss.shape)}`);
  return { loss: tracing(trace, () => new Tensor(loss).reshape().node), checks: trace.checks };
}
