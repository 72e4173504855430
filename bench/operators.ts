import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OrtNodeEngine } from "../src/node.ts";
import { timed } from "./measure.ts";
import type { Measurement, Setting } from "./request.ts";
import { makeSubject } from "./subject.ts";
import { makeTask } from "./work.ts";

/** An event in a profile of ONNX Runtime. */
export interface ProfileEvent {
  /** "Node" for an operator, among others. */
  readonly cat: string;
  readonly name: string;
  /** When it began and how long it took, in µs. */
  readonly ts: number;
  readonly dur: number;
  readonly args: { readonly op_name?: string };
}

/** Takes a summary twice with ONNX Runtime's own profile, which makes it a little slower, and tells the second one. */
export async function measureOperators(setting: Setting): Promise<Measurement> {
  const folder = await mkdtemp(join(tmpdir(), "grnewt-profile-"));
  try {
    // The engine's thread, which starts with the first call, inherits it.
    process.env.GRNEWT_PROFILE = join(folder, "session");
    const engine = new OrtNodeEngine({ threads: setting.threads });
    const subject = makeSubject(setting.model, setting.batch);
    const { run } = await makeTask({ ...setting, work: "summary" }, subject, engine);
    const [, time] = await timed(run, 2);
    await engine.dispose();
    const files = await readdir(folder);
    const profiles = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8")));
    const operators = operatorTimes(profiles.map((text) => JSON.parse(text) as ProfileEvent[]));
    return { blocks: [{ times: [time!], product: [] }], operators };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Milliseconds by operator in the second of two equal runs, the longest first. */
export function operatorTimes(profiles: readonly (readonly ProfileEvent[])[]): Record<string, number> {
  const sums = new Map<string, number>();
  for (const events of profiles) {
    const kernels = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
    kernels.sort((a, b) => a.ts - b.ts);
    for (const { args, dur } of kernels.slice(kernels.length / 2)) {
      const name = args.op_name!;
      sums.set(name, (sums.get(name) ?? 0) + dur / 1000);
    }
  }
  return Object.fromEntries([...sums].sort(([, a], [, b]) => b - a));
}
