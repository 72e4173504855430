/**
 * Whether memory is flat: `node --import tsx scripts/memory.ts [STEPS]` takes 100,000 steps of a small perceptron, with a
 * summary before every hundredth, after which another model is asked something and forgotten. Prints what the process
 * holds after every tenth, and fails where it holds more in the last three than in the three before.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { losses, models, NewtonSummary, toyRegression } from "../src/index.ts";
import { OrtNodeEngine } from "../src/node.ts";

/** From one summary to the next. */
const PERIOD = 100;
const LOOKS = 10;
/**
 * By how much what is flat may differ. V8 takes memory from the system by the megabyte and gives it back when it likes; its
 * heap also holds the code that it compiles as time goes by.
 */
const SLACK: Look = { resident: 8e6, heap: 0.5e6, sessions: 0, tensors: 0 };

const STEPS = Number(process.argv[2] ?? 100_000);
if (!(STEPS > 0 && STEPS % (LOOKS * PERIOD) === 0))
  throw new Error(`scripts/memory.ts: expected a multiple of ${LOOKS * PERIOD} steps, found ${process.argv[2]}`);

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const engine = new OrtNodeEngine();
const { train } = toyRegression({ noise: 0.3, seed: 1 });
const perceptron = (seed: number) =>
  models.perceptron({ layers: [10, 10, 1], activation: "tanh", classification: false, seed });

interface Look {
  readonly resident: number;
  readonly heap: number;
  readonly sessions: number;
  readonly tensors: number;
}

/** What the process holds, once garbage is gone. */
async function look(): Promise<Look> {
  collectGarbage();
  // Lets what was forgotten be freed.
  await new Promise((resolve) => setTimeout(resolve, 100));
  collectGarbage();
  const { rss, heapUsed } = process.memoryUsage();
  return { resident: rss, heap: heapUsed, sessions: engine.sessions.live, tensors: engine.tensors.live };
}

/** Takes all steps and looks after every tenth of them. */
async function looks(): Promise<Look[]> {
  const optimizer = await NewtonSummary.create(perceptron(1), losses.mse, {
    engine,
    hgLoader: train.loader({ batchSize: 100, shuffle: true, seed: 2 }),
    periodHg: PERIOD,
    // So small that the parameters hardly move: learning is not what is looked at.
    damping: 1e-3,
    momLrs: 0.5,
    removeNegative: true,
    nesterov: { dampingInt: 10 },
    log: () => {},
  });
  const loader = train.loader({ batchSize: 10, shuffle: true, seed: 3 });
  const found: Look[] = [];
  let step = 0;
  while (step < STEPS)
    for await (const batch of loader) {
      await optimizer.step(batch);
      step++;
      if (step % PERIOD === 0) await perceptron(step).predict(batch.x, { engine });
      if (step % (STEPS / LOOKS) === 0) found.push(shown(step, await look()));
      if (step === STEPS) break;
    }
  await optimizer.dispose();
  return found;
}

/** What grew, in words. */
function growth(found: readonly Look[]): string[] {
  const least = (what: keyof Look, from: number, to?: number): number =>
    Math.min(...found.slice(from, to).map((each) => each[what]));
  return (Object.keys(SLACK) as (keyof Look)[])
    .map((what) => ({ what, by: least(what, -3) - least(what, -6, -3) }))
    .filter(({ what, by }) => by > SLACK[what])
    .map(({ what, by }) => `${what} grew by ${by}`);
}

function shown(step: number, each: Look): Look {
  const { resident, heap, sessions, tensors } = each;
  console.log(row([step, step / PERIOD, (resident / 1e6).toFixed(1), (heap / 1e6).toFixed(2), sessions, tensors]));
  return each;
}

function row(cells: readonly (string | number)[]): string {
  return cells.map((cell) => String(cell).padStart(11)).join("  ");
}

console.log(row(["steps", "summaries", "resident MB", "heap MB", "sessions", "tensors"]));
const grown = growth(await looks());
console.log(grown.length === 0 ? "flat" : grown.join(", "));
process.exitCode = grown.length === 0 ? 0 : 1;
