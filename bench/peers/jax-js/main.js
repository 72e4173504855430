/**
 * Measures jax-js in WebAssembly: a step or a summary, the same as ours, from the same file. Takes a PeerRequest of request.ts
 * as its argument and prints a Measurement; the results go to the file named by `found`.
 */
import "./workers.js";
import { readFile, writeFile } from "node:fs/promises";
import { blockUntilReady, defaultDevice, grad, init, jit, jvp, numpy as np, valueAndGrad } from "@jax-js/jax";
import { decodeSafetensors, encodeSafetensors } from "../../../src/interop/index.ts";
import { mean, timed } from "../../measure.ts";
import { peakBytes } from "../../memory.ts";
import { lossOf } from "./models.js";

const STEPS = 3;
/** So small that no run ends elsewhere than it began. */
const LR = 1e-6;

/** Parameters and moments after one step of an updater, of which `scalars` are [lr, decay, gain] or [lr, two corrections]. */
const UPDATES = {
  plain: (p, g, moments, [lr]) => ({ p: p.sub(g.mul(lr)), moments }),
  momentum: (p, g, [v], [lr, decay, gain]) => {
    const next = v.mul(decay).add(g.mul(gain));
    return { p: p.sub(next.ref.mul(lr)), moments: [next] };
  },
  adam: (p, g, [m, v], [lr, first, second]) => {
    const mean = m.mul(0.9).add(g.ref.mul(0.1));
    const square = v.mul(0.999).add(np.square(g).mul(0.001));
    const slope = np.sqrt(square.ref.mul(second)).add(1e-8);
    return { p: p.sub(mean.ref.mul(first).mul(lr).div(slope)), moments: [mean, square] };
  },
};

/** The scalars of the step with this number, from 1. */
const SCALARS = {
  plain: (lr) => [lr, 0, 0],
  momentum: (lr, t) => (t === 1 ? [lr, 0, 1] : [lr, 0.9, 0.1]),
  adam: (lr, t) => [lr, 1 / (1 - 0.9 ** t), 1 / (1 - 0.999 ** t)],
};

const MOMENTS = { plain: 0, momentum: 1, adam: 2 };

/** A training step, and what some of them find. */
function makeStep({ model, method, lr }, given) {
  const loss = lossOf(model);
  const names = given.groups;
  const x = array(given.tensors.x);
  const y = labels(given.tensors.y);
  let state = Object.fromEntries(
    names.map((name) => {
      const p = array(given.tensors[`p:${name}`]);
      return [name, { p, moments: Array.from({ length: MOMENTS[method] }, () => np.zeros(p.shape)) }];
    }),
  );
  let rate = lr;
  let t = 0;

  const compiled = jit((state, x, y, scalars) => {
    const parameters = Object.fromEntries(names.map((name) => [name, state[name].p.ref]));
    const [value, slopes] = valueAndGrad((p) => loss(p, x.ref, y.ref))(parameters);
    const parts = () => [0, 1, 2].map((i) => scalars.ref.slice(i));
    const next = names.map((name) => [
      name,
      UPDATES[method](state[name].p, slopes[name], state[name].moments, parts()),
    ]);
    return [value, Object.fromEntries(next)];
  });

  async function run() {
    const [value, next] = compiled(state, x.ref, y.ref, np.array(SCALARS[method](rate, ++t)));
    state = next;
    await blockUntilReady(next);
    return value.jsAsync();
  }

  async function find() {
    const losses = [];
    for (let i = 0; i < STEPS; i++) losses.push(await run());
    rate = LR;
    const found = { losses: { shape: [STEPS], data: Float32Array.from(losses) } };
    for (const name of names) found[`p:${name}`] = { shape: state[name].p.shape, data: await state[name].p.ref.data() };
    return found;
  }
  return { run, find };
}

/**
 * A summary, group by group: of all groups at once, by vmap, jax-js has no products of matrices any more, and needs hours and
 * gigabytes. Each row of H, its upper half, is the jvp of the gradient; third derivatives are the jvp of the jvp of the jvp.
 */
function makeSummary({ model }, given) {
  const loss = lossOf(model);
  const names = given.groups;
  const collected = (prefix) =>
    Object.fromEntries(names.map((name) => [name, array(given.tensors[`${prefix}:${name}`])]));
  const [p, u] = [collected("p"), collected("u")];
  const x = array(given.tensors.x);
  const y = labels(given.tensors.y);
  const compiled = names.map((_, s) => jit(alongOne(loss, names, s)));

  async function run() {
    const size = names.length;
    const found = { g: new Float64Array(size), H: new Float64Array(size * size), order3: new Float64Array(size) };
    for (let s = 0; s < size; s++) {
      const [g, row, order3] = compiled[s](references(p), references(u), x.ref, y.ref);
      found.g[s] = await g.jsAsync();
      found.order3[s] = await order3.jsAsync();
      for (const [i, value] of (await row.data()).entries()) {
        const t = s + i;
        found.H[s * size + t] = value;
        found.H[t * size + s] = value;
      }
    }
    return {
      g: { shape: [size], data: found.g },
      H: { shape: [size, size], data: found.H },
      order3: { shape: [size], data: found.order3 },
    };
  }
  return { run, find: run };
}

/** ḡ_s, the row of H from s on, and the third derivative. */
function alongOne(loss, names, s) {
  const [own, ...later] = names.slice(s);
  const pick = (tensors, which) => Object.fromEntries(which.map((name) => [name, tensors[name].ref]));
  return (p, u, x, y) => {
    const value = (moved) => loss({ ...pick(p, names), ...moved }, x.ref, y.ref);
    const slopes = (entry) => grad(value)({ [own]: entry, ...pick(p, later) });
    const [g, h] = jvp(slopes, [p[own].ref], [u[own].ref]);
    const derivative = (order) =>
      order === 0
        ? (entry) => value({ [own]: entry })
        : (entry) => jvp(derivative(order - 1), [entry], [u[own].ref])[1];
    const row = [own, ...later].map((name) => dot(h[name], u[name].ref));
    return [dot(g[own], u[own].ref), np.stack(row), derivative(3)(p[own].ref)];
  };
}

function dot(a, b) {
  return a.mul(b).sum();
}

function references(tensors) {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensor.ref]));
}

function array({ shape, data }) {
  return np.array(data).reshape([...shape]);
}

function labels({ data }) {
  return np.array(Int32Array.from(data), { dtype: np.int32 });
}

/** The mean time of some products of two matrices of 1024², the first one not counted. */
async function look() {
  const matrix = () => np.array(Float32Array.from({ length: 1024 ** 2 }, Math.random)).reshape([1024, 1024]);
  const [a, b] = [matrix(), matrix()];
  const times = await timed(async () => {
    const c = np.matmul(a.ref, b.ref);
    await c.blockUntilReady();
    c.dispose();
  }, 4);
  a.dispose();
  b.dispose();
  return mean(times.slice(1));
}

async function measure(request) {
  await init("wasm");
  defaultDevice("wasm");
  const residentBefore = process.memoryUsage().rss;
  const { run, find } = { step: makeStep, summary: makeSummary }[request.work](request, await read(request.given));
  await writeFile(request.found, encodeSafetensors(await find()));
  await timed(run, request.warmUp - 1);
  const residentPeak = peakBytes();
  const blocks = [];
  for (let i = 0; i < request.blocks; i++) {
    const looked = await look();
    const times = await timed(run, request.repeats);
    blocks.push({ times, product: [looked, await look()] });
  }
  return { blocks, residentBefore, residentPeak };
}

/** What is given: tensors, and the groups of the notes. */
async function read(path) {
  const { tensors, metadata } = decodeSafetensors(await readFile(path));
  return { tensors, groups: JSON.parse(metadata.groups) };
}

try {
  console.log(JSON.stringify(await measure(JSON.parse(process.argv[2]))));
  // Its workers would wait for more.
  process.exit();
} catch (error) {
  if (!/memory/i.test(error.message)) throw error;
  console.error(`out of memory: ${error.message}`);
  process.exit(1);
}
