import type { Engine } from "../src/engine/index.ts";
import { losses, type Module, NewtonSummary, Optimizer, type TrainingOptimizer } from "../src/index.ts";
import { mnist } from "../src/node.ts";
import type { Effort, Setting } from "./request.ts";
import { makeSubject } from "./subject.ts";
import { updaters } from "./work.ts";

const SUMMARY_BATCH = 1000;

/** Prepares an epoch of training on MNIST, as `npm start` trains, without evaluation; the first steps are taken ahead. */
export async function makeEpoch(request: Setting & Effort, engine: Engine): Promise<() => Promise<void>> {
  const { train } = await mnist();
  const { model } = makeSubject(request.model, request.batch);
  const optimizer = await makeOptimizer(request, model, engine, () =>
    train.loader({ batchSize: SUMMARY_BATCH, shuffle: true, seed: 1 }),
  );
  const loader = train.loader({ batchSize: request.batch, shuffle: true, seed: 0 });
  for (let i = 0; i < request.warmUp; i++) await optimizer.step(await loader.draw());
  return async () => {
    for await (const batch of loader) await optimizer.step(batch);
  };
}

type HgLoader = NonNullable<NonNullable<Parameters<typeof NewtonSummary.create>[2]>["hgLoader"]>;

function makeOptimizer(
  { method }: Setting,
  model: Module,
  engine: Engine,
  hgLoader: () => HgLoader,
): Promise<TrainingOptimizer> {
  if (method === "adam") return Optimizer.create(model, losses.nll, { updater: updaters.adam(), lr: 1e-3, engine });
  return NewtonSummary.create(model, losses.nll, {
    engine,
    hgLoader: hgLoader(),
    updater: updaters.momentum(),
    damping: 0.3,
    periodHg: 10,
    momLrs: 0.5,
    removeNegative: true,
    nesterov: { dampingInt: 1 },
  });
}
