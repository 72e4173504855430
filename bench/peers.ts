import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { losses, type NDArray, Optimizer } from "../src/index.ts";
import { encodeSafetensors } from "../src/interop/index.ts";
import { OrtNodeEngine } from "../src/node.ts";
import { runPython } from "./processes.ts";
import { makeSubject } from "./subject.ts";
import type { PeerStep } from "./suites.ts";
import { updaters } from "./work.ts";

/** Relative differences of the losses, and of the moves of parameters and buffers, the largest of them. */
interface Difference {
  readonly loss: number;
  readonly moves: number;
}

const STEPS = 3;
const SAMPLES = 16;
/** What float32 explains in a loss. */
const LOSS_TOLERANCE = 1e-4;

/** The version of PyTorch. @throws where Python or PyTorch is missing */
export async function pytorchVersion(python: string): Promise<string> {
  return (await runPython<{ version: string }>(python, { task: "version" })).version;
}

/**
 * Takes some steps of each kind here and in PyTorch, from the same parameters on the same batch.
 * @returns a line for each kind. @throws where they differ
 */
export async function compareWithPytorch(python: string, kinds: readonly PeerStep[]): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), "grnewt-bench-"));
  try {
    const lines: string[] = [];
    for (const kind of kinds) lines.push(await compareStep(python, kind, join(folder, "steps.safetensors")));
    return lines;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function compareStep(python: string, step: PeerStep, file: string): Promise<string> {
  const { model, method, lr, tolerance } = step;
  await writeFile(file, encodeSafetensors(await ownSteps(step)));
  const { loss, moves } = await runPython<Difference>(python, { task: "compare", file, model, method, lr });
  const line = `${model} ${method}: losses differ by ${loss.toExponential(0)}, moves by ${moves.toExponential(0)}`;
  if (!(loss <= LOSS_TOLERANCE && moves <= tolerance)) throw new Error(`steps here and in PyTorch differ: ${line}`);
  return line;
}

/** The batch, parameters and buffers before and after some steps, and the losses. */
async function ownSteps({ model: name, method, lr }: PeerStep): Promise<Record<string, NDArray>> {
  const engine = new OrtNodeEngine({ threads: 1 });
  const { model, batch } = makeSubject(name, SAMPLES);
  const start = await model.stateDict();
  const optimizer = await Optimizer.create(model, losses.nll, { updater: updaters[method](), lr, engine });
  const found = new Float32Array(STEPS);
  for (let i = 0; i < STEPS; i++) found[i] = (await optimizer.step(batch)).loss;
  const end = await model.stateDict();
  await engine.dispose();
  return {
    ...renamed("start", start),
    ...renamed("end", end),
    x: batch.x,
    y: batch.y,
    losses: { shape: [STEPS], data: found },
  };
}

function renamed(prefix: string, tensors: Readonly<Record<string, NDArray>>): Record<string, NDArray> {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`${prefix}:${name}`, tensor]));
}
