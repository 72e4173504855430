/** How learning rates are laid out along an axis. */
export interface RateScale {
  readonly type: "linear" | "log" | "symlog";
  readonly domain: readonly [number, number];
  /** Of symlog: it is linear within ± this. */
  readonly constant?: number;
  readonly ticks?: readonly number[];
  /** Of a logarithmic axis on which zeros occur: below this lies a strip for them. */
  readonly zeroBelow?: number;
}

/** Positive numbers that span more than this are shown on a logarithmic axis. */
const DECADE = 10;

/**
 * A scale for learning rates: logarithmic where the positive ones span decades, with a strip for zeros where there are
 * some; symmetric-logarithmic where there are negative ones too; else linear and from 0.
 */
export function rateScale(values: readonly number[]): RateScale {
  const sizes = values
    .filter((value) => value !== 0)
    .map(Math.abs)
    .toSorted((a, b) => a - b);
  if (sizes.length === 0) return { type: "linear", domain: [0, 1] };
  const [least, most] = [sizes[0]!, sizes.at(-1)!];
  const spans = most / least > DECADE;
  const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  if (!spans) return { type: "linear", domain: [Math.min(0, low) * 1.05, Math.max(0, high) * 1.05] };
  if (low < 0) return symlog(sizes, low, high);
  if (low > 0) return { type: "log", domain: [least / 1.15, most * 1.15] };
  return { type: "log", domain: [least / (most / least) ** 0.12, most * 1.15], zeroBelow: least / 1.05 };
}

/** Linear within the size that a tenth of the numbers stay below: what is smaller is as good as zero. */
function symlog(sizes: readonly number[], low: number, high: number): RateScale {
  const linear = 10 ** Math.floor(Math.log10(sizes[Math.floor(sizes.length / 10)]!));
  const constant = Math.max(linear, sizes.at(-1)! / 1e6);
  const powers: number[] = [];
  for (let power = constant; power <= Math.max(-low, high); power *= 10) powers.push(power);
  const ticks = [...powers.map((power) => -power).reverse(), 0, ...powers].filter(
    (tick) => tick >= low && tick <= high,
  );
  return { type: "symlog", domain: [low * 1.1, high > 0 ? high * 1.1 : 0], constant, ticks };
}

/** Moves positions apart so that neighbours are at least `gap` away from each other, each as near its own as may be. */
export function dodge(wanted: readonly number[], gap: number, low: number, high: number): number[] {
  const order = wanted.map((_, i) => i).toSorted((a, b) => wanted[a]! - wanted[b]!);
  // Runs of neighbours that touch, each centred on what its members want (as in isotonic regression).
  const runs: { members: number[]; start: number }[] = [];
  const startOf = (members: readonly number[]): number => {
    const mean = members.reduce((sum, member, i) => sum + wanted[member]! - i * gap, 0) / members.length;
    return Math.max(low, Math.min(high - (members.length - 1) * gap, mean));
  };
  for (const i of order) {
    let members = [i];
    for (
      let last = runs.at(-1);
      last && last.start + last.members.length * gap > startOf(members);
      last = runs.at(-1)
    ) {
      members = [...last.members, ...members];
      runs.pop();
    }
    runs.push({ members, start: startOf(members) });
  }
  const placed = [...wanted];
  for (const { members, start } of runs) for (const [i, member] of members.entries()) placed[member] = start + i * gap;
  return placed;
}

/** Ticks of a logarithmic axis: powers of ten, or with 2 and 5 between them where these are few. */
export function logTicks([low, high]: readonly [number, number]): number[] {
  const first = Math.floor(Math.log10(low));
  const powers = Array.from({ length: Math.ceil(Math.log10(high)) - first + 1 }, (_, i) => first + i);
  const within = (tick: number): boolean => tick >= low && tick <= high;
  const ticks = powers.map((power) => Number(`1e${power}`)).filter(within);
  if (ticks.length > 2) return ticks.filter((_, i) => i % Math.ceil(ticks.length / 7) === 0);
  return powers.flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`))).filter(within);
}
