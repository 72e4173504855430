import {
  beginOnce,
  checkFinite,
  type DataSpec,
  type Engine,
  type EngineTensor,
  type Program,
  Programs,
  type Running,
  runOnce,
  samplesOf,
  specOf,
  type Tensors,
  uploadBatch,
  uploadScalar,
  variableTensors,
} from "../engine/index.ts";
import { compileTotals, type Direction, membersOf, type PartPlan, runParts, uploadShare } from "../summary/index.ts";
import { NonFiniteError, OptionError, PartitionError, ShapeError, StateError } from "../util/errors.ts";
import { type Batch, checkShaped, type FloatData, type NDArray, type Shapes, sizeOf } from "../util/ndarray.ts";
import { Random, type RandomState } from "../util/random.ts";
import type { Check } from "../util/schema.ts";
import type { CommonOptions } from "./newton-options.ts";
import { scalarsOf } from "./rule-graph.ts";
import { type StepperState, stepperCheck, type UncheckedState } from "./saved-state.ts";
import {
  applySource,
  directionSource,
  evaluationSource,
  type GradientSource,
  names,
  type StepNeeds,
  type StepParts,
  shareSource,
  slopesSource,
  stepSource,
} from "./step-graph.ts";
import { type PartFigures, partFigures, type StepCut, stepCut } from "./step-parts.ts";
import { stateNamesOf } from "./updater.ts";

/** What a step works from: a batch, a gradient that the caller computed, or neither for an objective without data. */
export type StepInput = { readonly batch: Batch | undefined } | GivenSlopes;

/** What a step reads of the loss, by parameter. */
export interface GivenSlopes {
  readonly gradient: Direction;
  /** H v, for a rule that asks for it. */
  readonly product?: Direction;
}

/** A direction that was proposed but not yet taken. */
export interface Proposal {
  /** The loss of the batch; undefined where the caller gave the gradient. */
  readonly loss: number | undefined;
  /** By parameter name. */
  readonly directions: Readonly<Record<string, EngineTensor>>;
  /** Σ u² for each group. */
  readonly norms: Float64Array;
  /** The updater's state and the buffers after the step, by output name. */
  readonly state: Readonly<Record<string, EngineTensor>>;
}

/** A step that has begun. So far it has changed nothing. */
export interface BegunStep extends Running {
  /** Variables and state that it began from, by input name. */
  readonly kept: Tensors;
  readonly rates: Float64Array;
  readonly mode: string;
  /** Updates before it. */
  readonly updates: number;
  /** What it began to draw random numbers from, */
  readonly drawn: RandomState;
  /** and where those after it go on. */
  readonly random: Random;
  /** Whether it counted when its turn came, or its outputs are gone. */
  status: "begun" | "taken" | "gone";
}

/** Numbers in variables and state up to which steps begin ahead: more are kept then, and steps take long enough without. */
const MOST_AHEAD = 2 ** 24;

/** Parameters after a step that was not yet taken, and their check, by output name. */
export type Moved = Readonly<Record<string, EngineTensor>>;

/**
 * The compiled half of an optimiser: parameters and the updater's state on the engine, and the programs that change
 * them. Nothing is changed before everything about a step is known to be finite.
 */
export class Stepper {
  readonly engine: Engine;
  readonly parts: StepParts;
  readonly programs: Programs;
  /** The most samples in one run; larger batches are run in parts. */
  readonly microbatch: number | undefined;
  /** Where masks are drawn from. */
  readonly random: Random;
  readonly #state = new Map<string, EngineTensor>();
  /** Names of all parameters that a step changes, group by group. */
  readonly members: ReadonlySet<string>;
  /** Which variables were frozen when the groups were made. */
  readonly #frozen: readonly string[];
  /** The shapes of the updater's tensors. */
  readonly #stateShapes: ReadonlyMap<string, readonly number[]>;
  /** What parts are chosen by, for each kind of batch. */
  readonly #figures = new Map<string, PartFigures | undefined>();
  #updates = 0;

  /** @throws what the updater throws where it does not take a parameter */
  constructor(
    engine: Engine,
    parts: Omit<StepParts, "clipGradNorm">,
    { clipGradNorm, stepMicrobatch, seed = 0 }: Pick<CommonOptions, "clipGradNorm" | "stepMicrobatch" | "seed">,
  ) {
    this.engine = engine;
    this.parts = { ...parts, clipGradNorm };
    this.microbatch = stepMicrobatch;
    this.programs = new Programs(engine);
    this.random = new Random(seed);
    this.#frozen = [...parts.objective.variables].flatMap(([name, { trainable }]) => (trainable ? [] : [name]));
    this.members = new Set(membersOf(parts.groups));
    this.#stateShapes = stateShapes(this.parts);
  }

  /** What all compiled programs depend on beside the batch: which parts of the model are in training mode. */
  get mode(): string {
    return this.parts.objective.mode();
  }

  /**
   * A whole step, one run of one program.
   * @param begun the same step, if it has begun; it counts only where it began from what there is now.
   * @throws NonFiniteError where the loss or a new value is NaN or infinite; then nothing changed.
   */
  async step(from: StepInput, rates: Float64Array, begun?: BegunStep): Promise<number | undefined> {
    const stands = begun && (await this.#stands(begun, rates));
    if (begun && !stands) await this.drop(begun);
    const step = stands ? begun : await this.#begin(from, rates, undefined);
    step.status = "gone";
    await step.done;
    const loss = await this.#commit({ ...step.outputs });
    this.random.state = step.random.state;
    step.status = "taken";
    return loss;
  }

  /**
   * Begins a step ahead of its turn, from what there is now or from what another one that has begun will give.
   * @returns undefined where that does not pay: where all processors compute, making it ready holds them up.
   */
  async begin(from: StepInput, rates: Float64Array, after: BegunStep | undefined): Promise<BegunStep | undefined> {
    if (!this.engine.spareProcessor || this.#numbers > MOST_AHEAD) return undefined;
    return await this.#begin(from, rates, after);
  }

  /** Frees a step that has begun, at its end, unless it was taken. */
  async drop(step: BegunStep): Promise<void> {
    if (step.status !== "begun") return;
    step.status = "gone";
    await step.done.then(
      () => this.engine.release(...Object.values(step.outputs)),
      () => {},
    );
  }

  async #begin(from: StepInput, rates: Float64Array, after: BegunStep | undefined): Promise<BegunStep> {
    const drawn = (after ?? this).random.state;
    const random = new Random(0);
    random.state = drawn;
    const updates = after ? after.updates + 1 : this.#updates;
    const { program, inputs, mode } = await this.#prepared("step", from, stepSource, { random, updates, after });
    inputs.own[names.rates] = await this.engine.upload({ shape: [rates.length], data: rates });
    const { kept, own, batch } = inputs;
    const running = await beginOnce(this.engine, program.session, kept, own, batch);
    return { ...running, kept, rates, mode, updates, drawn, random, status: "begun" };
  }

  /** Whether a step has begun from what there is now, as another one before it may have failed or come between. */
  async #stands({ kept, rates, mode, updates, drawn }: BegunStep, wanted: Float64Array): Promise<boolean> {
    const sameNumbers = updates === this.#updates && drawn.words.join() === this.random.state.words.join();
    if (!sameNumbers || mode !== this.mode || rates.some((rate, s) => rate !== wanted[s])) return false;
    const trains = (name: string): boolean => this.parts.objective.variables.get(name)!.trainable;
    if (![...this.members].every(trains) || this.#frozen.some(trains)) return false;
    const now = { ...(await this.variables()), ...Object.fromEntries(this.#state) };
    return Object.entries(kept).every(([name, tensor]) => now[name] === tensor);
  }

  /** In variables and state. */
  get #numbers(): number {
    const shapes = [...this.parts.objective.variables.values()].map(({ shape }) => shape);
    return [...shapes, ...this.#stateShapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  }

  /** The direction of a step and what comes with it, with nothing changed but the random numbers. */
  async propose(from: StepInput): Promise<Proposal> {
    const now = { random: this.random, updates: this.#updates, after: undefined };
    const { program, inputs } = await this.#prepared("direction", from, directionSource, now);
    const outputs = await this.#run(program, inputs);
    const loss = await this.#takeNumber(outputs, names.loss);
    const norms = await this.#take(outputs, names.norms);
    const check = await this.#takeNumber(outputs, names.check);
    const directions: Record<string, EngineTensor> = {};
    for (const name of this.members) {
      directions[name] = outputs[names.direction(name)]!;
      delete outputs[names.direction(name)];
    }
    const proposal = { loss, directions, norms, state: outputs };
    const odd = norms.findIndex((norm) => !Number.isFinite(norm));
    try {
      if (odd >= 0)
        throw new NonFiniteError(`the direction of group ${this.parts.groups[odd]!.name} is not finite (loss ${loss})`);
      checkOutcome(loss, check);
      return proposal;
    } catch (error) {
      this.discard(proposal);
      throw error;
    }
  }

  /**
   * What is run for each part of a batch to add up its gradient, and what is run ahead: `slopesSource`.
   * @param samples in most of the parts.
   */
  async slopes(
    batch: Batch,
    samples: number,
  ): Promise<{ program: Program<PartPlan>; totals: Program<null> | undefined }> {
    const spec = specOf(batch);
    const key = (): string => `${spec.key} ${this.mode}`;
    this.#checkTrainable();
    const program = await this.programs.get(
      () => `slopes ${key()}`,
      () => ({ ...slopesSource(this.parts, spec), samples }),
    );
    const totals = await compileTotals(program.plan, (name, source) =>
      this.programs.get(
        () => `slopes' ${name} ${key()}`,
        () => source,
      ),
    );
    return { program, totals };
  }

  /** Variables and the updater's state, by input name. */
  async kept(): Promise<Record<string, EngineTensor>> {
    return { ...(await this.variables()), ...(await this.#stateTensors(new Map())) };
  }

  /** Takes a proposed step, and frees the proposal. @throws NonFiniteError where a new parameter is NaN or infinite; then nothing changed. */
  async apply(proposal: Proposal, rates: Float64Array): Promise<number | undefined> {
    const moved = await this.moved(proposal, rates).catch((error: unknown) => {
      this.discard(proposal);
      throw error;
    });
    return await this.take(proposal, moved);
  }

  /** Makes {@link moved} parameters the model's, and frees the proposal. @throws NonFiniteError as {@link apply} does */
  async take(proposal: Proposal, moved: Moved): Promise<number | undefined> {
    this.engine.release(...Object.values(proposal.directions));
    await this.#commit({ ...moved, ...proposal.state });
    return proposal.loss;
  }

  /** The parameters after a proposed step, the outputs of `applySource`; the proposal stays and nothing changes. */
  async moved({ directions }: Proposal, rates: Float64Array): Promise<Moved> {
    const program = await this.programs.get(
      () => "apply",
      () => applySource(this.parts),
    );
    const moves = Object.fromEntries(
      Object.entries(directions).map(([name, tensor]) => [names.direction(name), tensor]),
    );
    const own = { [names.rates]: await this.engine.upload({ shape: [rates.length], data: rates }) };
    return await this.#run(program, { kept: { ...(await this.variables()), ...moves }, own });
  }

  /** Frees a proposal that is not taken. */
  discard({ directions, state }: Proposal): void {
    this.engine.release(...Object.values(directions), ...Object.values(state));
  }

  /** Every variable's tensor, by the name of its input. */
  variables(): Promise<Record<string, EngineTensor>> {
    return variableTensors(this.engine, this.parts.objective.variables);
  }

  /** Every variable's value as the updater would have it used, by name. */
  async evaluationWeights(rates: Float64Array): Promise<Record<string, NDArray<FloatData>>> {
    const { objective, updater } = this.parts;
    const values: Record<string, NDArray<FloatData>> = {};
    for (const [name, variable] of objective.variables) values[name] = await variable.read();
    if (!updater.evaluation) return values;
    const program = await this.programs.get(
      () => "evaluation",
      () => evaluationSource(this.parts),
    );
    const own = { [names.rates]: await this.engine.upload({ shape: [rates.length], data: rates }) };
    const kept = await this.kept();
    const outputs = await this.#run(program, { kept, own });
    for (const name of this.members)
      values[name] = (await this.engine.read(outputs[names.updated(name)]!)) as NDArray<FloatData>;
    this.engine.release(...Object.values(outputs));
    return values;
  }

  /** Puts those in the place of the parameters that are trained, where they differ. Returns how to put these back. */
  async useEvaluationWeights(rates: Float64Array): Promise<() => void> {
    if (!this.parts.updater.evaluation) return () => {};
    const variables = [...this.members].map((name) => [name, this.parts.objective.variables.get(name)!] as const);
    const trained = new Map<string, NDArray<FloatData>>();
    for (const [name, variable] of variables) trained.set(name, await variable.read());
    const weights = await this.evaluationWeights(rates);
    for (const [name, variable] of variables) variable.write(weights[name]!);
    return () => {
      for (const [name, variable] of variables) variable.write(trained.get(name)!);
    };
  }

  async state(): Promise<StepperState> {
    const tensors: Record<string, NDArray<FloatData>> = {};
    // Before the first step they are the zeros that every run starts from.
    const kept = this.#updates === 0 ? [] : this.#state;
    for (const [name, tensor] of kept) tensors[name] = (await this.engine.read(tensor)) as NDArray<FloatData>;
    return { updates: this.#updates, random: this.random.state, tensors };
  }

  /** What a saved state of it must be. */
  check(saved: UncheckedState): Check {
    const { preconditioner, objective } = this.parts;
    const parameters = new Map([...this.members].map((name) => [name, objective.variables.get(name)!.shape]));
    const shapesOf = (found: Shapes): Shapes =>
      new Map([...this.#stateShapes, ...(preconditioner?.shapes(found, parameters) ?? [])]);
    return stepperCheck(saved, shapesOf);
  }

  /** Continues from a state that was checked. */
  async restore({ updates, random, tensors }: StepperState): Promise<void> {
    const uploaded = await Promise.all(
      Object.entries(tensors).map(
        async ([name, { shape, data }]) => [name, await this.engine.upload({ shape, data: data.slice() })] as const,
      ),
    );
    this.engine.release(...this.#state.values());
    this.#state.clear();
    for (const [name, tensor] of uploaded) this.#state.set(name, tensor);
    this.#updates = updates;
    this.random.state = random;
  }

  async dispose(): Promise<void> {
    this.engine.release(...this.#state.values());
    this.#state.clear();
    await this.programs.dispose();
  }

  /** The program of a step, or of its first half, and what it is given. */
  async #prepared(
    what: string,
    from: StepInput,
    source: typeof stepSource,
    at: Place,
  ): Promise<{ program: Program<StepNeeds>; inputs: RunInputs; mode: string }> {
    const phase = this.parts.preconditioner?.phase(at.updates);
    this.#checkTrainable();
    const batch = "gradient" in from ? undefined : from.batch;
    const spec = "gradient" in from ? undefined : specOf(batch);
    const cut = batch && spec && this.#cutOf(batch, spec);
    const kind = sourceOf(spec, cut, phase);
    const part = kind.kind === "parts" ? cut?.parts?.[0] : undefined;
    let { mode } = this;
    const key = (): string => {
      // As it was when the program was looked up: it may change before the program runs.
      mode = this.mode;
      if (kind.kind === "given") return kind.kind;
      if (kind.kind === "shares") return `${kind.count} shares`;
      return `${kind.kind} ${kind.spec.key} ${mode} ${part ?? phase}`;
    };
    const program = await this.programs.get(
      () => `${what} ${key()}`,
      () => ({ ...source(this.parts, kind), samples: batch && samplesOf(batch), part }),
    );
    return { program, inputs: await this.#inputs(from, program.plan, cut, at), mode };
  }

  /** How the gradient of a batch is added up; undefined where it must be taken at once. */
  #cutOf(batch: Batch, spec: DataSpec): StepCut | undefined {
    const key = (): string => `${spec.key} ${this.mode}`;
    const figures = this.#figures.has(key()) ? this.#figures.get(key()) : partFigures(this.parts, spec);
    // Tracing may have found out what the mode depends on.
    this.#figures.set(key(), figures);
    return figures && stepCut(figures, samplesOf(batch), this.engine);
  }

  /** @throws PartitionError where a parameter was frozen or unfrozen since the groups were made */
  #checkTrainable(): void {
    const check = (name: string, wanted: boolean): void => {
      if (this.parts.objective.variables.get(name)!.trainable !== wanted)
        throw new PartitionError(
          `${name} was ${wanted ? "frozen" : "unfrozen"} after the optimiser was made: make a new one`,
        );
    };
    for (const name of this.members) check(name, true);
    for (const name of this.#frozen) check(name, false);
  }

  /** Tensors that stay (variables, state) and those that are made for one run. */
  async #inputs(
    from: StepInput,
    needs: StepNeeds,
    cut: StepCut | undefined,
    { random, updates, after }: Place,
  ): Promise<RunInputs> {
    const now = { ...(await this.variables()), ...(await this.#stateTensors(needs.reads)) };
    const kept = after ? replaced(now, after.outputs) : now;
    const own =
      "gradient" in from ? await this.#uploadSlopes(from) : await this.#ofBatch(from.batch, needs, cut, kept, random);
    for (const [name, value] of scalarsOf(this.parts.updater, updates))
      own[names.scalar(name)] = await uploadScalar(this.engine, value);
    for (const [name, value] of Object.entries(this.parts.preconditioner?.scalars(updates) ?? {}))
      own[name] = await uploadScalar(this.engine, value);
    return { kept, own, batch: "batch" in from && !isShared(cut) ? from.batch : undefined };
  }

  /** What a step is given of a batch: its samples, or what its shares make of them. */
  async #ofBatch(
    batch: Batch | undefined,
    needs: StepNeeds,
    cut: StepCut | undefined,
    kept: Tensors,
    random: Random,
  ): Promise<Record<string, EngineTensor>> {
    if (batch && cut && isShared(cut)) return await this.#runShares(batch, cut, kept, random);
    const own = await uploadBatch(this.engine, batch, needs, random);
    const part = cut?.parts?.[0];
    return batch && part ? { ...own, ...(await uploadShare(this.engine, part, samplesOf(batch))) } : own;
  }

  /** Runs the shares of a batch side by side. */
  async #runShares(
    batch: Batch,
    { shares, parts: units }: StepCut,
    tensors: Tensors,
    random: Random,
  ): Promise<Record<string, EngineTensor>> {
    const { engine } = this;
    const spec = specOf(batch);
    const [unit] = units ?? [];
    const part = units?.every((each) => each === unit) ? unit : undefined;
    const program = await this.programs.get(
      () => `share${units ? ` in parts of ${part}` : ""} ${spec.key} ${this.mode}`,
      () => ({ ...shareSource(this.parts, spec, units !== undefined), samples: shares[0], part }),
    );
    const found: Record<string, EngineTensor> = {};
    const inputs = { engine, program, totals: undefined, tensors, batch, parts: shares, units, random };
    let share = 0;
    try {
      await runParts(inputs, [program.session], async (outputs) => {
        for (const [name, tensor] of Object.entries(outputs)) found[names.share(share, name)] = tensor;
        share++;
      });
    } catch (error) {
      engine.release(...Object.values(found));
      throw error;
    }
    return found;
  }

  async #uploadSlopes({ gradient, product }: GivenSlopes): Promise<Record<string, EngineTensor>> {
    const { updater } = this.parts;
    if (updater.hessianVector && !product)
      throw new OptionError(
        `updater ${updater.name}: a step needs a batch, for its product with the Hessian; found a gradient`,
      );
    const slopes = [["gradient", gradient, names.gradient] as const, ["product", product, names.product] as const];
    for (const [what, arrays] of slopes) if (arrays) this.#checkArrays(what, arrays);
    const own: Record<string, EngineTensor> = {};
    for (const [, arrays, nameOf] of slopes)
      for (const [name, array] of Object.entries(arrays ?? {})) own[nameOf(name)] = await this.engine.upload(array);
    return own;
  }

  #checkArrays(what: string, arrays: Direction): void {
    for (const name of Object.keys(arrays))
      if (!this.members.has(name)) throw new ShapeError(`${what}: ${name} is in no group`);
    for (const name of this.members) {
      const found = arrays[name];
      if (!found) throw new ShapeError(`${what}: ${name} is missing`);
      checkShaped(`${what}: ${name}`, found, this.parts.objective.variables.get(name)!.shape);
      checkFinite(`${what} of ${name}`, { shape: [], data: found.data });
    }
  }

  /**
   * The updater's tensors, and those that a program reads for the preconditioner; zeros before the first step.
   * @throws StateError where they are of other shapes
   */
  async #stateTensors(reads: StepNeeds["reads"]): Promise<Record<string, EngineTensor>> {
    for (const [name, shape] of [...this.#stateShapes, ...reads]) {
      const known = this.#state.get(name);
      if (known?.shape.join() === shape.join()) continue;
      if (known || this.#updates > 0)
        throw new StateError(`state: ${name}: expected shape [${shape}], found ${known ? `[${known.shape}]` : "none"}`);
      this.#state.set(name, await this.engine.upload({ shape, data: new Float32Array(sizeOf(shape)) }));
    }
    return Object.fromEntries(this.#state);
  }

  #run({ session }: Program<unknown>, { kept, own, batch }: RunInputs): Promise<Record<string, EngineTensor>> {
    return runOnce(this.engine, session, kept, own, batch);
  }

  /** Makes a step's outputs the new parameters, buffers and state, if they are finite. */
  async #commit(outputs: Record<string, EngineTensor>): Promise<number | undefined> {
    const loss = await this.#takeNumber(outputs, names.loss);
    const check = await this.#takeNumber(outputs, names.check);
    try {
      checkOutcome(loss, check);
    } catch (error) {
      this.engine.release(...Object.values(outputs));
      throw error;
    }
    for (const [name, variable] of this.parts.objective.variables) {
      const tensor = outputs[names.updated(name)];
      if (!tensor) continue;
      variable.set(this.engine, tensor);
      delete outputs[names.updated(name)];
    }
    for (const [name, tensor] of Object.entries(outputs)) {
      const old = this.#state.get(name);
      this.#state.set(name, tensor);
      if (old) this.engine.release(old);
    }
    this.#updates++;
    return loss;
  }

  async #take(outputs: Record<string, EngineTensor>, name: string): Promise<Float64Array> {
    const tensor = outputs[name]!;
    const { data } = await this.engine.read(tensor);
    delete outputs[name];
    this.engine.release(tensor);
    return Float64Array.from(data as FloatData);
  }

  async #takeNumber(outputs: Record<string, EngineTensor>, name: string): Promise<number | undefined> {
    return outputs[name] && (await this.#take(outputs, name))[0];
  }
}

/** Whether a batch is run in shares. */
function isShared(cut: StepCut | undefined): boolean {
  return cut !== undefined && cut.shares.length > 1;
}

/** @param spec of the batch; undefined where the caller gives the gradient. */
function sourceOf(spec: DataSpec | undefined, cut: StepCut | undefined, phase: string | undefined): GradientSource {
  if (!spec) return { kind: "given" };
  if (cut && isShared(cut)) return { kind: "shares", count: cut.shares.length };
  return cut?.parts ? { kind: "parts", spec } : { kind: "batch", spec, phase };
}

/** The shapes of an updater's tensors and shared numbers, by the names of their inputs. */
function stateShapes({ groups, objective, updater }: StepParts): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const name of membersOf(groups)) {
    const { shape } = objective.variables.get(name)!;
    for (const each of stateNamesOf(updater, shape)) shapes.set(names.state(each, name), shape);
  }
  for (const name of updater.shared?.names ?? []) shapes.set(names.shared(name), []);
  return shapes;
}

/** @throws NonFiniteError where the loss, or the sum of all new values, is NaN or infinite */
export function checkOutcome(loss: number | undefined, check: number | undefined): void {
  if (loss !== undefined && !Number.isFinite(loss)) throw new NonFiniteError(`the loss is ${loss}`);
  if (check !== undefined && !Number.isFinite(check))
    throw new NonFiniteError("the step would make parameters or buffers NaN or infinite");
}

/** Where in a run of steps one is prepared. */
interface Place extends Pick<BegunStep, "random" | "updates"> {
  readonly after: BegunStep | undefined;
}

/** Tensors with others of the same names in their places. */
function replaced(tensors: Tensors, others: Tensors): Tensors {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, others[name] ?? tensor]));
}

interface RunInputs {
  readonly kept: Tensors;
  readonly own: Record<string, EngineTensor>;
  /** What `own` was made of, and is yet to be checked. */
  readonly batch?: Batch | undefined;
}
