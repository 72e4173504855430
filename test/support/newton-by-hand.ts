import type { Engine } from "../../src/engine/index.ts";
import { type Loss, type Module, partition } from "../../src/index.ts";
import { computeHg, valueAndGrad } from "../../src/summary/index.ts";
import type { Batch, FloatData, NDArray } from "../../src/util/ndarray.ts";

/** The options of the method, all given. */
export interface HandOptions {
  readonly damping: number;
  readonly periodHg: number;
  readonly momLrs: number;
  readonly movavg: number;
  readonly momOrder3: number;
  /** λ_int, or the ridge where there is no cubic regularisation. */
  readonly cubic: boolean;
  readonly strength: number;
  readonly diagonal: boolean;
  readonly removeNegative: boolean;
  readonly maintainTrueLrs: boolean;
  readonly normalizeDirs: boolean;
  readonly momentum: number;
  readonly dampening: number;
  readonly clip: number;
}

type Arrays = Record<string, NDArray<FloatData>>;
type Vector = readonly number[];

const mapArrays = (arrays: Arrays, f: (value: number, name: string, i: number) => number): Arrays =>
  Object.fromEntries(
    Object.entries(arrays).map(([name, { shape, data }]) => [
      name,
      { shape, data: Float64Array.from(data, (value, i) => f(value, name, i)) },
    ]),
  );

const mix = (old: Vector | undefined, value: Vector, keep: number): Vector =>
  old ? value.map((each, i) => keep * old[i]! + (1 - keep) * each) : value;

/** Trains a model (canonical partition, SGD) by the text of the method, on the host; the rates of each step. */
export async function trainByHand(
  engine: Engine,
  model: Module,
  loss: Loss,
  batches: readonly Batch[],
  summaries: readonly Batch[],
  options: HandOptions,
): Promise<number[][]> {
  const averages: { H?: Vector; g?: Vector; order3?: Vector; D?: Vector; rates?: Vector; buffer?: Arrays } = {};
  let norms: Vector = [];
  const history: number[][] = [];
  for (const [step, batch] of batches.entries()) {
    const { gradient } = await valueAndGrad(model, loss, batch, { engine });
    const u = momentum(averages, clipped(gradient, options.clip), options);
    if (step % options.periodHg === 0) {
      const size = Object.keys(u).length;
      norms = Object.values(u).map(({ data }) => (options.normalizeDirs ? Math.hypot(...data) : 1));
      const direction = mapArrays(u, (value, name) => value / norms[Object.keys(u).indexOf(name)]!);
      const hg = summaries[step / options.periodHg]!;
      const found = await computeHg(model, loss, hg, { engine, direction, partition: partition.canonical(model) });
      averages.H = mix(averages.H, [...found.H], options.movavg);
      averages.g = mix(averages.g, [...found.g], options.movavg);
      averages.order3 = mix(averages.order3, [...found.order3], options.movavg);
      averages.D = mix(
        averages.D,
        averages.order3.map((value) => Math.abs(value) ** (1 / 3)),
        options.momOrder3,
      );
      const H = averages.H.map((value, i) => (options.diagonal && i % (size + 1) !== 0 ? 0 : value));
      const raw = solve(H, averages.g, averages.D, options);
      const { removeNegative, maintainTrueLrs } = options;
      const first = removeNegative && !maintainTrueLrs ? raw.map((rate) => Math.max(rate, 0)) : raw;
      averages.rates = mix(averages.rates, first, options.momLrs);
    }
    const rates = averages.rates!.map(
      (rate, s) => (options.damping * (options.removeNegative ? Math.max(rate, 0) : rate)) / norms[s]!,
    );
    const names = Object.keys(u);
    const before = await model.stateDict();
    model.loadStateDict(mapArrays(before, (value, name, i) => value - rates[names.indexOf(name)]! * u[name]!.data[i]!));
    history.push(rates);
  }
  return history;
}

function clipped(gradient: Arrays, bound: number): Arrays {
  const norm = Math.hypot(...Object.values(gradient).flatMap(({ data }) => [...data]));
  return mapArrays(gradient, (value) => value * Math.min(1, bound / (norm + 1e-6)));
}

function momentum(state: { buffer?: Arrays }, gradient: Arrays, { momentum: keep, dampening }: HandOptions): Arrays {
  const { buffer } = state;
  state.buffer = buffer
    ? mapArrays(gradient, (value, name, i) => keep * buffer[name]!.data[i]! + (1 - dampening) * value)
    : gradient;
  return state.buffer;
}

function solve(H: Vector, g: Vector, D: Vector, { cubic, strength }: HandOptions): Vector {
  const size = g.length;
  if (!cubic)
    return eliminate(
      shifted(
        H,
        g.map(() => strength),
      ),
      g,
    );
  const at = (r: number): Vector | undefined => {
    const M = shifted(
      H,
      D.map((d) => (strength / 2) * r * d ** 2),
    );
    return isPositive(M, size) ? eliminate(M, g) : undefined;
  };
  const norm = (eta: Vector): number => Math.hypot(...eta.map((value, s) => value * D[s]!));
  let [low, high] = [0, 1e-6];
  const tooSmall = (r: number): boolean => {
    const eta = at(r);
    return !eta || norm(eta) > r;
  };
  while (tooSmall(high)) high *= 2;
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (tooSmall(middle)) low = middle;
    else high = middle;
  }
  return at(high)!;
}

function shifted(H: Vector, shift: Vector): Vector {
  return H.map((value, i) => (i % (shift.length + 1) === 0 ? value + shift[i / (shift.length + 1)]! : value));
}

/** Gauss with pivots. */
function eliminate(matrix: Vector, right: Vector): Vector {
  const n = right.length;
  const rows = right.map((value, i) => [...matrix.slice(i * n, (i + 1) * n), value]);
  for (let k = 0; k < n; k++) {
    const pivot = rows
      .slice(k)
      .reduce((best, row, i) => (Math.abs(row[k]!) > Math.abs(rows[best]![k]!) ? k + i : best), k);
    [rows[k], rows[pivot]] = [rows[pivot]!, rows[k]!];
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = rows[i]![k]! / rows[k]![k]!;
      rows[i] = rows[i]!.map((value, j) => value - factor * rows[k]![j]!);
    }
  }
  return rows.map((row, i) => row[n]! / row[i]!);
}

/** Whether all pivots of Gauss without exchanges are positive. */
function isPositive(matrix: Vector, n: number): boolean {
  const rows = Array.from({ length: n }, (_, i) => matrix.slice(i * n, (i + 1) * n));
  for (let k = 0; k < n; k++) {
    if (!(rows[k]![k]! > 0)) return false;
    for (let i = k + 1; i < n; i++) {
      const factor = rows[i]![k]! / rows[k]![k]!;
      rows[i] = rows[i]!.map((value, j) => value - factor * rows[k]![j]!);
    }
  }
  return true;
}
