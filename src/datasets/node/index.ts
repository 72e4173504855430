export { type Cifar100Options, cifar10, cifar100 } from "./cifar.ts";
export { readIdx } from "./idx.ts";
export { type ImageFolder, type ImageFolderOptions, imageFolder } from "./image-folder.ts";
export type { LabelledData } from "./labelled.ts";
export { fashionMnist, mnist } from "./mnist.ts";
export { charTextFile } from "./text.ts";
