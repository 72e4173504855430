export { type IdxOptions, readIdx } from "./idx.ts";
export { type MnistOptions, mnist } from "./mnist.ts";
