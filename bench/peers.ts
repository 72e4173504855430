import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeSafetensors } from "../src/interop/index.ts";
import { compareSteps, compareSummaries } from "./agreement.ts";
import { runCase, runProgram } from "./processes.ts";
import type { Difference, Effort, Example, Measurement, PeerRequest, Setting, Way } from "./request.ts";

/** Something that a peer does too. */
export interface PeerTask {
  readonly setting: Setting;
  readonly effort: Effort;
  /** Of steps: the rate at which some are compared, and what the moves may differ by. */
  readonly lr: number;
  readonly tolerance: number;
}

const JAX = fileURLToPath(new URL("peers/jax-js/", import.meta.url));
const PYTORCH = fileURLToPath(new URL("peers/pytorch/main.py", import.meta.url));
/** The share of the free memory that a peer may take: what takes more than there is would have the system end whatever it likes. */
const MEMORY = 0.9;

/** What the peers here are called with. */
export interface PeerFacts {
  /** By name. */
  readonly versions: Readonly<Record<string, string>>;
  /** Why some ways are not there. */
  readonly missing: ReadonlyMap<Way, string>;
}

/** Finds out which peers there are. */
export async function findPeers(python: string): Promise<PeerFacts> {
  const missing = new Map<Way, string>();
  const versions: Record<string, string> = {};
  const leaveOut = (ways: readonly Way[], why: string): void => {
    for (const way of ways) missing.set(way, why);
  };
  try {
    const { version, compiler } = await runProgram<PytorchFacts>(python, [PYTORCH], { work: "version" });
    versions.pytorch = version;
    if (compiler) versions["C++ compiler"] = compiler;
    else leaveOut(["compiled"], "torch.compile needs a C++ compiler, and there is none ($CXX, g++, clang++)");
  } catch (error) {
    const why = `${python} has no PyTorch: ${(error as Error).message}`;
    leaveOut(["eager", "compiled", "nested", "batched", "func"], why);
  }
  const manifest = join(JAX, "node_modules/@jax-js/jax/package.json");
  if (existsSync(manifest))
    versions["jax-js"] = (JSON.parse(await readFile(manifest, "utf8")) as { version: string }).version;
  else leaveOut(["jax-js"], "it is not installed: npm ci --prefix bench/peers/jax-js");
  return { versions, missing };
}

interface PytorchFacts {
  readonly version: string;
  readonly compiler: string | null;
}

/** Measures peers: each computes what we do from the same file, and its results are compared before its times count. */
export class Peers {
  readonly #python: string;
  readonly #caseFile: string;
  readonly #patience: number;
  readonly #folder: string;
  readonly #examples = new Map<string, Promise<Example>>();

  private constructor(python: string, caseFile: string, patience: number, folder: string) {
    this.#python = python;
    this.#caseFile = caseFile;
    this.#patience = patience;
    this.#folder = folder;
  }

  /**
   * @param caseFile what `buildCase` made
   * @param patience minutes for one measurement
   */
  static async create(python: string, caseFile: string, patience: number): Promise<Peers> {
    return new Peers(python, caseFile, patience, await mkdtemp(join(tmpdir(), "grnewt-peers-")));
  }

  /** @throws where the peer fails, saying why */
  async measure(way: Way, task: PeerTask): Promise<Measurement> {
    const example = await this.#exampleOf(task);
    const found = join(this.#folder, "peer.safetensors");
    const request: PeerRequest = {
      ...example,
      ...task.effort,
      way,
      found,
      memory: Math.round(MEMORY * freemem()),
    };
    try {
      const measurement = await this.#run(request);
      return { ...measurement, differences: await differences(example, found, task.tolerance) };
    } finally {
      await rm(found, { force: true });
    }
  }

  async dispose(): Promise<void> {
    await rm(this.#folder, { recursive: true });
  }

  #run(request: PeerRequest): Promise<Measurement> {
    const jax = ["--import", import.meta.resolve("tsx"), join(JAX, "main.js")];
    if (request.way === "jax-js") return runProgram(process.execPath, jax, request, this.#patience);
    return runProgram(this.#python, [PYTORCH], request, this.#patience);
  }

  /** Made when it is first asked for; the same for all ways. */
  #exampleOf({ setting, lr }: PeerTask): Promise<Example> {
    const key = JSON.stringify(setting);
    const known = this.#examples.get(key);
    if (known) return known;
    const file = (what: string): string => join(this.#folder, `${this.#examples.size}.${what}.safetensors`);
    const example: Example = { ...setting, lr, given: file("given"), found: file("found") };
    const made = runCase<true>(this.#caseFile, example).then(() => example);
    this.#examples.set(key, made);
    return made;
  }
}

async function differences({ work, given, found }: Example, theirs: string, tolerance: number): Promise<Difference[]> {
  const read = async (file: string) => decodeSafetensors(await readFile(file)).tensors;
  if (work === "summary") return compareSummaries(await read(found), await read(theirs));
  return compareSteps(await read(given), await read(found), await read(theirs), tolerance);
}
