/** How far two numbers may be apart: `absolute`, or `relative` to the largest expected entry, whichever is more. */
export interface Tolerance {
  readonly absolute?: number;
  readonly relative?: number;
}

const SHOWN = 12;

/**
 * Asserts that arrays agree, entry by entry. The report shows every place where they do not, both values and their
 * ratio (after curvlinops' `report_nonclose`): a constant ratio tells of a lost factor, a pattern of indices of a wrong axis.
 * NaN agrees with NaN, an infinity with itself.
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { absolute = 0, relative = 0 }: Tolerance,
  what: string,
): void {
  if (actual.length !== expected.length)
    throw new Error(`${what}: expected ${expected.length} entries, found ${actual.length}`);
  const most = Array.from(expected).reduce((max, x) => (Number.isFinite(x) ? Math.max(max, Math.abs(x)) : max), 0);
  const allowed = Math.max(absolute, relative * most);
  const wrong = Array.from(expected, (_, i) => i).filter((i) => !close(actual[i]!, expected[i]!, allowed));
  if (wrong.length === 0) return;
  const lines = wrong.slice(0, SHOWN).map((i) => {
    const [a, e] = [actual[i]!, expected[i]!];
    return `  [${i}] found ${a}, expected ${e}, off by ${(a - e).toExponential(2)}, ratio ${(a / e).toPrecision(8)}`;
  });
  if (wrong.length > SHOWN) lines.push(`  … and ${wrong.length - SHOWN} more`);
  throw new Error(
    `${what}: ${wrong.length} of ${expected.length} entries off by more than ${allowed.toExponential(2)}\n${lines.join("\n")}`,
  );
}

function close(actual: number, expected: number, allowed: number): boolean {
  return Object.is(actual, expected) || actual === expected || Math.abs(actual - expected) <= allowed;
}
