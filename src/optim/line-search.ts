/** A function along a line, at one place. */
export interface LinePoint {
  /** How far along. */
  readonly t: number;
  readonly value: number;
  /** The derivative along the line. */
  readonly slope: number;
}

/** Where and how to search. */
export interface LineSearch<P extends LinePoint> {
  /** The function at a place; its value may be infinite there. */
  at(t: number): Promise<P>;
  /** The function at 0, where it goes down. */
  readonly start: P;
  /** The first place to try. */
  readonly first: number;
  /** The largest entry of the line's direction: a bracket counts as closed where it moves no entry by 1e-9. */
  readonly length: number;
  /** The most points to look at after the first. */
  readonly tries: number;
}

/** What a line search found: the point, and how many it looked at. */
export interface LineResult<P extends LinePoint> {
  readonly point: P;
  readonly evaluations: number;
}

/** The constants c₁ and c₂ of Wolfe's conditions. */
const [DECREASE, FLATNESS] = [1e-4, 0.9];
const CLOSED = 1e-9;

/**
 * A point at which the strong Wolfe conditions hold (Nocedal & Wright, Numerical Optimization, algorithms 3.5 and 3.6), with the
 * safeguards of `torch.optim.LBFGS`; where it takes too many tries, the lowest point of the last bracket.
 */
export async function strongWolfe<P extends LinePoint>(search: LineSearch<P>): Promise<LineResult<P>> {
  const { ends, spent } = await bracket(search);
  const [first, second] = ends;
  if (!second) return { point: first, evaluations: 1 + spent };
  return await zoom(search, first.value <= second.value ? [first, second] : [second, first], spent);
}

/** Whether the function went down too little. */
function tooHigh({ value, slope }: LinePoint, here: LinePoint): boolean {
  return here.value > value + DECREASE * here.t * slope;
}

function isFlat({ slope }: LinePoint, here: LinePoint): boolean {
  return Math.abs(here.slope) <= -FLATNESS * slope;
}

/** A point that will do, or two that have one between them. */
async function bracket<P extends LinePoint>(search: LineSearch<P>): Promise<{ ends: [P, P?]; spent: number }> {
  const { at, start, first, tries } = search;
  let [before, here] = [start, await at(first)];
  for (let spent = 0; spent < tries; spent++) {
    if (tooHigh(start, here) || (spent > 1 && here.value >= before.value)) return { ends: [before, here], spent };
    if (isFlat(start, here)) return { ends: [here], spent };
    if (here.slope >= 0) return { ends: [before, here], spent };
    const t = cubicMinimum(before, here, here.t + 0.01 * (here.t - before.t), here.t * 10);
    [before, here] = [here, await at(t)];
  }
  return { ends: [start, here], spent: tries };
}

/** Narrows a bracket, the lower of its ends first. */
async function zoom<P extends LinePoint>(
  { at, start, length, tries }: LineSearch<P>,
  [lower, higher]: readonly [P, P],
  before: number,
): Promise<LineResult<P>> {
  let [low, high, spent, stuck] = [lower, higher, before, false];
  while (spent < tries && Math.abs(high.t - low.t) * length >= CLOSED) {
    const [least, most] = [Math.min(low.t, high.t), Math.max(low.t, high.t)];
    const place = awayFromEnds(cubicMinimum(low, high, least, most), least, most, stuck);
    stuck = place.stuck;
    const here = await at(place.t);
    spent++;
    if (tooHigh(start, here) || here.value >= low.value) {
      [low, high] = here.value < low.value ? [here, low] : [low, here];
      continue;
    }
    if (isFlat(start, here)) return { point: here, evaluations: 1 + spent };
    if (here.slope * (high.t - low.t) >= 0) high = low;
    low = here;
  }
  return { point: low, evaluations: 1 + spent };
}

/** A place that is not, twice in a row, within a tenth of the bracket of one of its ends. */
function awayFromEnds(t: number, least: number, most: number, stuck: boolean): { t: number; stuck: boolean } {
  const margin = 0.1 * (most - least);
  if (Math.min(most - t, t - least) >= margin) return { t, stuck: false };
  if (!stuck && t < most && t > least) return { t, stuck: true };
  return { t: Math.abs(t - most) < Math.abs(t - least) ? most - margin : least + margin, stuck: false };
}

/** The minimum between two bounds of the cubic through two points and slopes (Nocedal & Wright, 3.59); else the middle. */
function cubicMinimum(x: LinePoint, y: LinePoint, least: number, most: number): number {
  const [a, b] = x.t <= y.t ? [x, y] : [y, x];
  const d1 = a.slope + b.slope - (3 * (a.value - b.value)) / (a.t - b.t);
  const square = d1 ** 2 - a.slope * b.slope;
  if (!(square >= 0 && Number.isFinite(square))) return (least + most) / 2;
  const d2 = Math.sqrt(square);
  const t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2));
  return Math.min(Math.max(t, least), most);
}
