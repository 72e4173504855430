import {
  checkBatch,
  checkFinite,
  type Engine,
  type EngineTensor,
  type Program,
  Programs,
  type RangeCheck,
  runOnce,
  samplesOf,
  specOf,
  uploadBatch,
  uploadScalar,
  variableTensors,
} from "../engine/index.ts";
import { BATCH_SIZE } from "../ops/index.ts";
import type { Direction } from "../summary/index.ts";
import { NonFiniteError, PartitionError, ShapeError, StateError } from "../util/errors.ts";
import { type Batch, checkShaped, type FloatData, type NDArray, sizeOf } from "../util/ndarray.ts";
import { applySource, directionSource, type GradientSource, names, type StepParts, stepSource } from "./step-graph.ts";

/** What a step works from: a batch, a gradient that the caller computed, or neither for an objective without data. */
export type StepInput = { readonly batch: Batch | undefined } | { readonly gradient: Direction };

/** A direction that was proposed but not yet taken. */
export interface Proposal {
  /** The loss of the batch; undefined where the caller gave the gradient. */
  readonly loss: number | undefined;
  /** By parameter name. */
  readonly directions: Readonly<Record<string, EngineTensor>>;
  /** Σ u² for each group. */
  readonly norms: Float64Array;
  /** The updater's state after the step, by output name. */
  readonly state: Readonly<Record<string, EngineTensor>>;
}

/** The updater's tensors and step count, plain enough to save. */
export interface StepperState {
  readonly updates: number;
  readonly tensors: Readonly<Record<string, NDArray<FloatData>>>;
}

/**
 * The compiled half of an optimiser: parameters and the updater's state on the engine, and the programs that change
 * them. Nothing is changed before everything about a step is known to be finite.
 */
export class Stepper {
  readonly engine: Engine;
  readonly parts: StepParts;
  readonly programs: Programs;
  readonly #state = new Map<string, EngineTensor>();
  /** Names of all parameters that a step changes, group by group. */
  readonly members: ReadonlySet<string>;
  #updates = 0;

  constructor(engine: Engine, parts: StepParts) {
    this.engine = engine;
    this.parts = parts;
    this.programs = new Programs(engine);
    this.members = new Set(parts.groups.flatMap(({ members }) => members));
  }

  /** What all compiled programs depend on beside the batch: which parts of the model are in training mode. */
  get mode(): string {
    return this.parts.objective.mode?.() ?? "";
  }

  /**
   * A whole step, one run of one program.
   * @throws NonFiniteError where the loss or a new parameter is NaN or infinite; then nothing changed.
   */
  async step(from: StepInput, rates: Float64Array): Promise<number | undefined> {
    const program = await this.#program("step", from, stepSource);
    const inputs = await this.#inputs(from, program.plan);
    inputs.own[names.rates] = await this.engine.upload({ shape: [rates.length], data: rates });
    const outputs = await this.#run(program, inputs);
    return await this.#commit(outputs);
  }

  /** The direction of a step and what comes with it, with nothing changed. */
  async propose(from: StepInput): Promise<Proposal> {
    const program = await this.#program("direction", from, directionSource);
    const outputs = await this.#run(program, await this.#inputs(from, program.plan));
    const loss = await this.#takeNumber(outputs, names.loss);
    const norms = await this.#take(outputs, names.norms);
    const directions: Record<string, EngineTensor> = {};
    for (const name of this.members) {
      directions[name] = outputs[names.direction(name)]!;
      delete outputs[names.direction(name)];
    }
    const proposal = { loss, directions, norms, state: outputs };
    const odd = norms.findIndex((norm) => !Number.isFinite(norm));
    if (odd < 0 && (loss === undefined || Number.isFinite(loss))) return proposal;
    this.discard(proposal);
    throw new NonFiniteError(
      odd < 0
        ? `the loss is ${loss}`
        : `the direction of group ${this.parts.groups[odd]!.name} is not finite (loss ${loss})`,
    );
  }

  /** Takes a proposed step, and frees the proposal. @throws NonFiniteError where a new parameter is NaN or infinite; then nothing changed. */
  async apply({ loss, directions, state }: Proposal, rates: Float64Array): Promise<number | undefined> {
    const program = await this.programs.get("apply", () => applySource(this.parts));
    const own = Object.fromEntries(Object.entries(directions).map(([name, tensor]) => [names.direction(name), tensor]));
    own[names.rates] = await this.engine.upload({ shape: [rates.length], data: rates });
    const kept = await this.variables();
    const outputs = await this.#run(program, { kept, own }).catch((error: unknown) => {
      this.engine.release(...Object.values(state));
      throw error;
    });
    await this.#commit({ ...outputs, ...state });
    return loss;
  }

  /** Frees a proposal that is not taken. */
  discard({ directions, state }: Proposal): void {
    this.engine.release(...Object.values(directions), ...Object.values(state));
  }

  /** Every variable's tensor, by the name of its input. */
  variables(): Promise<Record<string, EngineTensor>> {
    return variableTensors(this.engine, this.parts.objective.variables);
  }

  async state(): Promise<StepperState> {
    const tensors: Record<string, NDArray<FloatData>> = {};
    // Before the first step they are the zeros that every run starts from.
    const kept = this.#updates === 0 ? [] : this.#state;
    for (const [name, tensor] of kept) tensors[name] = (await this.engine.read(tensor)) as NDArray<FloatData>;
    return { updates: this.#updates, tensors };
  }

  /** @throws StateError where the state is of another model or updater; then nothing changed. */
  async restore({ updates, tensors }: StepperState): Promise<void> {
    const expected = new Set(updates === 0 ? [] : this.#stateShapes().keys());
    for (const name of Object.keys(tensors))
      if (!expected.has(name)) throw new StateError(`state: unknown tensor ${name}`);
    for (const name of expected) {
      const shape = this.#stateShapes().get(name)!;
      if (tensors[name]?.shape.join() !== shape.join())
        throw new StateError(
          `state: ${name}: expected shape [${shape}], found ${tensors[name] ? `[${tensors[name].shape}]` : "none"}`,
        );
    }
    const uploaded = await Promise.all(
      Object.entries(tensors).map(
        async ([name, { shape, data }]) => [name, await this.engine.upload({ shape, data: data.slice() })] as const,
      ),
    );
    this.engine.release(...this.#state.values());
    this.#state.clear();
    for (const [name, tensor] of uploaded) this.#state.set(name, tensor);
    this.#updates = updates;
  }

  async dispose(): Promise<void> {
    this.engine.release(...this.#state.values());
    this.#state.clear();
    await this.programs.dispose();
  }

  #stateShapes(): Map<string, readonly number[]> {
    return new Map(
      [...this.members].flatMap((name) =>
        this.parts.updater.stateNames.map((each) => [
          names.state(each, name),
          this.parts.objective.variables.get(name)!.shape,
        ]),
      ),
    );
  }

  #program(what: string, from: StepInput, source: typeof stepSource): Promise<Program<readonly RangeCheck[]>> {
    const kind: GradientSource = "gradient" in from ? { kind: "given" } : { kind: "batch", spec: specOf(from.batch) };
    const key = kind.kind === "given" ? "given" : `${kind.spec.key} ${this.mode}`;
    this.#checkTrainable();
    return this.programs.get(`${what} ${key}`, () => source(this.parts, kind));
  }

  /** @throws PartitionError where a parameter was frozen or unfrozen since the groups were made */
  #checkTrainable(): void {
    for (const [name, { trainable }] of this.parts.objective.variables)
      if (trainable !== this.members.has(name))
        throw new PartitionError(
          `${name} was ${trainable ? "unfrozen" : "frozen"} after the optimiser was made: make a new one`,
        );
  }

  /** Tensors that stay (variables, state) and those that are made for one run. */
  async #inputs(from: StepInput, checks: readonly RangeCheck[]): Promise<RunInputs> {
    const own =
      "gradient" in from ? await this.#uploadGradient(from.gradient) : await this.#uploadData(from.batch, checks);
    for (const [name, value] of Object.entries(this.parts.updater.scalars(this.#updates)))
      own[names.scalar(name)] = await uploadScalar(this.engine, value);
    return { kept: { ...(await this.variables()), ...(await this.#stateTensors()) }, own };
  }

  async #uploadData(batch: Batch | undefined, checks: readonly RangeCheck[]): Promise<Record<string, EngineTensor>> {
    if (batch) checkBatch(batch, checks);
    const size = await uploadScalar(this.engine, batch ? samplesOf(batch) : 1);
    return { ...(await uploadBatch(this.engine, batch)), [BATCH_SIZE]: size };
  }

  async #uploadGradient(gradient: Direction): Promise<Record<string, EngineTensor>> {
    for (const name of Object.keys(gradient))
      if (!this.members.has(name)) throw new ShapeError(`gradient: ${name} is in no group`);
    for (const name of this.members) {
      const found = gradient[name];
      if (!found) throw new ShapeError(`gradient: ${name} is missing`);
      checkShaped(`gradient: ${name}`, found, this.parts.objective.variables.get(name)!.shape);
      checkFinite(`gradient of ${name}`, { shape: [], data: found.data });
    }
    const own: Record<string, EngineTensor> = {};
    for (const name of this.members) own[names.gradient(name)] = await this.engine.upload(gradient[name]!);
    return own;
  }

  async #stateTensors(): Promise<Record<string, EngineTensor>> {
    if (this.#state.size === 0)
      for (const [name, shape] of this.#stateShapes())
        this.#state.set(name, await this.engine.upload({ shape, data: new Float32Array(sizeOf(shape)) }));
    return Object.fromEntries(this.#state);
  }

  #run({ session }: Program<unknown>, { kept, own }: RunInputs): Promise<Record<string, EngineTensor>> {
    return runOnce(this.engine, session, kept, own);
  }

  /** Makes a step's outputs the new parameters and state, if they are finite. */
  async #commit(outputs: Record<string, EngineTensor>): Promise<number | undefined> {
    const loss = await this.#takeNumber(outputs, names.loss);
    const check = await this.#takeNumber(outputs, names.check);
    if (!Number.isFinite(check) || (loss !== undefined && !Number.isFinite(loss))) {
      this.engine.release(...Object.values(outputs));
      throw new NonFiniteError(
        loss !== undefined && !Number.isFinite(loss)
          ? `the loss is ${loss}`
          : `the step would make parameters NaN or infinite`,
      );
    }
    for (const name of this.members) {
      this.parts.objective.variables.get(name)!.set(this.engine, outputs[names.updated(name)]!);
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

interface RunInputs {
  readonly kept: Readonly<Record<string, EngineTensor>>;
  readonly own: Record<string, EngineTensor>;
}
