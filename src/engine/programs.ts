import { type Graph, printGraph } from "../graph/index.ts";
import { DisposedError } from "../util/errors.ts";
import type { Engine, Session } from "./engine.ts";

/** What is compiled once and run many times: a session and what its maker wants to know beside it. */
export interface Program<T> {
  readonly session: Session;
  readonly plan: T;
}

/** A graph to compile, and what its maker wants to know beside it. */
export interface Source<T> {
  readonly graph: Graph;
  readonly plan: T;
  /** Whether memory counts more than speed; the engine's choice by default. */
  readonly lowMemory?: boolean;
  /** Whether runs of it may go on side by side. */
  readonly sideBySide?: boolean;
  /** How many samples most runs will have, if that is known. */
  readonly samples?: number | undefined;
  /** How many samples each part has of what it adds up itself, if all have so many. */
  readonly part?: number | undefined;
}

/** Compiled graphs by key, all released together. */
export class Programs {
  readonly engine: Engine;
  readonly #limit: number;
  readonly #programs = new Map<string, Promise<Program<unknown>>>();
  #disposed = false;

  /** @param limit how many programs to keep; beyond it the one that was used longest ago is released. */
  constructor(engine: Engine, limit: number = Number.POSITIVE_INFINITY) {
    this.engine = engine;
    this.#limit = limit;
  }

  /**
   * The program of this key, compiled from `build` the first time. The key must tell apart all that `build` depends on; as
   * building may be what finds that out, it is asked again afterwards.
   */
  async get<T>(keyNow: () => string, build: () => Source<T>): Promise<Program<T>> {
    if (this.#disposed) throw new DisposedError("this object was disposed");
    const program = (this.#programs.get(keyNow()) as Promise<Program<T>> | undefined) ?? this.#compile(build());
    const key = keyNow();
    this.#programs.delete(key);
    this.#programs.set(key, program);
    program.catch(() => this.#programs.delete(key));
    const [oldest] = this.#programs;
    if (oldest && this.#programs.size > this.#limit) {
      this.#programs.delete(oldest[0]);
      // One that failed to compile has nothing to release, and its own caller was told.
      await oldest[1].then(
        ({ session }) => session.dispose(),
        () => undefined,
      );
    }
    return program;
  }

  async #compile<T>({ graph, plan, ...options }: Source<T>): Promise<Program<T>> {
    return { session: await this.engine.compile(graph, options), plan };
  }

  /** Releases every session. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    const settled = await Promise.allSettled(this.#programs.values());
    this.#programs.clear();
    for (const each of settled) if (each.status === "fulfilled") await each.value.session.dispose();
  }
}

/** How many programs of one-off calls (`predict`, `computeHg` …) an engine keeps compiled, and of what it keeps the derivation. */
const SHARED_LIMIT = 32;

/** What one-off calls on an engine find there from earlier ones. */
interface Shared {
  readonly programs: Programs;
  readonly sources: Map<string, Source<unknown>>;
}

const shared = new WeakMap<Engine, Shared>();
/** Graphs as text: one that serves many batches is printed once. */
const printed = new WeakMap<Graph, string>();

function sharedOn(engine: Engine): Shared {
  const known = shared.get(engine) ?? { programs: new Programs(engine, SHARED_LIMIT), sources: new Map() };
  shared.set(engine, known);
  return known;
}

/**
 * The program for a graph on an engine, for calls that own no programs: equal graphs share one.
 * @param key tells apart plans that equal graphs may have.
 */
export function sharedProgram<T>(engine: Engine, source: Source<T>, key = ""): Promise<Program<T>> {
  const text = key + textOf(source.graph);
  return sharedOn(engine).programs.get(
    () => text,
    () => source,
  );
}

/**
 * What is derived from a traced graph, for calls that trace anew each time: equal graphs share one.
 * @param asked tells apart all else that `derive` depends on.
 */
export function sharedSource<T>(engine: Engine, traced: Graph, asked: string, derive: () => Source<T>): Source<T> {
  const { sources } = sharedOn(engine);
  const text = asked + textOf(traced);
  const source = (sources.get(text) as Source<T> | undefined) ?? derive();
  sources.delete(text);
  sources.set(text, source);
  const [oldest] = sources.keys();
  if (sources.size > SHARED_LIMIT) sources.delete(oldest!);
  return source;
}

function textOf(graph: Graph): string {
  const text = printed.get(graph) ?? printGraph(graph);
  printed.set(graph, text);
  return text;
}
