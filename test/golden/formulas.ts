import { nn, Tensor } from "../../src/index.ts";
import { named, type Parameters } from "./chain.ts";
import { type Item, MissingFeature } from "./json.ts";

/** A model that is given by a formula instead of a chain of operations. */
export interface Formula {
  readonly forward: (parameters: Parameters, x?: Tensor) => Tensor;
  /** What the inputs are; real numbers if it is left out. */
  readonly input?: "labels";
}

/** Reads the arguments of a class from `model`. */
type FormulaReader = (model: Item) => Formula;

/** The classes of the golden files that have a `formula`. Each comment repeats it. */
const formulas: Readonly<Record<string, FormulaReader>> = {
  // out[b] = Σ_d x[b][d] coeffs.d ^ d
  Polynomial: (model) => {
    const degree = model.get("degree").number();
    return {
      forward: (p, x) => {
        const powers = range(degree + 1).map((d) => named(p, `coeffs.${d}`).pow(d).reshape(1));
        return x!.matmul(nn.cat(powers));
      },
    };
  },
  // Σ_i (xodd[i] − a)² + b (xodd[i]² − xeven[i])²
  Rosenbrock: (model) => ({ forward: (p) => valley(model, named(p, "xeven"), named(p, "xodd")) }),
  // the same of m_i = mod%03d with x_even = m_i[0], x_odd = m_i[1]
  RosenbrockT: (model) => ({
    forward: (p) =>
      total(pairs(model).map((m) => valley(model, named(p, m).slice(0, 0, 1), named(p, m).slice(0, 1, 2)))),
  }),
  // the same with every scalar its own parameter
  RosenbrockScalars: (model) => ({
    forward: (p) => total(pairs(model).map((m) => valley(model, named(p, `${m}_0`), named(p, `${m}_1`)))),
  }),
  // h = tanh(x Wᵀ + b); out = tanh(h Wᵀ + c) Vᵀ
  TiedWeights: () => ({
    forward: (p, x) => {
      const W = named(p, "W");
      const h = nn.linear(x!, W, named(p, "b")).tanh();
      return nn.linear(nn.linear(h, W, named(p, "c")).tanh(), named(p, "V"));
    },
  }),
  EmbeddingLM: (model) => {
    const [vocabulary, eps] = [model.get("vocabulary").number(), model.get("eps").number()];
    return { input: "labels", forward: (p, x) => languageModel(p, x!, vocabulary, eps) };
  },
  TransformerBlock: transformerBlock,
};

/** The formula of `model.class`. @throws MissingFeature for a class that is not known */
export function readFormula(model: Item): Formula {
  const name = model.get("class").text();
  if (!Object.hasOwn(formulas, name)) throw new MissingFeature(`model class ${name}`);
  return formulas[name]!(model);
}

function range(count: number): number[] {
  return [...Array(count).keys()];
}

function pairs(model: Item): string[] {
  return range(model.get("d").number()).map((i) => `mod${String(i).padStart(3, "0")}`);
}

function valley(model: Item, even: Tensor, odd: Tensor): Tensor {
  const [a, b] = [model.get("a").number(), model.get("b").number()];
  return odd.sub(a).square().add(odd.square().sub(even).square().mul(b)).sum();
}

function total(terms: readonly Tensor[]): Tensor {
  return terms.reduce((sum, term) => sum.add(term));
}

/** e = E[x]; h = e / √(mean e² + eps) · gain; z = h Wᵀ + b; s = z σ(z); out = log-softmax(s Eᵀ). */
function languageModel(p: Parameters, x: Tensor, vocabulary: number, eps: number): Tensor {
  const E = named(p, "E");
  const tokens = nn.constant({ shape: [vocabulary], data: Int32Array.from(range(vocabulary)) });
  const e = x.unsqueeze(2).eq(tokens).float().matmul(E);
  const h = e.div(e.square().mean([2], true).add(eps).sqrt()).mul(named(p, "gain"));
  const z = nn.linear(h, named(p, "W"), named(p, "b"));
  return nn.logSoftmax(nn.linear(z.mul(z.sigmoid()), E), 2);
}

/** Pre-norm attention and a gelu MLP, each added to its input; log-probabilities of the mean over time with `classes`. */
function transformerBlock(model: Item): Formula {
  const [width, heads] = [model.get("width").number(), model.get("heads").number()];
  const causal = model.get("causal").flag();
  const classes = model.find("classes") !== undefined;
  if (!("erf" in Tensor.prototype)) throw new MissingFeature("op erf (gelu)");
  const lin = (p: Parameters, x: Tensor, m: string): Tensor =>
    nn.linear(x, named(p, `${m}.weight`), named(p, `${m}.bias`));
  return {
    forward: (p, x) => {
      const a = layerNorm(p, x!, "ln1");
      const [q, k, v] = ["q", "k", "v"].map((m) => lin(p, a, m)) as [Tensor, Tensor, Tensor];
      const x1 = x!.add(lin(p, attention(q, k, v, { width: width / heads, heads, causal }), "o"));
      const out = x1.add(lin(p, gelu(lin(p, layerNorm(p, x1, "ln2"), "fc1")), "fc2"));
      return classes ? nn.logSoftmax(lin(p, out.mean([1]), "head"), 1) : out;
    },
  };
}

function layerNorm(p: Parameters, x: Tensor, m: string): Tensor {
  const centred = x.sub(x.mean([-1], true));
  const deviation = centred.square().mean([-1], true).add(1e-5).sqrt();
  return centred
    .div(deviation)
    .mul(named(p, `${m}.weight`))
    .add(named(p, `${m}.bias`));
}

/** Heads are contiguous slices; keys after the query are excluded where it is causal. */
function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { width, heads, causal }: { readonly width: number; readonly heads: number; readonly causal: boolean },
): Tensor {
  const time = q.shape[1] as number;
  const later = range(time * time).map((at) => (at % time > Math.floor(at / time) ? Number.NEGATIVE_INFINITY : 0));
  const mask = nn.constant({ shape: [time, time], data: Float64Array.from(later) });
  const outputs = range(heads).map((head) => {
    const [qh, kh, vh] = [q, k, v].map((all) => all.slice(2, head * width, (head + 1) * width));
    const scores = qh!.matmul(kh!.t()).div(Math.sqrt(width));
    return nn.softmax(causal ? scores.add(mask) : scores, 2).matmul(vh!);
  });
  return nn.cat(outputs, 2);
}

/** z/2 (1 + erf(z/√2)) */
function gelu(z: Tensor): Tensor {
  const { erf } = z as Tensor & { readonly erf: () => Tensor };
  return z.mul(0.5).mul(erf.call(z.mul(Math.SQRT1_2)).add(1));
}
