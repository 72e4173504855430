import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { losses, type NDArray, Optimizer } from "../src/index.ts";
import { encodeSafetensors } from "../src/interop/index.ts";
import { OrtNodeEngine } from "../src/node.ts";
import { runPython } from "./processes.ts";
import { makeSubject } from "./subject.ts";
import { updaters } from "./work.ts";

/** Relative differences of the losses and of the parameters' moves. */
interface Difference {
  readonly loss: number;
  readonly parameters: number;
}

const STEPS = 3;
/** Learning rates with which steps are compared. */
const LRS = { plain: 0.1, momentum: 0.1, adam: 1e-3 } as const;
/** What float32 explains. Adam divides a gradient by its own size, and so magnifies the rounding of small ones. */
const TOLERANCES = { plain: 1e-4, momentum: 1e-4, adam: 1e-3 } as const;

/** The version of PyTorch. @throws where Python or PyTorch is missing */
export async function pytorchVersion(python: string): Promise<string> {
  return (await runPython<{ version: string }>(python, { task: "version" })).version;
}

/**
 * Takes some steps with each updater here and in PyTorch, from the same parameters on the same batch.
 * @returns a line for each updater. @throws where they differ
 */
export async function compareWithPytorch(python: string): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), "grnewt-bench-"));
  try {
    const lines: string[] = [];
    for (const method of ["plain", "momentum", "adam"] as const)
      lines.push(await compareMethod(python, method, join(folder, `${method}.safetensors`)));
    return lines;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function compareMethod(python: string, method: keyof typeof LRS, file: string): Promise<string> {
  const lr = LRS[method];
  await writeFile(file, encodeSafetensors(await ownSteps(method, lr)));
  const { loss, parameters } = await runPython<Difference>(python, { task: "compare", file, method, lr });
  const line = `${method}: losses differ by ${loss.toExponential(0)}, moves by ${parameters.toExponential(0)}`;
  if (loss > TOLERANCES.plain || parameters > TOLERANCES[method])
    throw new Error(`steps here and in PyTorch differ: ${line}`);
  return line;
}

/** The batch, the parameters before and after some steps, and the losses. */
async function ownSteps(method: keyof typeof LRS, lr: number): Promise<Record<string, NDArray>> {
  const engine = new OrtNodeEngine({ threads: 1 });
  const { model, batch } = makeSubject("shallow", 100);
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
