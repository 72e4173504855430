/** One measurement in a process of its own: gets a request as a message, answers with the measurement and ends. */
import type { Engine } from "../src/engine/index.ts";
import { OrtNodeEngine } from "../src/node.ts";
import { productFlops } from "../src/ops/index.ts";
import { makeEpoch } from "./epoch.ts";
import { measure } from "./measure.ts";
import { PacedEngine } from "./paced.ts";
import { Product } from "./product.ts";
import type { Measurement, Request } from "./request.ts";
import { forwardSource, makeSubject, type Subject } from "./subject.ts";
import { makeTask, type Task } from "./work.ts";

process.once("message", (request) => {
  answer(request as Request).then(
    (measurement) => process.send!(measurement, () => process.disconnect()),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});

/** The warm-up shows the memory; the later runs are timed. What takes minutes has none, and shows both in one run. */
async function answer(request: Request): Promise<Measurement> {
  const residentBefore = process.memoryUsage().rss;
  const { threads, lowMemory = false } = request;
  const own = new OrtNodeEngine({ threads, lowMemory });
  const product = await Product.create(own);
  // Looks between the parts of a short run would cost it its caches.
  const long = request.work === "summary" && request.repeats === 1;
  const paced = long ? new PacedEngine(own, product) : undefined;
  const engine = paced ?? own;
  const subject = makeSubject(request.model, request.batch);
  const { run, ...facts } = await prepared(request, subject, engine);
  const peak = (): number => process.resourceUsage().maxRSS * 1024;
  const warm = peak();
  const measured = await measure(run, product, request, paced);
  const residentPeak = request.warmUp > 0 ? warm : peak();
  await engine.dispose();
  return { blocks: measured, residentBefore, residentPeak, ...facts };
}

/** What to run, warmed up, and what is known about it. */
async function prepared(request: Request, subject: Subject, engine: Engine): Promise<Prepared> {
  if (request.work === "epoch") return { run: await makeEpoch(request, subject.model, engine) };
  const { run, graphs, part } = await makeTask(request, subject, engine);
  for (let i = 0; i < request.warmUp; i++) await run();
  return {
    run,
    flops: graphs.reduce((sum, graph) => sum + productFlops(graph, request.batch), 0),
    forwardFlops: productFlops(forwardSource(subject).graph, request.batch),
    ...(part === undefined ? {} : { part }),
  };
}

type Prepared = Pick<Task, "run"> & Pick<Measurement, "flops" | "forwardFlops" | "part">;
