import { readFileSync } from "node:fs";

/**
 * The most resident bytes that this process had. Linux counts in what `getrusage` tells, which Node gives, the process
 * that started this one; not so in /proc.
 */
export function peakBytes(): number {
  try {
    const [, kilobytes] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))!;
    return Number(kilobytes) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}
