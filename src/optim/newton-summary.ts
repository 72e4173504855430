import { defaultEngine, inTurn, samplesOf } from "../engine/index.ts";
import type { FullLoss, Loss, Module, Parameter } from "../nn/index.ts";
import { membersOf, type NamedGroup, type ParameterGroup, SummaryMean } from "../summary/index.ts";
import { DisposedError, NonFiniteError, OptionError, StateError } from "../util/errors.ts";
import { type Batch, sizeOf } from "../util/ndarray.ts";
import { checkNonNegative, checkPositive } from "../util/options.ts";
import { Queue } from "../util/queue.ts";
import { adapt } from "./adapt.ts";
import { type AutoState, copied, decrementOf, type Seen, Spread } from "./auto-damping.ts";
import { dampingByGroup, multiplied, Turned } from "./damping.ts";
import { checkWatched } from "./loss-of.ts";
import { type NewtonSettings, type NewtonSummaryOptions, newtonSettings } from "./newton-options.ts";
import { runsOf, stepInput } from "./parted-batch.ts";
import { inOneRun, propose, type StepSource } from "./propose.ts";
import { firstRates, nextRates, type RateState, takesOrder3 } from "./rate-state.ts";
import type {
  StepArgument,
  StepBatch,
  StepBatches,
  StepOptions,
  StepResult,
  TrainingOptimizer,
  UpdateRecord,
} from "./result.ts";
import {
  checkState,
  type Identity,
  identityOf,
  newtonFields,
  type StepperState,
  settingsToKeep,
} from "./saved-state.ts";
import { placeSchedules, type Schedule, type Scheduled } from "./schedule.ts";
import { type BegunStep, type Moved, type Proposal, Stepper } from "./stepper.ts";
import { takeSteps } from "./steps.ts";
import { isDue, periodOf, type Taken } from "./summary-cost.ts";
import { takeSummary } from "./take-summary.ts";
import { resolveTarget } from "./target.ts";

/** A saved state of {@link NewtonSummary}: all but parameters and buffers, which are the model's `stateDict()`. */
export interface NewtonSummaryState extends Identity {
  readonly step: number;
  /** By group. */
  readonly damping: Float64Array;
  /** With cubic regularisation. */
  readonly dampingInt?: number;
  readonly rates: RateState;
  /** With `periodHg: "auto"`, once it is chosen. */
  readonly period?: number;
  /** With automatic damping. */
  readonly auto?: AutoState;
  readonly stepper: StepperState;
  /** Where the summary's loader stands, if it says. */
  readonly hgLoader: unknown;
  /** What each schedule remembers, in the order in which they were added. */
  readonly schedules: readonly { readonly name: string; readonly options: object; readonly state: unknown }[];
}

/**
 * Second-order training by summaries (P. Wolinski, arXiv 2312.03885): an updater proposes a direction, and every
 * `periodHg` steps the loss's curvature along it, group by group, gives each group its learning rate.
 *
 * The learning rates of S groups are damping · η, η the solution of largest ‖Dη‖ of η = (H̄ + ½ λ_int ‖Dη‖ D²)⁻¹ ḡ,
 * smoothed over the summaries. Between summaries a step is one compiled call.
 *
 * Departures from the reference: see `docs/decisions.md`.
 */
export class NewtonSummary implements TrainingOptimizer, Scheduled {
  readonly groups: readonly NamedGroup[];
  readonly #stepper: Stepper;
  readonly #settings: NewtonSettings;
  readonly #options: NewtonSummaryOptions;
  /** Steps and looks at this optimiser, in order; within them only the engine's work takes its turn there. */
  readonly #queue = new Queue();
  readonly #warned = new Set<string>();
  #rates: RateState = firstRates();
  readonly #damping: Turned<Float64Array>;
  readonly #dampingInt: Turned<number | undefined>;
  #auto: AutoState | undefined;
  #period: number | undefined;
  readonly #schedules: Schedule[] = [];
  #step = 0;
  #disposed = false;

  private constructor(stepper: Stepper, settings: NewtonSettings, options: NewtonSummaryOptions) {
    this.groups = stepper.parts.groups;
    this.#stepper = stepper;
    this.#settings = settings;
    this.#options = options;
    this.#damping = new Turned(dampingByGroup(settings.damping, this.groups.length, '"auto", '));
    if (settings.auto) this.#auto = { successes: 0, watches: [] };
    if (settings.periodHg !== "auto") this.#period = settings.periodHg;
    const { regularization } = settings.solve;
    this.#dampingInt = new Turned("dampingInt" in regularization ? regularization.dampingInt : undefined);
  }

  /**
   * @param target a model, or groups of parameters.
   * @param loss of the model's output and a target; with groups, of the input and a target, the model inside it.
   * @throws OptionError, PartitionError
   */
  static create(model: Module, loss: Loss, options?: NewtonSummaryOptions): Promise<NewtonSummary>;
  static create(
    groups: readonly ParameterGroup<Parameter>[],
    loss: FullLoss,
    options?: NewtonSummaryOptions,
  ): Promise<NewtonSummary>;
  static async create(
    target: Module | readonly ParameterGroup<Parameter>[],
    loss: Loss | FullLoss,
    options: NewtonSummaryOptions = {},
  ): Promise<NewtonSummary> {
    const { objective, groups } = resolveTarget(target, loss, options.partition);
    const numbers = membersOf(groups).reduce((sum, name) => sum + sizeOf(objective.variables.get(name)!.shape), 0);
    const settings = newtonSettings(options, groups.length === numbers);
    const engine = options.engine ?? (await defaultEngine());
    const stepper = new Stepper(engine, { objective, groups, updater: settings.updater }, options);
    return new NewtonSummary(stepper, settings, options);
  }

  /** The rate of each group that the next step applies to the updater's direction, damping included. */
  get learningRates(): Float64Array {
    return this.#applied(this.#rates, this.#damping.value);
  }

  /** Whether λ₁ adapts by itself. */
  get adapts(): boolean {
    return this.#settings.auto;
  }

  /** λ₁ of each group, a copy. */
  get damping(): Float64Array {
    return this.#damping.value.slice();
  }

  /**
   * Changes λ₁, and with it the rates, from the next step on, also while one is under way: one number, or one for each group. If it
   * adapts it goes on from there.
   * @throws OptionError
   */
  set damping(value: number | ArrayLike<number>) {
    this.#damping.set(dampingByGroup(value, this.groups.length));
  }

  /** Multiplies the damping, and with it the rates, from the next step on; it stays a number above 0. @throws OptionError */
  dampingMul(factor: number): void {
    checkPositive("dampingMul", factor);
    this.#damping.set(this.#damping.value.map((value) => multiplied(value, factor)));
  }

  /** λ_int of the cubic regularisation; undefined without it. */
  get dampingInt(): number | undefined {
    return this.#dampingInt.value;
  }

  /** Changes λ_int from the next summary on. @throws OptionError */
  set dampingInt(value: number) {
    if (this.dampingInt === undefined) throw new OptionError("dampingInt would be ignored with nesterov.use false");
    checkNonNegative("dampingInt", value);
    this.#dampingInt.set(value);
  }

  /** Steps from one summary to the next; undefined where it is "auto" and no summary was taken yet. */
  get periodHg(): number | undefined {
    return this.#period;
  }

  /** Saves and restores a schedule's state with its own; schedules call it when they are made. */
  addSchedule(schedule: Schedule): void {
    this.#schedules.push(schedule);
  }

  /**
   * One step, on a batch, on a list of batches whose gradients are added up, or on a gradient that the caller computed.
   * @param input left out for a model without inputs, and with `gradientData`.
   * @throws NonFiniteError with the policy "throw", and what running throws; then nothing changed.
   */
  step(input?: StepArgument, options: StepOptions = {}): Promise<StepResult> {
    return this.#take(input, options, undefined);
  }

  /**
   * A step on each batch or list of batches, with the results of {@link step}, but faster: while one is computed, the next batch is
   * fetched and its step begun, unless that takes a summary. A step that has begun counts only when its result is asked for, and
   * only if what it began from has not changed; otherwise it is taken anew. So parameters are always those after the last
   * result, and where the loop is left, no more steps are taken. A batch is fetched before the result of the one ahead of it is there:
   * a loader's state says so, batches need memory of their own, and what a source reads of the model is a step old.
   * @throws as {@link step}, and what fetching throws; no steps follow.
   */
  steps(batches: StepBatches, options: StepOptions = {}): AsyncGenerator<StepResult> {
    return takeSteps(batches, {
      begin: (batch, after) => this.#begin(batch, after),
      take: (batch, begun) => this.#take(batch, options, begun),
      drop: (begun) => this.#stepper.drop(begun),
    });
  }

  #begin(batch: StepBatch, after: BegunStep | undefined): Promise<BegunStep | undefined> {
    return this.#queue.run(async () => {
      this.#assertAlive();
      const from = this.#inputOf(batch);
      if (this.#needsSummary(after ? this.#step + 1 : this.#step) || this.#waits || !inOneRun(this.#stepper, from))
        return undefined;
      return await this.#onEngine(() => this.#stepper.begin(from, this.learningRates, after));
    });
  }

  #take(input: StepArgument | undefined, { signal }: StepOptions, begun: BegunStep | undefined): Promise<StepResult> {
    return this.#queue.run(async () => {
      this.#assertAlive();
      signal?.throwIfAborted();
      const result = await this.#guarded(this.#inputOf(input), signal, begun);
      this.#step++;
      this.#options.onStep?.(result);
      return result;
    });
  }

  /**
   * The summary and the rates at the current point, as a step would take them now, with no side effect: parameters,
   * buffers, the updater's state, averages, rates, random numbers and the loader stay as they are.
   * @param input what the direction is taken from.
   * @param options.hgBatch the batch of the summary; by default what a step would take: the next ones of the loader, `hgData`, or the input.
   */
  probe(
    input?: StepArgument,
    options: { readonly hgBatch?: Batch; readonly signal?: AbortSignal } = {},
  ): Promise<UpdateRecord> {
    return this.#queue.run(async () => {
      this.#assertAlive();
      const from = this.#inputOf(input);
      const batches = options.hgBatch ? [options.hgBatch] : await this.#peek(from);
      return await this.#onEngine(async () => {
        const { random } = this.#stepper;
        const drawn = random.state;
        try {
          return await this.#look(from, batches, options.signal);
        } finally {
          random.state = drawn;
        }
      });
    });
  }

  async #look(input: StepSource, batches: HgBatches, signal: AbortSignal | undefined): Promise<UpdateRecord> {
    const proposal = await propose(this.#stepper, input, signal);
    try {
      return (await this.#nextRates(proposal, batches, signal)).record;
    } finally {
      this.#stepper.discard(proposal);
    }
  }

  /** A copy of the whole state but for parameters and buffers, which are the model's `stateDict()`. */
  state(): Promise<NewtonSummaryState> {
    return this.#queue.run(async () => {
      this.#assertAlive();
      return {
        ...this.#identity(),
        step: this.#step,
        damping: this.damping,
        ...(this.dampingInt === undefined ? {} : { dampingInt: this.dampingInt }),
        rates: structuredClone(this.#rates),
        ...(this.#settings.periodHg === "auto" && this.#period !== undefined && { period: this.#period }),
        ...(this.#auto && { auto: structuredClone(this.#auto) }),
        stepper: await this.#onEngine(() => this.#stepper.state()),
        hgLoader: structuredClone(this.#options.hgLoader?.state),
        schedules: this.#schedules.map(({ name, options, state }) => structuredClone({ name, options, state })),
      };
    });
  }

  /**
   * Continues from a saved state; together with the parameters of that time the run goes on exactly as it did.
   * @throws StateError where the state is damaged, or of another model, partition, updater, regularisation, kind of averages, loader,
   * schedule or version; then nothing changed.
   */
  restore(saved: unknown): Promise<void> {
    const [setDamping, setDampingInt] = [this.#damping.begin(), this.#dampingInt.begin()];
    return this.#queue.run(async () => {
      this.#assertAlive();
      checkState(this.#identity(), this.#stepper.parts, saved, (found) => ({
        ...newtonFields(found, this.groups.length, this.#settings),
        stepper: this.#stepper.check(found),
      }));
      const state = saved as NewtonSummaryState;
      const { step, damping, dampingInt, rates, period, auto, stepper } = state;
      await this.#onEngine(async () => {
        for (const watch of auto?.watches ?? []) await checkWatched(this.#stepper, watch, this.#settings.summaryMode);
      });
      await this.#restoreParts(state, () => this.#onEngine(() => this.#stepper.restore(stepper)));
      this.#step = step;
      setDamping(damping.slice());
      setDampingInt(dampingInt);
      this.#rates = structuredClone(rates);
      this.#auto = structuredClone(auto);
      if (this.#settings.periodHg === "auto") this.#period = period;
    });
  }

  /** Releases compiled programs and the updater's state; parameters stay with the model. */
  dispose(): Promise<void> {
    return this.#queue.run(async () => {
      this.#disposed = true;
      await this.#onEngine(() => this.#stepper.dispose());
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Takes schedules and loader to where they were, and then restores the rest; if that fails they go back. */
  async #restoreParts({ schedules, hgLoader }: NewtonSummaryState, rest: () => Promise<void>): Promise<void> {
    const undo: (() => void)[] = [];
    try {
      undo.push(placeSchedules(this.#schedules, schedules));
      undo.push(this.#placeLoader(hgLoader));
      await rest();
    } catch (error) {
      for (const back of undo) back();
      throw error;
    }
  }

  /** Takes the loader to a saved place; what is returned takes it back. @throws StateError, and then it stays */
  #placeLoader(saved: unknown): () => void {
    const { hgLoader } = this.#options;
    const at = structuredClone(hgLoader?.state);
    if ((saved === undefined) !== (at === undefined))
      throw new StateError(
        `state: it was saved ${saved === undefined ? "without" : "with"} the place of an hgLoader, this optimiser has ${at === undefined ? "none" : "one"}`,
      );
    if (!hgLoader || at === undefined) return () => undefined;
    hgLoader.state = structuredClone(saved);
    return () => {
      hgLoader.state = at;
    };
  }

  #onEngine<T>(task: () => Promise<T>): Promise<T> {
    return inTurn(this.#stepper.engine, task);
  }

  #assertAlive(): void {
    if (this.#disposed) throw new DisposedError("this optimiser was disposed");
  }

  #identity(): Identity {
    return identityOf("NewtonSummary", this.#stepper.parts, settingsToKeep(this.#settings));
  }

  /** Logs a message once for each topic. */
  #warn(message: string, topic: string = message): void {
    if (this.#warned.has(topic)) return;
    this.#warned.add(topic);
    (this.#options.log ?? console.warn)(message);
  }

  /** What a step works from. @throws OptionError where that is `gradientData` and something is given beside it */
  #inputOf(input: StepArgument | undefined): StepSource {
    const { gradientData } = this.#options;
    if (gradientData && input)
      throw new OptionError("step: a batch or gradient would be ignored beside gradientData: call it without");
    const source = gradientData ? { batches: gradientData } : stepInput(input);
    if ("gradient" in source && this.#settings.periodHg === "auto")
      throw new OptionError(
        'periodHg: "auto" weighs a summary against a step on a batch; with gradients, give a number',
      );
    return source;
  }

  /** A step under the policy for numbers that are not finite. */
  async #guarded(
    input: StepSource,
    signal: AbortSignal | undefined,
    begun: BegunStep | undefined,
  ): Promise<StepResult> {
    const { hgLoader } = this.#options;
    const at = structuredClone(hgLoader?.state);
    const { random } = this.#stepper;
    const drawn = random.state;
    try {
      return await this.#advance(input, signal, begun);
    } catch (error) {
      random.state = drawn;
      if (error instanceof NonFiniteError && this.#options.onNonFinite === "skip") {
        this.#warn(`step ${this.#step} was left out: ${error.message}`);
        return { step: this.#step, loss: Number.NaN, learningRates: this.learningRates, skipped: error.message };
      }
      if (hgLoader && at !== undefined) hgLoader.state = at;
      throw error;
    }
  }

  async #advance(
    input: StepSource,
    signal: AbortSignal | undefined,
    begun: BegunStep | undefined,
  ): Promise<StepResult> {
    if (this.#needsSummary(this.#step)) return await this.#summaryStep(input, signal);
    const learningRates = this.learningRates;
    const loss = await this.#onEngine(async () => {
      if (!this.#waits && inOneRun(this.#stepper, input)) return await this.#stepper.step(input, learningRates, begun);
      const proposal = await propose(this.#stepper, input, signal);
      if (!this.#waits) return await this.#stepper.apply(proposal, learningRates);
      this.#stepper.discard(proposal);
      return proposal.loss;
    });
    return { step: this.#step, loss: loss ?? Number.NaN, learningRates };
  }

  /** Whether a step is to take a summary. */
  #needsSummary(step: number): boolean {
    const period = this.#period;
    if (!period || !this.#rates.smoothed) return true;
    return this.#settings.periodHg === "auto" ? isDue(step, period) : step % period === 0;
  }

  /** Whether steps do not move yet. */
  get #waits(): boolean {
    return this.#rates.summaries <= this.#settings.warmup;
  }

  async #summaryStep(input: StepSource, signal: AbortSignal | undefined): Promise<StepResult> {
    const { hgLoader } = this.#options;
    const at = structuredClone(hgLoader?.state);
    const batches = await this.#draw(input);
    return await this.#onEngine(async () => {
      const proposal = await propose(this.#stepper, input, signal).catch((error: unknown) => {
        // The summary's batches are not at fault: they are for the next step.
        if (hgLoader && at !== undefined) hgLoader.state = at;
        throw error;
      });
      const considered = await this.#considered(proposal, batches, signal).catch((error: unknown) => {
        this.#stepper.discard(proposal);
        throw error;
      });
      const { rates, record, damping, setDamping, auto, taken } = considered;
      const loss = await this.#stepper.take(proposal, considered.moved);
      this.#rates = rates;
      setDamping(damping);
      this.#auto = auto;
      if ("batch" in input) this.#period ??= periodOf(this.#stepper.parts, this.#settings, input.batch, taken);
      this.#report(record, proposal.norms);
      const learningRates = this.#applied(rates, damping);
      return { step: this.#step, loss: loss ?? Number.NaN, learningRates, update: record };
    });
  }

  /** A summary, and all that follows from it; nothing is changed. */
  async #considered(proposal: Proposal, batches: HgBatches, signal: AbortSignal | undefined): Promise<Considered> {
    const { rates, record, seen, samples } = await this.#nextRates(proposal, batches, signal);
    const taken = { ...(seen[0]!.batch && { batch: seen[0]!.batch }), samples, watched: seen.length };
    const setDamping = this.#damping.begin();
    const { value: damping } = this.#damping;
    if (!this.#auto) {
      const moved = await this.#stepper.moved(proposal, this.#applied(rates, damping));
      return { rates, record, damping, setDamping, auto: undefined, moved, taken };
    }
    const decrement = decrementOf(record);
    const latest = seen.map((each) => ({ ...each, ...(each.batch && { batch: copied(each.batch) }), decrement }));
    const mode = this.#settings.summaryMode;
    const ratesAt = (each: Float64Array): Float64Array => this.#applied(rates, each);
    const attempt = { proposal, mode, ratesAt, latest, period: this.#period ?? 1, signal };
    const tried = await adapt(this.#stepper, attempt, this.#auto, damping);
    return { rates, record, setDamping, ...tried, taken };
  }

  /** The summary along a proposal's directions, and the rates that follow; nothing is changed. */
  async #nextRates(
    proposal: Proposal,
    batches: HgBatches,
    signal: AbortSignal | undefined,
  ): Promise<{ rates: RateState; record: UpdateRecord; seen: readonly Seen[]; samples: number }> {
    const order3 = takesOrder3(this.#rates, this.#settings);
    const warn = (message: string): void => this.#warn(message, "microbatches");
    const mean = new SummaryMean();
    const spread = new Spread();
    let samples = 0;
    for await (const batch of batches) {
      const random = this.#stepper.random.state;
      const inputs = { directions: proposal.directions, batch, order3, signal, warn };
      const part = await takeSummary(this.#stepper, this.#settings, inputs);
      const size = batch ? samplesOf(batch) : 1;
      samples += size;
      mean.add(size, part);
      const most = Math.min(this.#stepper.microbatch ?? size, this.#settings.microbatch ?? size);
      const parts = batch ? runsOf(batch, most) : [1];
      spread.add({ ...(batch && { batch: { x: batch.x, y: batch.y } }), parts, random, loss: part.loss });
    }
    const solve = this.dampingInt === undefined ? {} : { regularization: { dampingInt: this.dampingInt } };
    const settings = { ...this.#settings, solve: { ...this.#settings.solve, ...solve } };
    return { ...nextRates(this.#rates, mean.result(), proposal.norms, settings), seen: spread.kept, samples };
  }

  /** The batches for a summary. */
  async #draw(input: StepSource): Promise<HgBatches> {
    const { hgLoader, hgBatches = 1, hgData } = this.#options;
    if (hgData) return hgData;
    if (hgLoader) {
      const batches: Batch[] = [];
      while (batches.length < hgBatches) batches.push(await hgLoader.draw());
      return batches;
    }
    if ("batches" in input) return input.batches;
    if ("gradient" in input) throw new OptionError("hgLoader or hgData is needed where steps are given gradients");
    return [input.batch];
  }

  /** The same with the loader left where it stands. */
  async #peek(input: StepSource): Promise<HgBatches> {
    const { hgLoader } = this.#options;
    if (hgLoader && hgLoader.state === undefined)
      throw new OptionError("probe: this hgLoader has no state to go back to; pass hgBatch");
    const at = structuredClone(hgLoader?.state);
    try {
      return await this.#draw(input);
    } finally {
      if (hgLoader) hgLoader.state = at;
    }
  }

  #applied({ smoothed, scale }: RateState, damping: Float64Array): Float64Array {
    const rates = smoothed ?? new Float64Array(this.groups.length);
    const { removeNegative } = this.#settings;
    return rates.map((rate, s) => (removeNegative ? Math.max(rate, 0) : rate) * damping[s]! * (scale?.[s] ?? 1));
  }

  #report({ noEffect, found, reason, rawRates }: UpdateRecord, norms: Float64Array): void {
    for (const group of noEffect) {
      const why = norms[group] === 0 ? "does not move, its direction is 0" : "has no effect on the loss";
      this.#warn(`group ${this.groups[group]!.name} ${why}: its learning rate is 0`, `group ${group}`);
    }
    if (!found)
      this.#warn(
        `no learning rates from the summary (${reason}): ${rawRates ? "took a damped Newton step's" : "kept the last"}`,
      );
  }
}

/** What a summary leads to. */
interface Considered {
  readonly rates: RateState;
  readonly record: UpdateRecord;
  readonly damping: Float64Array;
  /** Makes it the optimiser's, unless its user has set another one since. */
  readonly setDamping: (damping: Float64Array) => void;
  readonly auto: AutoState | undefined;
  /** What the summary was taken of. */
  readonly taken: Taken;
  /** The parameters after the step. */
  readonly moved: Moved;
}

/** The batches of a summary; undefined stands for a model without inputs. */
type HgBatches = Iterable<Batch | undefined> | AsyncIterable<Batch>;
