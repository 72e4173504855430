import { expect, test } from "vitest";
import { wave } from "../../test/support/arrays.ts";
import { inTurn, ReferenceEngine, variableTensors } from "../engine/index.ts";
import { Lambda, Linear, losses, type Module, objective, type Parameter, Sequential } from "../nn/index.ts";
import { Random } from "../util/random.ts";
import { nameGroups, type Partition } from "./groups.ts";
import { canonical } from "./partition.ts";
import { compileRest, directionInput, runSummary, summarySource } from "./summary.ts";

const engine = new ReferenceEngine();

/** A model that couples the samples of a batch. */
const model = new Sequential(
  new Linear(3, 4),
  new Lambda((x) => x.sub(x.mean([0], true)).tanh()),
  new Linear(4, 3),
  new Lambda((x) => x.div(x.square().mean([0], true).add(1)).tanh()),
  new Linear(3, 2),
);
const batch = { x: wave(5, 3), y: wave(5, 2) };

async function summaryWithin(limit: number, cut: (model: Module) => Partition, order3 = true) {
  const target = objective(model, losses.mse);
  const groups = nameGroups(cut(model), target.variables);
  const source = summarySource(target, groups, batch, { limit, order3 });
  const program = { session: await engine.compile(source.graph), plan: source.plan };
  const besides = await compileRest(source.plan, async (_, { graph, plan }) => ({
    session: await engine.compile(graph),
    plan,
  }));
  const tensors = { ...(await variableTensors(engine, target.variables)) };
  for (const [name, { shape }] of target.variables) tensors[directionInput(name)] = await engine.upload(wave(...shape));
  const inputs = { engine, program, ...besides, tensors, batch, parts: [5], random: new Random(0) };
  const summary = await inTurn(engine, () => runSummary(inputs, groups));
  return { summary, passes: 1 + besides.rest.length };
}

/** The first weight in columns, one of them with the first bias, and the rest one by one. */
function columns(of: Module): Partition {
  const [weight, bias, ...rest] = of.parameters() as [Parameter, Parameter, ...Parameter[]];
  const part = (entries: number[]) => ({ variable: weight.variable, entries });
  const others = rest.map((parameter) => ({ params: [parameter] }));
  return [{ params: [part([0, 3, 6, 9])] }, { params: [bias, part([1, 2, 4, 5, 7, 8, 10, 11])] }, ...others];
}

test.each([
  ["", canonical],
  [", parts of parameters among them", columns],
])("a summary in passes is that in one, however finely the groups are cut%s", async (_, cut) => {
  const whole = await summaryWithin(Number.POSITIVE_INFINITY, cut);
  expect(whole.passes).toBe(1);
  const counts = new Set<number>();
  for (const limit of [400, 300, 200, 150, 1]) {
    const { summary, passes } = await summaryWithin(limit, cut);
    counts.add(passes);
    expect(summary.loss).toBe(whole.summary.loss);
    expect(summary.noEffect).toEqual(whole.summary.noEffect);
    for (const part of ["g", "H", "order3"] as const)
      for (const [i, value] of whole.summary[part].entries()) expect(summary[part][i]).toBeCloseTo(value, 12);
  }
  expect(Math.max(...counts)).toBeGreaterThan(10);
  expect(counts.size).toBeGreaterThan(2);
});

test("without third derivatives the rest is the same, in fewer passes and operations", async () => {
  const target = objective(model, losses.mse);
  const groups = nameGroups(canonical(model), target.variables);
  const operations = (order3: boolean) => summarySource(target, groups, batch, { order3 }).graph.nodes.length;
  expect(operations(false)).toBeLessThan(operations(true));
  for (const limit of [Number.POSITIVE_INFINITY, 150]) {
    const [whole, cheap] = [await summaryWithin(limit, canonical), await summaryWithin(limit, canonical, false)];
    if (whole.passes > 1) expect(cheap.passes).toBeLessThan(whole.passes);
    expect(cheap.summary).toEqual({ ...whole.summary, order3: new Float64Array(groups.length) });
  }
});
