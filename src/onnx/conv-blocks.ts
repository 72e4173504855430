import { concrete } from "../graph/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import { NCHWC } from "./blocked.ts";
import { CHANNELS, whole } from "./blocks.ts";
import type { Lowering, Target } from "./lowering.ts";
import { type Convolution, isPadded, stretch, weightByTaps, windowAttributes } from "./windows.ts";

/**
 * The engine's convolution on channels in blocks computes several places of a line at once. Where images are small, their lines
 * are put together entry by entry, those of several samples as one of so many numbers for each channel.
 */
const LINE = 64;

/** Places in an image up to which that is worth two more passes over images and results. */
const FEW_PLACES = 64;

/** Numbers in a line from which on that convolution is faster than matrix products. */
const SHORT_LINE = 16;

/** Where blocks must be filled up, products with zeros make up at most two thirds. */
const FILLED = 3;

/** Where putting numbers in blocks takes longer than the products, blocks must hold four of five. */
const NEARLY_FILLED = 1.25;

/** Where channels fill no block, so many products at least make up a result. */
const FEW_PRODUCTS = 64;

/** Bytes between the channels of an image that fall on the same few lines of a cache: read across, they drive each other out. */
const COLLIDING = 4096;

/** Whether a convolution can be computed on channels in blocks: over two axes, in one group. */
export function fitsBlocks({ blockSize }: Target, form: Convolution): boolean {
  const { channels } = form;
  const isRead = blockSize !== undefined && (channels < blockSize || channels % CHANNELS === 0);
  return isRead && isPlane(form);
}

function isPlane(form: Convolution): boolean {
  return form.groups === 1 && form.kernel.length === 2 && isPadded(form);
}

/** Whether that is faster than other ways. */
export function isWorthBlocks(target: Target, form: Convolution): boolean {
  const { channels, outputs, kernel, places } = form;
  const size = target.blockSize!;
  if (whole(outputs, size) > FILLED * outputs) return false;
  if (channels < size && channels * sizeOf(kernel) < FEW_PRODUCTS) return false;
  return sizeOf(places) > FEW_PLACES || places[1]! * sideBySide(target, form) >= SHORT_LINE;
}

/** By the engine's convolution on channels in blocks; see `Blocking`. Less than a block of channels is read as it is. */
export function convByBlocks(to: Lowering, form: Convolution, x: string, w: string): string {
  const size = to.blockSize!;
  const [channels, outputs] = [
    form.channels < size ? form.channels : whole(form.channels, size),
    whole(form.outputs, size),
  ];
  const filled = { ...form, channels, outputs };
  const image = channels < size ? x : to.emit(`${NCHWC}.ReorderInput`, [x], { channels_last: 0 });
  const kernel = kernelInBlocks(to, filled, filledUp(to, form, filled, w));
  const together = sideBySide(to, form);
  const results =
    together === 1 ? convolved(to, filled, image, kernel) : convolvedTogether(to, filled, image, kernel, together);
  return to.emit(`${NCHWC}.ReorderOutput`, [results], { channels: form.outputs, channels_last: 0 });
}

/** Weights with zeros for the channels and results that fill up blocks. */
function filledUp(to: Lowering, form: Convolution, filled: Convolution, w: string): string {
  const rest = [filled.outputs - form.outputs, filled.channels - form.channels];
  if (rest.every((length) => length === 0)) return w;
  const none = [0, 0, ...form.kernel.map(() => 0)];
  const ends = [...(form.backwards ? rest.reverse() : rest), ...form.kernel.map(() => 0)];
  return to.emit("Pad", [w, to.ints([...none, ...ends])]);
}

/** How many samples go side by side: a share of those that runs will have, if these are known. */
function sideBySide({ samples }: Target, { window, places, images }: Convolution): number {
  if (samples === undefined || sizeOf(places) > FEW_PLACES || window.stride[1] !== 1) return 1;
  const [all] = concrete(images, samples);
  for (let count = 1; count < all!; count++) if (all! % count === 0 && count * places[1]! >= LINE) return count;
  return all!;
}

function convolved(to: Lowering, { window, kernel }: Convolution, x: string, w: string): string {
  return to.emit(`${NCHWC}.Conv`, [x, w], { ...windowAttributes(window), kernel_shape: kernel });
}

/** Of so many samples at a time, each line entry by entry: the step from one entry to the next is one over all of them. */
function convolvedTogether(to: Lowering, form: Convolution, x: string, w: string, together: number): string {
  to.fixSamples();
  const { window, channels, outputs, kernel, images, places } = form;
  const size = to.blockSize!;
  const [all, , height, width] = concrete(images, to.samples!) as [number, number, number, number];
  const inner = channels < size ? 1 : size;
  const exchange = (value: string): string => to.emit("Transpose", [value], { perm: [0, 2, 1, 3] });
  const parts = all / together;
  const [top, left] = window.before as [number, number];
  const [bottom, right] = window.after as [number, number];
  const entries = exchange(reshape(to, x, [parts, together, (channels / inner) * height * width, inner]));
  const lines = reshape(to, entries, [parts * (channels / inner) * height, width, together * inner]);
  // The engine skips what is above and below, but meets the ends of lines number by number.
  const lengthened = left + right === 0 ? lines : to.emit("Pad", [lines, to.ints([0, left, 0, 0, right, 0])]);
  const image = reshape(to, lengthened, [parts, channels, height, (left + width + right) * together]);
  const results = to.emit(`${NCHWC}.Conv`, [image, w], {
    kernel_shape: kernel,
    strides: window.stride,
    pads: [top, 0, bottom, 0],
    dilations: [window.dilation[0]!, window.dilation[1]! * together],
  });
  const back = exchange(reshape(to, results, [parts, (outputs / size) * sizeOf(places), together, size]));
  return reshape(to, back, [all, outputs, ...places]);
}

/** Whether the weights' gradient can be computed on numbers in blocks, where runs have a known number of samples. */
export function fitsWeightBlocks({ blockSize }: Target, form: Convolution): boolean {
  const isWhole = blockSize !== undefined && form.outputs % blockSize === 0;
  return isWhole && isPlane(form) && isDense(form);
}

function isDense({ window }: Convolution): boolean {
  return window.stride.every((step) => step === 1);
}

/** Whether that is faster than other ways where channels are few. */
export function isWorthWeightBlocks(target: Target, form: Convolution): boolean {
  return (
    target.samples !== undefined &&
    fitsWeightBlocks(target, form) &&
    form.channels * sizeOf(form.kernel) >= FEW_PRODUCTS
  );
}

/**
 * The weights' gradient, for each column of the kernel as one convolution of images by results, in which the numbers in a line of
 * all samples are channels, and the images' channels are in line; by `weightByTaps` where it is not known how many they are.
 */
export function weightByBlocks(to: Lowering, form: Convolution, x: string, z: string): string {
  const { window, channels, outputs, kernel, images, places } = form;
  const [all] = to.samples === undefined ? [] : concrete(images, to.samples);
  if (all === undefined || (all * places[1]!) % CHANNELS !== 0) return weightByTaps(to, form, x, z);
  to.fixSamples();
  const isAligned = places[1]! % to.blockSize! === 0;
  const lines = isAligned ? alignedLines(to, form, x) : linesOf(to, x, 0);
  const factor = resultsInBlocks(to, form, z, all);
  const found = Array.from({ length: kernel[1]! }, (_, column) => {
    const met = metInLines(to, form, lines, column);
    const image = isAligned
      ? alignedImage(to, form, met, all)
      : mixedImage(to, met, [images[2] as number, channels, all * places[1]!]);
    const results = to.emit(`${NCHWC}.Conv`, [image, factor], {
      kernel_shape: [places[0]!, 1],
      strides: [window.dilation[0]!, 1],
      pads: [window.before[0]!, 0, window.after[0]!, 0],
      dilations: [1, 1],
    });
    const plain = to.emit(`${NCHWC}.ReorderOutput`, [results], { channels: outputs, channels_last: 0 });
    return to.emit("Reshape", [plain, to.ints([outputs, kernel[0]!, 1, channels])]);
  });
  const columns = found.length === 1 ? found[0]! : to.emit("Concat", found, { axis: 2 });
  return to.emit("Transpose", [columns], { perm: [0, 3, 1, 2] });
}

/** Whether `weightByTurnedBlocks` can compute a weights' gradient: with no more padding than the kernel reaches. */
export function fitsTurnedWeightBlocks({ blockSize }: Target, form: Convolution): boolean {
  if (blockSize === undefined || !isPlane(form) || !isDense(form)) return false;
  const { before, after, dilation } = form.window;
  return [before, after].every((amounts) => amounts[0]! <= dilation[0]! * (form.kernel[0]! - 1));
}

/** Whether that is faster than other ways where channels are few: they must nearly fill blocks. */
export function isWorthTurnedWeightBlocks(target: Target, form: Convolution): boolean {
  if (target.samples === undefined || !fitsTurnedWeightBlocks(target, form)) return false;
  const { channels, kernel, images, places } = form;
  const size = target.blockSize!;
  const [found, [given]] = [channels * kernel[1]!, concrete(images, target.samples) as [number]];
  const filled = [whole(found, size) / found, filledSamples(given, places[1]!, size) / given];
  return filled.every((share) => share <= NEARLY_FILLED);
}

/**
 * The weights' gradient as one convolution of results by images, in which the numbers in a line of all samples are channels: the
 * results are in line, and the images' channels at all columns of the kernel make up a block; by `weightByTaps` where it is not
 * known how many samples there are.
 */
export function weightByTurnedBlocks(to: Lowering, form: Convolution, x: string, z: string): string {
  const { window, channels, outputs, kernel, images, places } = form;
  if (to.samples === undefined) return weightByTaps(to, form, x, z);
  to.fixSamples();
  const [given, , height] = concrete(images, to.samples) as [number, number, number];
  const all = filledSamples(given, places[1]!, to.blockSize!);
  const factor = columnsInBlocks(to, form, linesOf(to, x, all - given), all);
  const image = mixedImage(to, linesOf(to, z, all - given), [places[0]!, outputs, all * places[1]!]);
  const [step, reach] = [window.dilation[0]!, window.dilation[0]! * (kernel[0]! - 1)];
  const results = to.emit(`${NCHWC}.Conv`, [image, factor], {
    kernel_shape: [height, 1],
    strides: [step, 1],
    pads: [reach - window.before[0]!, 0, reach - window.after[0]!, 0],
    dilations: [1, 1],
  });
  const plain = to.emit(`${NCHWC}.ReorderOutput`, [results], { channels: kernel[1]! * channels, channels_last: 0 });
  const rowByRow = reshape(to, plain, [kernel[1]!, channels, kernel[0]!, outputs]);
  // An image that lies further down meets the rows of results by an earlier row of the kernel.
  return to.emit("Transpose", [reversed(to, rowByRow)], { perm: [3, 1, 2, 0] });
}

/**
 * Lines of images as a kernel [F / size, N · width / size, height, size of N · width, size of F], where F are the channels that all
 * columns of the convolution's kernel meet, filled up.
 */
function columnsInBlocks(to: Lowering, form: Convolution, lines: string, all: number): string {
  const { channels, kernel, images, places } = form;
  const [size, height, depth] = [to.blockSize!, images[2] as number, all * places[1]!];
  const met = Array.from({ length: kernel[1]! }, (_, column) => metInLines(to, form, lines, column));
  const found = met.length * channels;
  const filled = whole(found, size);
  const columns = to.emit("Concat", [...met, ...filling(to, met[0]!, channels, filled - found)], { axis: 1 });
  const image = reshape(to, columns, [height, filled, 1, depth]);
  const blocks = to.emit(`${NCHWC}.ReorderInput`, [image], { channels_last: 0 });
  const apart = reshape(to, blocks, [height, filled / size, depth / size, size ** 2]);
  return reshape(to, to.emit("Transpose", [apart], { perm: [1, 2, 0, 3] }), [filled, depth, height, 1]);
}

/** Images [N, C, height, width] as lines [height, C, N, width], with zeros for so many more samples. */
function linesOf(to: Lowering, images: string, more: number): string {
  const lines = to.emit("Transpose", [images], { perm: [2, 1, 0, 3] });
  return more === 0 ? lines : to.emit("Pad", [lines, to.ints([0, 0, 0, 0, 0, 0, more, 0])]);
}

/** Samples with which lines of so many numbers make up whole blocks. */
function filledSamples(samples: number, width: number, size: number): number {
  let all = samples;
  while ((all * width) % size !== 0) all++;
  return all;
}

/** So many channels that fill up a block, of whose results nothing becomes: any will do. */
function filling(to: Lowering, met: string, channels: number, missing: number): string[] {
  if (missing === 0) return [];
  if (missing >= channels) return [met, ...filling(to, met, channels, missing - channels)];
  return [to.emit("Slice", [met, to.ints([0]), to.ints([missing]), to.ints([1])])];
}

/** What a column of the kernel meets at all places of the lines on the last axis. */
function metInLines(to: Lowering, { window, images, places }: Convolution, lines: string, column: number): string {
  const [width, before] = [images[3] as number, window.before[1]!];
  const { start, stop } = stretch(window, 1, column, places);
  const [left, right] = [before - start, stop - before - width];
  if (left === 0 && right === 0) return lines;
  return to.emit("Pad", [lines, to.ints([0, 0, 0, left, 0, 0, 0, right])]);
}

/** Lines [height, C, N, width] as an image [height, C] of N · width channels, whose blocks go over the ends of lines. */
function mixedImage(
  to: Lowering,
  lines: string,
  lengths: readonly [height: number, channels: number, depth: number],
): string {
  const image = reshape(to, lines, [1, ...lengths]);
  return to.emit(`${NCHWC}.ReorderInput`, [image], { channels_last: 1 });
}

/** Images [N, C, height, width], where their channels collide as [N, height, C, width]. */
function alignedLines(to: Lowering, form: Convolution, images: string): string {
  return collides(form) ? to.emit("Transpose", [images], { perm: [0, 2, 1, 3] }) : images;
}

function collides({ images, places }: Convolution): boolean {
  return (Float32Array.BYTES_PER_ELEMENT * (images[2] as number) * places[1]!) % COLLIDING === 0;
}

/** Aligned lines, which are whole blocks, likewise. */
function alignedImage(to: Lowering, form: Convolution, met: string, all: number): string {
  const { channels, images, places } = form;
  const [size, height, width] = [to.blockSize!, images[2] as number, places[1]!];
  const [apart, perm] = collides(form)
    ? [
        [all, height * channels, width / size, size],
        [0, 2, 1, 3],
      ]
    : [
        [all, channels, height, width / size, size],
        [0, 3, 2, 1, 4],
      ];
  const blocks = to.emit("Transpose", [reshape(to, met, apart)], { perm });
  return reshape(to, blocks, [1, all * width, height, channels]);
}

/** Results [N, O, height, width] as a kernel [O / size, N · width / size, height, size of N · width, size of O], filled up by zeros. */
function resultsInBlocks(to: Lowering, { outputs, places }: Convolution, z: string, all: number): string {
  const size = to.blockSize!;
  const [height, width] = places as [number, number];
  const blocks = to.emit(`${NCHWC}.ReorderInput`, [z], { channels_last: 0 });
  if (width % size === 0) {
    const apart = reshape(to, blocks, [all, outputs / size, height, width / size, size ** 2]);
    return reshape(to, to.emit("Transpose", [apart], { perm: [1, 0, 3, 2, 4] }), [outputs, all * width, height, 1]);
  }
  const apart = reshape(to, blocks, [all, outputs / size, height, width * size]);
  const lines = to.emit("Transpose", [apart], { perm: [1, 2, 0, 3] });
  const depth = whole(all * width, size);
  const rest = depth - all * width;
  const flat = reshape(to, lines, [outputs / size, height, all * width * size]);
  const filled = rest === 0 ? flat : to.emit("Pad", [flat, to.ints([0, 0, 0, 0, 0, rest * size])]);
  const columns = reshape(to, filled, [outputs / size, height, depth / size, size ** 2]);
  return reshape(to, to.emit("Transpose", [columns], { perm: [0, 2, 1, 3] }), [outputs, depth, height, 1]);
}

/**
 * Weights as [O / size, C / size, …kernel, size of C, size of O], or [O / size, C, …kernel, size of O] where the channels are
 * read as they are: in short moves of whole blocks.
 */
function kernelInBlocks(to: Lowering, form: Convolution, w: string): string {
  const { channels, outputs, kernel, backwards } = form;
  const [size, entries] = [to.blockSize!, sizeOf(kernel)];
  const inner = channels < size ? 1 : size;
  const image = backwards ? [channels, outputs, 1, entries] : [1, outputs, 1, channels * entries];
  const apart = backwards
    ? [channels / inner, inner, outputs / size, entries, size]
    : [outputs / size, channels / inner, inner, entries, size];
  const blocks = to.emit(`${NCHWC}.ReorderInput`, [reshape(to, w, image)], { channels_last: 0 });
  const perm = backwards ? [2, 0, 3, 1, 4] : [0, 1, 3, 2, 4];
  const exchanged = to.emit("Transpose", [reshape(to, blocks, apart)], { perm });
  const found = backwards ? turned(to, form, exchanged) : exchanged;
  return reshape(to, found, [outputs, channels, ...kernel]);
}

/** A kernel in blocks turned round. */
function turned(to: Lowering, { kernel }: Convolution, blocks: string): string {
  return sizeOf(kernel) === 1 ? blocks : reversed(to, blocks);
}

/** A tensor with its third axis backwards. */
function reversed(to: Lowering, value: string): string {
  return to.emit("Slice", [value, ...[-1, Number.MIN_SAFE_INTEGER, 2, -1].map((each) => to.ints([each]))]);
}

function reshape(to: Lowering, value: string, shape: readonly number[]): string {
  return to.emit("Reshape", [value, to.ints(shape)]);
}
