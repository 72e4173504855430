export { Dataset, type SplitOptions } from "./dataset.ts";
export { type BatchSource, Loader, type LoaderOptions, type LoaderState } from "./loader.ts";
export type { Nested } from "./nested.ts";
export { arraySamples, byteSamples, type Samples } from "./samples.ts";
