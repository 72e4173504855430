/** One measurement in a process of its own: gets a request as a message, answers and ends. */
import type { Engine } from "../src/engine/index.ts";
import { losses } from "../src/index.ts";
import { OrtNodeEngine, type Tuning, tune } from "../src/node.ts";
import { productFlops } from "../src/ops/index.ts";
import { makeEpoch } from "./epoch.ts";
import { makeExample } from "./example.ts";
import { measure } from "./measure.ts";
import { peakBytes } from "./memory.ts";
import { measureOperators } from "./operators.ts";
import { PacedEngine } from "./paced.ts";
import { Product } from "./product.ts";
import type { Example, Measurement, Request } from "./request.ts";
import { makeSolve } from "./solve.ts";
import { forwardSource, makeSubject } from "./subject.ts";
import { makeTask, type Task } from "./work.ts";

process.once("message", (request) => {
  answer(request as Request | Example).then(
    (found) => process.send!(found, () => process.disconnect()),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});

async function answer(request: Request | Example): Promise<Measurement | true> {
  if ("found" in request) return await makeExample(request);
  return request.work === "operators" ? await measureOperators(request) : await measured(request);
}

/** The warm-up shows the memory; the later runs are timed. What takes minutes has none, and shows both in one run. */
async function measured(request: Request): Promise<Measurement> {
  const residentBefore = process.memoryUsage().rss;
  const { threads } = request;
  const lowMemory = "lowMemory" in request && request.lowMemory;
  const own = new OrtNodeEngine({ threads, lowMemory, tuning: await tuningFor(request) });
  const product = await Product.create(own);
  // Looks between the parts of a short run would cost it its caches.
  const long = request.work === "summary" && request.repeats === 1;
  const paced = long ? new PacedEngine(own, product) : undefined;
  const { run, settle, ...facts } = await prepared(request, paced ?? own);
  const warm = peakBytes();
  const blocks = await measure(run, product, request, paced, settle);
  const residentPeak = request.warmUp > 0 ? warm : peakBytes();
  await own.dispose();
  return { blocks, residentBefore, residentPeak, ...facts };
}

async function tuningFor(request: Request): Promise<Tuning | undefined> {
  if (request.work === "solve" || !request.tuned) return undefined;
  const { work, threads } = request;
  const { model, batch } = makeSubject(request.model, request.batch);
  return await tune(model, losses.nll, batch, { threads, hgBatch: work === "summary" ? batch : null });
}

/** What to run, warmed up, and what is known about it. */
async function prepared(request: Request, engine: Engine): Promise<Prepared> {
  if (request.work === "epoch") return { run: await makeEpoch(request, engine) };
  if (request.work === "solve") return await warmed(request, { run: makeSolve(request) });
  const subject = makeSubject(request.model, request.batch);
  const { graphs, ...task } = await makeTask(request, subject, engine);
  return {
    ...(await warmed(request, task)),
    flops: graphs.reduce((sum, graph) => sum + productFlops(graph, request.batch), 0),
    forwardFlops: productFlops(forwardSource(subject).graph, request.batch),
  };
}

async function warmed<T extends Pick<Task, "run">>({ warmUp }: Request, task: T): Promise<T> {
  for (let i = 0; i < warmUp; i++) await task.run();
  return task;
}

type Prepared = Pick<Task, "run" | "settle"> & Pick<Measurement, "flops" | "forwardFlops" | "part">;
