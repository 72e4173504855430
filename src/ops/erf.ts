/** The error function of a number, to a few roundings, by formulas of Abramowitz & Stegun (1964). */
export function erfOf(x: number): number {
  const size = Math.abs(x);
  return size < 1 ? ascendingErf(x) : Math.sign(x) * (1 - continuedErfc(size));
}

/** 7.1.6: erf x = 2/√π e^{−x²} Σ 2ⁿ x^{2n+1} / (1 · 3 · … · (2n + 1)). */
function ascendingErf(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; sum + term !== sum; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** 7.1.14: √π e^{x²} erfc x = 1 / (x + ½ / (x + 1 / (x + 3⁄2 / (x + …)))); from x = 1 on 200 terms are enough. */
function continuedErfc(x: number): number {
  let fraction = x;
  for (let n = 200; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
