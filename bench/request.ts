/** What `main.ts` asks of fresh processes, and what they answer. Plain enough to be sent as JSON. */

/** The models that are measured; `chain-3x256` is a perceptron of three linear layers, each of 256 by 256. */
export type ModelName =
  | "shallow"
  | "deep"
  | "lenet"
  | "vgg-a"
  | "resnet18"
  | "transformer"
  | `chain-${number}x${number}`;

/** Who makes a step's direction; "newton" is `NewtonSummary`, which only an epoch can be asked for. */
export type Method = "plain" | "momentum" | "adam" | "newton";

/** How often something is run. */
export interface Effort {
  /** Runs before the timed ones. A peer's first run, whose results are compared, is one of them, or timed where there is none. */
  readonly warmUp: number;
  /** Runs of the work between two looks at the product, and how many such blocks. */
  readonly repeats: number;
  readonly blocks: number;
}

/** Something that a model is put to. */
export interface Setting {
  readonly work: "forward" | "step" | "summary" | "operators" | "epoch";
  readonly model: ModelName;
  /** Samples in a batch. */
  readonly batch: number;
  readonly threads: number;
  readonly method?: Method;
  readonly lowMemory?: boolean;
  /** Samples in one part of a summary; found from the graph by default. */
  readonly microbatch?: number;
  /** Whether the engine has what `tune` chooses. */
  readonly tuned?: boolean;
}

/** The rates of a random problem. */
export interface Solve {
  readonly work: "solve";
  readonly groups: number;
  readonly threads: number;
}

/** One measurement. */
export type Request = (Setting | Solve) & Effort;

/** What a peer does the same work with. */
export type Way = "eager" | "compiled" | "nested" | "batched" | "func" | "jax-js";

/** A step or a summary, so that others can be compared with ours. */
export interface Example extends Setting {
  /** Of the steps. */
  readonly lr: number;
  /** The file with the parameters, the batch and the direction, and the one with what is found. */
  readonly given: string;
  readonly found: string;
}

/** One measurement of a peer, which is told where to read what is given, and where to write what it found. */
export type PeerRequest = Example &
  Effort & {
    readonly way: Way;
    /** Bytes that it may take; undefined for as many as it likes. */
    readonly memory?: number;
  };

/** Some runs in a row, and the 1024³ product before and after them, in a summary also between its parts. */
export interface Block {
  /** In ms. */
  readonly times: readonly number[];
  /** The mean time of some products in ms, at each look. */
  readonly product: readonly number[];
}

/** What a process measured. */
export interface Measurement {
  readonly blocks: readonly Block[];
  /** FLOPs of the products of one run, and of one forward pass at the same batch. None for an epoch. */
  readonly flops?: number;
  readonly forwardFlops?: number;
  /** Resident bytes before the model was made, and at most from the start to the end of the warm-up, or of all without one. */
  readonly residentBefore?: number;
  readonly residentPeak?: number;
  /** Samples in one part of the summary. */
  readonly part?: number;
  /** Milliseconds of one run by ONNX Runtime's operators. */
  readonly operators?: Readonly<Record<string, number>>;
  /** By how much a peer's results differ from ours. */
  readonly differences?: readonly Difference[];
  /** Why there are no blocks. */
  readonly failure?: string;
}

/** Of some results, and what may be: more and they are not the same. */
export interface Difference {
  readonly of: string;
  readonly found: number;
  readonly most: number;
}
