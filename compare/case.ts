/** One run in a process of its own: gets the command line as a message, answers with the outcome and ends. */
import { openSession, type Session } from "../src/cli/session.ts";
import { trainRequest } from "../src/cli/train-options.ts";
import { evaluate } from "../src/index.ts";
import { NonFiniteError } from "../src/util/errors.ts";
import type { Batches } from "../src/util/ndarray.ts";
import { type TimedStep, timesOf } from "./clock.ts";
import type { Outcome, Point } from "./runs.ts";

/** Evaluations in an epoch. */
const LOOKS = 4;

process.once("disconnect", () => process.exit(1));
process.once("message", (message) => {
  const { args } = message as { args: readonly string[] };
  outcomeOf(args).then(
    (outcome) => process.send!(outcome, () => process.disconnect()),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});

async function outcomeOf(args: readonly string[]): Promise<Outcome> {
  const begun = performance.now();
  const request = trainRequest(args);
  if (request.kind !== "new") throw new Error(`${args.join(" ")} begins no run`);
  const session = await openSession(request.settings, request.given);
  try {
    const { looks, steps, diverged } = await train(session);
    const { until, compilation } = timesOf(steps);
    const points = looks.map(({ step, ...look }) => ({ ...look, seconds: step === 0 ? 0 : until[step - 1]! }));
    return { points, compilation, wall: secondsSince(begun), ...(diverged !== undefined && { diverged }) };
  } finally {
    await session.dispose();
  }
}

interface Course {
  readonly looks: (Omit<Point, "seconds"> & { readonly step: number })[];
  readonly steps: TimedStep[];
  diverged?: string;
}

/** Trains and looks at the model, before the first step and then some times in each epoch. */
async function train(session: Session): Promise<Course> {
  const { trainLoader, optimizer, epochs } = session.options;
  const course: Course = { looks: [], steps: [] };
  const every = Math.max(1, Math.round(trainLoader.length / LOOKS));
  const look = async (step: number): Promise<void> => {
    course.looks.push({ step, epoch: step / trainLoader.length, ...(await measured(session)) });
  };
  try {
    await look(0);
    for (let epoch = 0; epoch < epochs; epoch++)
      for await (const batch of trainLoader) {
        const begun = performance.now();
        const { update } = await optimizer.step(batch);
        course.steps.push({ seconds: secondsSince(begun), summary: update !== undefined });
        const inEpoch = course.steps.length - epoch * trainLoader.length;
        if (inEpoch === trainLoader.length || inEpoch % every === 0) await look(course.steps.length);
      }
  } catch (error) {
    if (!(error instanceof NonFiniteError)) throw error;
    course.diverged = `step ${course.steps.length}: ${error.message}`;
  }
  return course;
}

async function measured({ options }: Session): Promise<Omit<Point, "seconds" | "epoch">> {
  const { model, loss, engine, evaluations, optimizer } = options;
  const on = (batches: Batches) => evaluate(model, loss, batches, { mode: "eval", engine: engine! });
  const looks = async () => [await on(evaluations!.train!), await on(evaluations!.test!)] as const;
  const [train, test] = await (optimizer.withEvaluationWeights?.(looks) ?? looks());
  return { trainLoss: train.loss, testLoss: test.loss, testAccuracy: test.accuracy! };
}

function secondsSince(begun: number): number {
  return (performance.now() - begun) / 1000;
}
