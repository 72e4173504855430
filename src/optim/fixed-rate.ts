import { inTurn } from "../engine/index.ts";
import type { NamedGroup } from "../summary/index.ts";
import { DisposedError, NonFiniteError } from "../util/errors.ts";
import { type OptionTable, readOptions, refuseUnknown } from "../util/options.ts";
import { COMMON, type CommonOptions, checkCommon } from "./newton-options.ts";
import { stepInput } from "./parted-batch.ts";
import type { StepArgument, StepBatches, StepOptions, StepResult, TrainingOptimizer } from "./result.ts";
import {
  checkState,
  type Fields,
  type Identity,
  identityOf,
  type StepperState,
  type UncheckedState,
} from "./saved-state.ts";
import type { BegunStep, StepInput, Stepper } from "./stepper.ts";
import { takeSteps } from "./steps.ts";

/** A saved state of an optimiser with a fixed learning rate: all but parameters and buffers. */
export interface OptimizerState extends Identity {
  readonly step: number;
  readonly stepper: StepperState;
}

/** Options of an optimiser with ways of its own to hold long steps. */
export type UnclippedOptions = Omit<CommonOptions, "clipGradNorm">;

/**
 * Checks all options of such an optimiser, and fills in its own.
 * @param without which of the common ones it does not have either.
 * @throws OptionError
 */
export function readSettings<T extends object>(
  where: string,
  options: T & UnclippedOptions,
  table: OptionTable<T>,
  without: readonly (keyof CommonOptions)[] = [],
): Required<T> {
  const common = COMMON.filter((name) => name !== "clipGradNorm" && !without.includes(name));
  refuseUnknown(where, options, [...Object.keys(table), ...common]);
  checkCommon(options);
  const own = Object.entries(options).filter(([name]) => name in table);
  return readOptions(where, Object.fromEntries(own) as T, table);
}

/** What optimisers with a fixed learning rate share: turns on the engine, the policy for what is not finite, saved states. */
export abstract class FixedRateOptimizer implements TrainingOptimizer {
  readonly groups: readonly NamedGroup[];
  protected readonly stepper: Stepper;
  readonly #identity: Identity;
  readonly #options: CommonOptions & { readonly lr: number };
  #step = 0;
  #disposed = false;

  /**
   * @param kind what tells its saved states from those of others, and
   * @param settings from those of its own kind.
   */
  protected constructor(
    kind: string,
    stepper: Stepper,
    options: CommonOptions & { readonly lr: number },
    settings: object,
  ) {
    this.groups = stepper.parts.groups;
    this.stepper = stepper;
    this.#identity = identityOf(kind, stepper.parts, settings);
    this.#options = options;
  }

  /** The learning rate, once for each group. */
  get learningRates(): Float64Array {
    return new Float64Array(this.groups.length).fill(this.#options.lr);
  }

  /**
   * Moves the parameters; the loss before that. What it throws leaves everything as it was, but for the random numbers.
   * @param begun the same step, where `begin` has begun it.
   */
  protected abstract advance(
    input: StepInput,
    signal: AbortSignal | undefined,
    begun: BegunStep | undefined,
  ): Promise<number | undefined>;

  /** Begins such a move, after another one that has begun; undefined where it must wait for its turn. */
  protected async begin(_input: StepInput, _after: BegunStep | undefined): Promise<BegunStep | undefined> {
    return undefined;
  }

  /** What is saved beside the step and the stepper's state. */
  protected memory(): object {
    return {};
  }

  /** What that must be in a saved state. */
  protected fields(_saved: UncheckedState): Fields {
    return {};
  }

  /** Puts back what `memory` gave. */
  protected recall(_saved: object): void {}

  /** One step; see {@link NewtonSummary.step}. */
  step(input?: StepArgument, options: StepOptions = {}): Promise<StepResult> {
    return this.#take(input, options, undefined);
  }

  /** One step after the other; see {@link NewtonSummary.steps}. */
  steps(batches: StepBatches, options: StepOptions = {}): AsyncGenerator<StepResult> {
    return takeSteps(batches, {
      begin: (batch, after) => this.inTurn(() => this.begin(stepInput(batch), after)),
      take: (batch, begun) => this.#take(batch, options, begun),
      drop: (begun) => this.stepper.drop(begun),
    });
  }

  #take(input: StepArgument | undefined, { signal }: StepOptions, begun: BegunStep | undefined): Promise<StepResult> {
    return this.inTurn(async () => {
      signal?.throwIfAborted();
      const result = await this.#guarded(input, signal, begun);
      this.#step++;
      this.#options.onStep?.(result);
      return result;
    });
  }

  /** A copy of the whole state but for parameters and buffers, which are the model's `stateDict()`. */
  state(): Promise<OptimizerState> {
    return this.inTurn(async () => ({
      ...this.#identity,
      step: this.#step,
      stepper: await this.stepper.state(),
      ...structuredClone(this.memory()),
    }));
  }

  /** @throws StateError; then nothing changed */
  restore(saved: unknown): Promise<void> {
    return this.inTurn(async () => {
      checkState(this.#identity, this.stepper.parts, saved, (found) => ({
        stepper: this.stepper.check(found),
        ...this.fields(found),
      }));
      const { step, stepper, ...memory } = saved as OptimizerState;
      await this.stepper.restore(stepper);
      this.recall(structuredClone(memory));
      this.#step = step;
    });
  }

  /** Releases compiled programs and the state; parameters stay with the model. */
  dispose(): Promise<void> {
    return inTurn(this.stepper.engine, async () => {
      this.#disposed = true;
      await this.stepper.dispose();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Work on the engine, after what was asked for before. @throws DisposedError */
  protected inTurn<T>(task: () => Promise<T>): Promise<T> {
    return inTurn(this.stepper.engine, () => {
      if (this.#disposed) throw new DisposedError("this optimiser was disposed");
      return task();
    });
  }

  async #guarded(
    input: StepArgument | undefined,
    signal: AbortSignal | undefined,
    begun: BegunStep | undefined,
  ): Promise<StepResult> {
    const { learningRates } = this;
    const { random } = this.stepper;
    const drawn = random.state;
    try {
      const loss = await this.advance(stepInput(input), signal, begun);
      return { step: this.#step, loss: loss ?? Number.NaN, learningRates };
    } catch (error) {
      random.state = drawn;
      if (!(error instanceof NonFiniteError) || this.#options.onNonFinite !== "skip") throw error;
      (this.#options.log ?? console.warn)(`step ${this.#step} was left out: ${error.message}`);
      return { step: this.#step, loss: Number.NaN, learningRates, skipped: error.message };
    }
  }
}
