/** A number with three significant digits, or a dash where there is none. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text =
    size < 1e-4 || size >= 1e5 ? value.toExponential(2) : size < 1000 ? value.toPrecision(3) : value.toFixed(0);
  return text.replace("e+", "e").replaceAll("-", "−");
}

/** A loss: four decimals, or significant digits where these would say nothing. */
export function formatLoss(value: number | null | undefined): string {
  return value !== null && value !== undefined && Math.abs(value) >= 0.01 && Math.abs(value) < 1000
    ? value.toFixed(4)
    : formatNumber(value);
}

/** A share as a percentage with two decimals. */
export function formatPercent(share: number | undefined): string {
  return share === undefined ? "–" : `${(100 * share).toFixed(2)} %`;
}

/** A count with its thousands apart. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** A time span: "0.84 s", "12.3 s", "2:05", "1:02:05". */
export function formatSeconds(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 9.995 ? 2 : 1)} s`;
  return formatClock(seconds);
}

/** A time span in minutes and seconds, and hours where there are some: "0:07", "2:05", "1:02:05". */
export function formatClock(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (part: number): string => String(part).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
