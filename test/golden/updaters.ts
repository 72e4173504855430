import { type Direction, type Engine, type NDArray, nn, Optimizer } from "../../src/index.ts";
import { type GoldenEngine, onEveryEngine } from "./engines.ts";
import type { Item } from "./json.ts";
import type { Report } from "./report.ts";
import { readUpdater } from "./updater-options.ts";

/** Checks the directions that updaters propose for given gradients, the parameters being held where they are. */
export async function checkUpdaters(file: Item, report: Report): Promise<void> {
  const params = arraysOf(file, file.get("params"));
  const grads = file.get("grads").list();
  const gradients = grads.map((item) => arraysOf(file, item));
  await onEveryEngine(async (engine, golden) => {
    for (const [i, run] of file.get("runs").list().entries()) {
      const name = run.get("updater").text();
      const found = await directionsOf(run, params, gradients, engine);
      compareRun(`run ${i} (${name})`, run, found, golden, report);
    }
  });
}

/** Arrays by a name for each place, from flat lists and the file's shapes. */
function arraysOf(file: Item, lists: Item): Record<string, NDArray<Float64Array>> {
  const shapes = file.get("shapes").list();
  return Object.fromEntries(
    lists.list().map((data, i) => [
      nameOf(i),
      {
        shape: (shapes[i] ?? lists.fail("has no shape")).numbers(),
        data: Float64Array.from(data.numbers()),
      },
    ]),
  );
}

function nameOf(place: number): string {
  return `p${place}`;
}

/**
 * The directions of a run, read off the parameters after a step of rate 1 from the same place. The reference multiplies
 * them by its updater's own `lr`.
 */
async function directionsOf(
  run: Item,
  params: Record<string, NDArray<Float64Array>>,
  gradients: readonly Direction[],
  engine: Engine,
): Promise<Direction[]> {
  const model = nn.fromFunction(params, (p) => p[nameOf(0)]!.sum());
  const updater = readUpdater(run.get("updater").text(), run.get("args"));
  const lr = run.get("args").find("lr")?.number() ?? 1;
  const optimizer = await Optimizer.create(model, (output) => output, { updater, lr: 1, engine });
  const directions: Direction[] = [];
  for (const gradient of gradients) {
    model.loadStateDict(params);
    await optimizer.step({ gradient });
    const moved = await model.stateDict();
    directions.push(
      Object.fromEntries(
        Object.entries(params).map(([name, { shape, data }]) => [
          name,
          { shape, data: data.map((value, i) => lr * (value - moved[name]!.data[i]!)) },
        ]),
      ),
    );
  }
  await optimizer.dispose();
  return directions;
}

function compareRun(
  what: string,
  run: Item,
  found: readonly Direction[],
  { label, bound }: GoldenEngine,
  report: Report,
): void {
  const expected = run.get("directions").list();
  report.require(expected.length === found.length, `${label}: ${what}: ${expected.length} directions`);
  for (const [step, arrays] of expected.entries())
    for (const [place, array] of arrays.list().entries())
      report.compare(
        label,
        `${what} step ${step} ${nameOf(place)}`,
        found[step]?.[nameOf(place)]?.data ?? [],
        array.numbers(),
        { bound },
      );
}
