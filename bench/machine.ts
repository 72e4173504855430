import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import { versions } from "../src/cli/versions.ts";

/** More load than this and the times are not to be trusted. */
const BUSY = 0.5;

/** What measurements are remembered with. */
export function machineFacts(): Record<string, string> {
  const [cpu] = cpus();
  return {
    ...versions(),
    cpu: `${cpu?.model ?? "unknown"}, ${availableParallelism()} threads`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    load: loadavg()[0]!.toFixed(2),
    date: new Date().toISOString(),
  };
}

/** Says so where other work would spoil the times. */
export function warnIfBusy({ load }: Readonly<Record<string, string>>): void {
  if (Number(load) > BUSY) console.log(`The machine is busy (load ${load}): distrust the times.`);
}
