/** What `main.ts` asks of a fresh process, and what it answers. Plain enough to be sent as JSON. */

/** The models that are measured. */
export type ModelName = "shallow" | "deep" | "lenet" | "vgg-a" | "resnet18" | "transformer";

/** What is timed. */
export type Work = "forward" | "step" | "summary" | "epoch";

/** Who makes a step's direction; "newton" is `NewtonSummary`, which only an epoch can be asked for. */
export type Method = "plain" | "momentum" | "adam" | "newton";

/** One measurement, here or in PyTorch. */
export interface Request {
  readonly work: Work;
  readonly model: ModelName;
  /** Samples in a batch. */
  readonly batch: number;
  readonly threads: number;
  readonly method?: Method;
  readonly lowMemory?: boolean;
  /** Samples in one part of a summary; found from the graph by default. */
  readonly microbatch?: number;
  /** Runs before the timed ones. */
  readonly warmUp: number;
  /** Runs of the work between two looks at the product, and how many such blocks. */
  readonly repeats: number;
  readonly blocks: number;
}

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
}
