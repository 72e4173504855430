export { Dataset, type SplitOptions } from "./dataset.ts";
export type { Draw } from "./draw.ts";
export { type BatchSource, Loader, type LoaderOptions, type LoaderState } from "./loader.ts";
export type { Nested } from "./nested.ts";
export { type CharText, type CharTextOptions, charText, Vocabulary } from "./text.ts";
export { type ToyRegression, type ToyRegressionOptions, toyRegression } from "./toy-regression.ts";
export type { Transform } from "./transforms.ts";
export * as transforms from "./transforms.ts";
