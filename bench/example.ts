import { writeFile } from "node:fs/promises";
import type { Engine } from "../src/engine/index.ts";
import { computeHg, losses, type NDArray, Optimizer } from "../src/index.ts";
import { encodeSafetensors } from "../src/interop/index.ts";
import { OrtNodeEngine } from "../src/node.ts";
import type { Example } from "./request.ts";
import { makeSubject, noiseDirection, type Subject } from "./subject.ts";
import { stepUpdater } from "./work.ts";

/** The steps that an example takes. */
export const STEPS = 3;

type Tensors = Record<string, NDArray>;

/**
 * Writes what a step or a summary is given, `p:` before the names of parameters and buffers, `u:` before those of the
 * direction, x and y, and in the notes the groups in their order; and what it finds: losses and where `p:` ended, or g, H
 * and order3.
 */
export async function makeExample(example: Example): Promise<true> {
  const engine = new OrtNodeEngine({ threads: example.threads });
  const subject = makeSubject(example.model, example.batch);
  const { batch, groups } = subject;
  const direction = example.work === "summary" ? noiseDirection(subject) : {};
  const given: Tensors = { ...named("p:", await subject.model.stateDict()), ...named("u:", direction), ...batch };
  const names = JSON.stringify(groups.flatMap(({ members }) => members));
  await writeFile(example.given, encodeSafetensors(given, { groups: names }));
  const found = example.work === "step" ? steps(example, subject, engine) : summary(subject, engine);
  await writeFile(example.found, encodeSafetensors(await found));
  await engine.dispose();
  return true;
}

async function steps({ method, lr }: Example, { model, batch }: Subject, engine: Engine): Promise<Tensors> {
  const optimizer = await Optimizer.create(model, losses.nll, { updater: stepUpdater(method), lr, engine });
  const found = new Float32Array(STEPS);
  for (let i = 0; i < STEPS; i++) found[i] = (await optimizer.step(batch)).loss;
  return { ...named("p:", await model.stateDict()), losses: { shape: [STEPS], data: found } };
}

async function summary(subject: Subject, engine: Engine): Promise<Tensors> {
  const { model, batch } = subject;
  const { g, H, order3 } = await computeHg(model, losses.nll, batch, { engine, direction: noiseDirection(subject) });
  const shape = [g.length];
  return { g: { shape, data: g }, H: { shape: [...shape, ...shape], data: H }, order3: { shape, data: order3 } };
}

function named(prefix: string, tensors: Readonly<Tensors>): Tensors {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [prefix + name, tensor]));
}
