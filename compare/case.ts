/** One run, or the time of its steps, in a process of its own: gets a request as a message, answers and ends. */
import { openSession, type Session } from "../src/cli/session.ts";
import { trainRequest } from "../src/cli/train-options.ts";
import { evaluate } from "../src/index.ts";
import { NonFiniteError } from "../src/util/errors.ts";
import type { Batches } from "../src/util/ndarray.ts";
import { cyclesToTake, type Timing, timingOf } from "./clock.ts";
import type { Outcome, Point, Request } from "./runs.ts";

/** Evaluations in an epoch. */
const LOOKS = 4;

process.once("disconnect", () => process.exit(1));
process.once("message", (message) => {
  answer(message as Request).then(
    (outcome) => process.send!(outcome, () => process.disconnect()),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});

async function answer({ args, cycle }: Request): Promise<Outcome | Timing> {
  const begun = performance.now();
  const request = trainRequest(args);
  if (request.kind !== "new") throw new Error(`${args.join(" ")} begins no run`);
  const session = await openSession(request.settings, request.given);
  try {
    if (cycle !== undefined) return await time(session, cycle, request.settings["batch-size"]);
    return { ...(await train(session)), wall: secondsSince(begun) };
  } finally {
    await session.dispose();
  }
}

/** Trains and looks at the model, before the first step and then some times in each epoch. */
async function train(session: Session): Promise<Omit<Outcome, "wall">> {
  const { trainLoader, optimizer, epochs } = session.options;
  const points: Point[] = [];
  const every = Math.max(1, Math.round(trainLoader.length / LOOKS));
  let step = 0;
  const look = async (): Promise<void> => {
    points.push({ step, epoch: step / trainLoader.length, ...(await measured(session)) });
  };
  try {
    await look();
    for (let epoch = 0; epoch < epochs; epoch++)
      for await (const batch of trainLoader) {
        await optimizer.step(batch);
        step++;
        const inEpoch = step - epoch * trainLoader.length;
        if (inEpoch === trainLoader.length || inEpoch % every === 0) await look();
      }
    return { points };
  } catch (error) {
    if (!(error instanceof NonFiniteError)) throw error;
    return { points, diverged: `step ${step}: ${error.message}` };
  }
}

async function measured({ options }: Session): Promise<Omit<Point, "step" | "epoch">> {
  const { model, loss, engine, evaluations, optimizer } = options;
  const on = (batches: Batches) => evaluate(model, loss, batches, { mode: "eval", engine: engine! });
  const looks = async () => [await on(evaluations!.train!), await on(evaluations!.test!)] as const;
  const [train, test] = await (optimizer.withEvaluationWeights?.(looks) ?? looks());
  return { trainLoss: train.loss, testLoss: test.loss, testAccuracy: test.accuracy! };
}

/** Times the first steps of a run, with the drawing of their batches. */
async function time({ options }: Session, cycle: number, batchSize: number): Promise<Timing> {
  const { trainLoader, optimizer } = options;
  const seconds: number[] = [];
  const cycles = cyclesToTake(cycle, batchSize);
  while (seconds.length < cycles) {
    const begun = performance.now();
    for (let i = 0; i < cycle; i++) await optimizer.step(await trainLoader.draw());
    seconds.push(secondsSince(begun));
  }
  return timingOf(seconds, cycle);
}

function secondsSince(begun: number): number {
  return (performance.now() - begun) / 1000;
}
