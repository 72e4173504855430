import type { Mode, Objective, Traced, Variable } from "../engine/index.ts";
import { type Builder, countOf, formatShape, type Node } from "../graph/index.ts";
import { reshape } from "../ops/index.ts";
import { DataError, GraphError, OptionError } from "../util/errors.ts";
import type { Loss } from "./losses.ts";
import { checkTensor, modelScope, type Traceable, variablesOf } from "./predict.ts";
import { type Scope, Tensor } from "./tensor.ts";
import { traceTwice } from "./trace.ts";

/** A loss of the batch alone, with the model inside it: (x, target) → scalar. */
export type FullLoss = (x: Tensor, target: Tensor) => Tensor;

/**
 * The loss of a model as a function of its parameters and a batch.
 * Without a batch, the model's `forward()` takes no input and the loss gets the output alone.
 * @throws OptionError where the model is no module, or the loss no function.
 */
export function objective(model: Traceable, loss: Loss): Objective {
  if (typeof model?.namedParameters !== "function")
    throw new OptionError(`model: expected a module, found ${typeof model}`);
  if (typeof loss !== "function")
    throw new OptionError(`loss: expected a function of an output and a target, found ${typeof loss}`);
  const variables = variablesOf(model);
  const scope = modelScope(variables);
  return {
    variables,
    mode: () => modeOf(scope),
    trace: (b, [x, y], mode) => {
      let node: Node | undefined;
      const traced = traceLoss(b, scope, mode, !x, () => {
        const output: unknown = x ? model.forward(new Tensor(x)) : model.forward();
        checkTensor("forward", output);
        node = output.node;
        return loss(output, y ? new Tensor(y) : output);
      });
      return node ? { ...traced, output: node } : traced;
    },
    lossOf: (b, output, target) => {
      const traced = traceLoss(b, scope, undefined, false, () => loss(new Tensor(output), new Tensor(target)));
      if (traced.masks.length > 0) throw new GraphError("the loss draws random numbers: it cannot be taken twice");
      return traced.loss;
    },
  };
}

/**
 * The same for a loss that contains the model.
 * @param groups the parameters to train, by name. Whatever else the loss uses, buffers and other parameters, counts as
 * given, and is found by tracing.
 */
export function fullObjective(groups: ReadonlyMap<string, Variable>, loss: FullLoss): Objective {
  const variables = new Map(groups);
  const names = new Map([...groups].map(([name, variable]) => [variable, name]));
  const add = (variable: Variable): string => {
    const name = `outside#${names.size}`;
    variables.set(name, variable);
    names.set(variable, name);
    return name;
  };
  const scope: Scope = { nameOf: (variable) => names.get(variable) ?? add(variable), asked: new Set() };
  return {
    variables,
    mode: () => modeOf(scope),
    trace: (b, data, mode) =>
      traceLoss(b, scope, mode, data.length === 0, () => {
        const [x, y] = data.map((node) => new Tensor(node));
        return loss(x!, y!);
      }),
  };
}

/** @throws DataError where code that was given no batch fails as if it wanted one */
function withoutBatch(code: () => unknown): unknown {
  try {
    return code();
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new DataError(`there is no batch, and the model or the loss needs one: ${cause.message}`, { cause });
  }
}

function modeOf({ asked }: Scope): string {
  return [...asked].map(({ training }) => Number(training)).join("");
}

/** @param bare whether there is no batch. */
function traceLoss(b: Builder, scope: Scope, mode: Mode | undefined, bare: boolean, code: () => unknown): Traced {
  const { node, trace } = traceTwice(b, scope, mode, () => {
    const value = bare ? withoutBatch(code) : code();
    checkTensor("the loss", value);
    return value;
  });
  const { factor, power } = countOf(node.shape);
  if (factor !== 1 || power !== 0 || node.dtype !== "float")
    throw new GraphError(`the loss must be one real number, found ${node.dtype}${formatShape(node.shape)}`);
  return {
    loss: reshape(b, node, []),
    assigned: new Map([...trace.assigned].map(([variable, value]) => [scope.nameOf(variable), value])),
    checks: trace.checks,
    masks: trace.masks,
  };
}
