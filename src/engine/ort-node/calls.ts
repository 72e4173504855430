import type { MessagePort } from "node:worker_threads";
import type { InferenceSession } from "onnxruntime-node";
import type { ElementType } from "../../onnx/index.ts";
import type { FloatData } from "../../util/ndarray.ts";

/** What names a tensor or a session on both sides. */
export type Id = number;

/** A tensor that the thread is to have. */
export interface Described {
  readonly tensor: Id;
  readonly element: ElementType;
  readonly shape: readonly number[];
}

/** What the entries of a tensor lie in. */
export type Entries =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

/** One that comes with its entries. */
export interface Upload extends Described {
  readonly data: Entries;
}

/** What the thread is asked, and what it answers. */
export interface Calls {
  compile: { readonly asked: CompileCall; readonly answer: undefined };
  /** Runs a model without inputs, for the shape of its one output. */
  probe: { readonly asked: ProbeCall; readonly answer: Int32Array };
  run: { readonly asked: RunCall; readonly answer: Near };
  read: { readonly asked: Id; readonly answer: FloatData | Int32Array };
  /** Copies of tensors for another thread, or those that are not needed here any more themselves. */
  hand: { readonly asked: HandCall; readonly answer: readonly Upload[] };
  /** Starts another thread. */
  start: { readonly asked: StartCall; readonly answer: undefined };
  dispose: { readonly asked: Id; readonly answer: undefined };
}

interface ProbeCall {
  readonly model: Uint8Array;
  readonly options: InferenceSession.SessionOptions;
}

interface CompileCall extends ProbeCall {
  readonly session: Id;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** An input or output of a model. */
export interface Port {
  /** What the model calls it. */
  readonly name: string;
  /** The number of the session's input or output that it is, */
  readonly tensor: number;
  /** or that it is some rows of: the first of their entries, and their shape. */
  readonly rows: { readonly start: number; readonly shape: readonly number[] } | undefined;
}

export interface RunCall {
  readonly session: Id;
  /** In the order of the session's. */
  readonly inputs: readonly Id[];
  /** What there will be, in the order of the session's outputs. */
  readonly outputs: readonly Described[];
  /** Inputs that are not needed any more if the run succeeds. */
  readonly donated: readonly Id[];
}

interface HandCall {
  readonly tensors: readonly Id[];
  readonly moved: boolean;
}

/** What a thread is started with. */
export interface StartCall {
  /** That of its gate. */
  readonly state: Int32Array;
  /** Where it is told what to do, by another than the thread that starts it. */
  readonly port?: MessagePort;
}

/** The entries of all small outputs of a run, in their order: what is read after each run is a few numbers. */
export type Near = FloatData | undefined;

/** Entries up to which an output of real numbers is small. */
export const SMALL = 256;

/** One call. */
export type Call = { [K in keyof Calls]: readonly [kind: K, asked: Calls[K]["asked"]] }[keyof Calls];

/** A message to the thread, to be followed in this order. */
export interface Message {
  readonly uploads: readonly Upload[];
  readonly released: readonly Id[];
  readonly call: Call | undefined;
}

/** What comes back for a call; answers come in the order of the calls. */
export type Answer = { readonly answer: Calls[keyof Calls]["answer"] } | { readonly error: Error };
