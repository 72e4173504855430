import type { Mode } from "../engine/index.ts";
import type { Builder, Node } from "../graph/index.ts";
import { GraphError, GrnewtError } from "../util/errors.ts";
import { activeTrace, layerName, type Part, type Scope, type Tensor, type Trace, tracing } from "./tensor.ts";

export function newTrace(builder: Builder, scope: Scope, mode?: Mode): Trace {
  return { builder, scope, mode, path: [], assigned: new Map(), checks: [], masks: [] };
}

/** Code on tensors of a graph that belong to no model, such as an updater's rule, recorded in that graph. */
export function traceApart<T>(builder: Builder, code: () => T): T {
  const nameOf = (): never => {
    throw new GraphError("a parameter was used where only the tensors that are given may be");
  };
  return tracing(newTrace(builder, { nameOf, asked: new Set() }), code);
}

/** A model's or a loss's code, traced. */
export interface Recorded {
  /** What the code returned. */
  readonly node: Node;
  readonly trace: Trace;
}

/** Runs code twice and makes sure that both times it recorded the same program. @throws GraphError */
export function traceTwice(builder: Builder, scope: Scope, mode: Mode | undefined, code: () => Tensor): Recorded {
  const record = (): Recorded => {
    const trace = newTrace(builder, scope, mode);
    return { node: tracing(trace, () => code().node), trace };
  };
  const [first, second] = [record(), record()];
  const [nodes, again] = [first, second].map(({ node, trace }) => [node, ...trace.assigned.values()]);
  if (nodes!.length !== again!.length || nodes!.some((node, i) => node !== again![i]))
    throw new GraphError(
      "two traces of the model differ: it uses random numbers or other outside state, which would be baked in as constants",
    );
  return first;
}

/** Whether a module is in training mode: what a trace says, or its own mode, of which the trace takes note. */
export function isTraining(module: Part, own: boolean): boolean {
  const trace = activeTrace();
  if (trace?.mode) return trace.mode === "train";
  trace?.scope.asked.add(module);
  return own;
}

/** Runs a module's forward. An error of this package that is thrown there names the module, the innermost one only. */
export function within<T>(module: Part, forward: () => T): T {
  const trace = activeTrace();
  if (!trace) return forward();
  trace.path.push(module);
  try {
    return forward();
  } catch (error) {
    throw error instanceof GrnewtError && !located.has(error) ? locate(error, trace.path) : error;
  } finally {
    trace.path.pop();
  }
}

const located = new WeakSet<GrnewtError>();

function locate(error: GrnewtError, path: readonly Part[]): GrnewtError {
  const Kind = error.constructor as typeof GrnewtError;
  const named = new Kind(`${layerName(path)}: ${error.message}`, { cause: error });
  located.add(named);
  return named;
}
