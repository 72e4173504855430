/** Base class of every error that grnewt throws on purpose; catch it to tell them from bugs. */
export class GrnewtError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

/** A tensor, parameter or input has another shape or dtype than expected. */
export class ShapeError extends GrnewtError {}

/** An option is unknown, out of range, or contradicts or is ignored beside another. */
export class OptionError extends GrnewtError {}

/** A partition misses, repeats or invents a parameter. */
export class PartitionError extends GrnewtError {}

/** A model, loss or graph that cannot be traced, differentiated or compiled. */
export class GraphError extends GrnewtError {}

/** Data that cannot be used: files, labels, empty loaders. */
export class DataError extends GrnewtError {}

/** NaN or infinity where a finite number is needed. */
export class NonFiniteError extends GrnewtError {}

/** A saved state that does not belong to this object. */
export class StateError extends GrnewtError {}

/** Use of something after `dispose()`. */
export class DisposedError extends GrnewtError {}

/** Throws an error that marks a bug of grnewt's own, not of its user. */
export function internal(message: string): never {
  throw new GrnewtError(`internal: ${message}`);
}

/** Asserts an invariant of grnewt's own. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) internal(message);
}
