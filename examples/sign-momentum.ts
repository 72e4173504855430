/**
 * An updater of one's own: momentum of which only the signs count (Signum; Bernstein et al., 2018). Run it with
 * `node --import tsx examples/sign-momentum.ts`.
 */
import { evaluate, losses, models, Optimizer, toyRegression, type Updater } from "grnewt";

const signMomentum: Updater = {
  name: "SignMomentum",
  options: { momentum: 0.9 },
  stateNames: ["average"],
  update({ gradient, state }) {
    const average = state.average!.mul(0.9).add(gradient.mul(0.1));
    return { direction: average.sign(), state: { average } };
  },
};

const { train, test } = toyRegression({ seed: 1 });
const model = models.perceptron({ layers: [10, 20, 1], activation: "tanh", classification: false, seed: 1 });
const optimizer = await Optimizer.create(model, losses.mse, { updater: signMomentum, lr: 3e-3 });
const loader = train.loader({ batchSize: 100, shuffle: true, seed: 2 });
for (let epoch = 0; epoch < 5; epoch++) {
  for await (const batch of loader) await optimizer.step(batch);
  const { loss } = await evaluate(model, losses.mse, test.loader({ batchSize: 200 }));
  console.log(`epoch ${epoch}: test loss ${loss.toFixed(4)}`);
}
await optimizer.dispose();
