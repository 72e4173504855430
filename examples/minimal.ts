/**
 * The reference's minimal example: a small network, a loss of (x, target), and a learning rate for each parameter that
 * nobody chose. Run it with `node --import tsx examples/minimal.ts`.
 */
import {
  Dataset,
  losses,
  Module,
  NewtonSummary,
  nn,
  type Parameter,
  type Partition,
  partition,
  Random,
  type Tensor,
} from "grnewt";

class Model extends Module {
  readonly fc1 = new nn.Linear(10, 32);
  readonly fc2 = new nn.Linear(32, 1);

  forward(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(x).tanh());
  }
}

/** Points and the values of a smooth function at them. */
function toyData(samples: number, seed: number): Dataset {
  const random = new Random(seed);
  const x = Array.from({ length: samples }, () => Array.from({ length: 10 }, () => random.normal()));
  return Dataset.fromArrays(
    x,
    x.map((row) => [Math.sin(row[0]! + row[1]!) + 0.1 * row[2]!]),
  );
}

const data = toyData(2000, 1);

/** Trains a new model, with parameters grouped as `groupsOf` says. */
async function run(title: string, groupsOf: (model: Model) => Partition<Parameter>): Promise<void> {
  nn.manualSeed(1);
  const model = new Model();
  const fullLoss = (x: Tensor, target: Tensor): Tensor => losses.mse(model.forward(x), target);
  const optimizer = await NewtonSummary.create(groupsOf(model), fullLoss, {
    hgLoader: data.loader({ batchSize: 500, shuffle: true, seed: 2 }),
    damping: 0.1,
    periodHg: 10,
    momLrs: 0.5,
    removeNegative: true,
    momentum: 0.9,
    momentumDamp: 0.9,
    nesterov: { use: true, dampingInt: 10 },
  });
  console.log(title);
  const loader = data.loader({ batchSize: 100, shuffle: true, seed: 3 });
  for (let epoch = 0; epoch < 10; epoch++) {
    let total = 0;
    for await (const { loss } of optimizer.steps(loader)) total += loss;
    const rates = [...optimizer.learningRates].map((rate) => rate.toPrecision(3)).join(", ");
    console.log(`  epoch ${epoch}: loss ${(total / loader.length).toFixed(4)}, learning rates: ${rates}`);
  }
  await optimizer.dispose();
}

await run("one group for each tensor", partition.canonical);
await run("groups by hand", (model) => [
  { name: "weights", params: [model.fc1.weight, model.fc2.weight] },
  { name: "biases", params: model.parameters().filter(({ shape }) => shape.length === 1) },
]);
