import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { OrtThread } from "../../src/engine/ort-node/thread.ts";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { GraphBuilder, graphOf } from "../../src/graph/index.ts";
import { indexSelect, input } from "../../src/ops/index.ts";
import { DisposedError, GraphError, GrnewtError } from "../../src/util/errors.ts";
import { longGraph, SIDE } from "../support/long-graph.ts";
import { real } from "../support/run.ts";

const engine = new OrtNodeEngine({ threads: 1 });
afterAll(() => engine.dispose());

const square = real(new Array(SIDE * SIDE).fill(1), [SIDE, SIDE]);

/** How long something took in ms, and the longest time for which no timer was served. */
async function watched(work: () => Promise<unknown>): Promise<{ took: number; stood: number }> {
  const begun = performance.now();
  let [last, stood] = [begun, 0];
  const look = (): void => {
    const now = performance.now();
    stood = Math.max(stood, now - last);
    last = now;
  };
  const timer = setInterval(look, 2);
  await work();
  look();
  clearInterval(timer);
  return { took: last - begun, stood };
}

test("timers go on during a run", async () => {
  const session = await engine.compile(longGraph(200));
  const inputs = { x: await engine.upload(square) };
  const { took, stood } = await watched(() => session.run(inputs));
  // It takes a second. Where it blocks, the two are the same; a busy machine may keep a timer waiting for some time.
  expect(stood).toBeLessThan(took / 2);
  await session.dispose();
});

test("an error of ONNX Runtime comes with its message", async () => {
  const broken = new OrtNodeEngine({ providers: ["nonsense"] });
  const failure = await broken.compile(longGraph(1)).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(GraphError);
  expect((failure as Error).message).toMatch(/cannot run this graph in float32: .*nonsense/);
  expect((failure as Error).cause).toBeInstanceOf(Error);
  await broken.dispose();
});

test("where a run fails, those that were given its outputs fail too, and nothing of them stays", async () => {
  const b = new GraphBuilder();
  const rows = indexSelect(b, input(b, "x", [SIDE, SIDE]), input(b, "i", [SIDE], "int"), 0);
  const session = await engine.compile(graphOf({ rows }));
  const x = await engine.upload(square);
  const [good, bad] = [new Int32Array(SIDE), new Int32Array(SIDE).fill(SIDE)];
  const [i, outside] = await Promise.all([good, bad].map((data) => engine.upload({ shape: [SIDE], data })));
  const { live } = engine.tensors;
  const first = await session.begin({ x, i: outside! });
  const second = await session.begin({ x: first.outputs.rows!, i: i! });
  const looked = engine.read(second.outputs.rows!);
  await expect(first.done).rejects.toThrow(/ONNX Runtime failed: .*indices/);
  await expect(second.done).rejects.toThrow(/ONNX Runtime failed: the run before it failed/);
  await expect(looked).rejects.toThrow(/the run before it failed/);
  expect(engine.tensors.live).toBe(live);
  const { rows: read } = await session.run({ x, i: i! });
  expect((await engine.read(read!)).data).toEqual(Float32Array.from(square.data as Float64Array));
  engine.release(x, i!, outside!, read!);
  await session.dispose();
});

test("several engines run beside one another, and each ends by itself", async () => {
  const engines = [1, 2, 3].map(() => new OrtNodeEngine({ threads: 1 }));
  const work = async (each: OrtNodeEngine, i: number): Promise<void> => {
    const session = await each.compile(longGraph(2));
    const { z } = await session.run({ x: await each.upload(square) });
    expect((await each.read(z!)).data[0]).toBe(1);
    if (i > 0) await each.dispose();
  };
  await Promise.all(engines.map(work));
  expect(engines.map(({ sessions }) => sessions.live)).toEqual([1, 0, 0]);
  await work(engines[0]!, 1);
});

test("a thread that is lost takes its calls with it, and later ones are refused", async () => {
  const thread = new OrtThread();
  const upload = { tensor: 0, element: "float32" as const, shape: [2], data: new Float32Array(1) };
  thread.upload(upload);
  const lost = await Promise.allSettled([thread.call("read", 0), thread.call("read", 0)]);
  for (const each of lost)
    expect(each).toMatchObject({ status: "rejected", reason: expect.objectContaining({ name: "GrnewtError" }) });
  await expect(thread.call("read", 0)).rejects.toThrow(/thread of ONNX Runtime was lost: .*size/);
  expect(() => thread.upload(upload)).toThrow(GrnewtError);
  await thread.end();
});

test("a thread that was never needed ends, too", async () => {
  const thread = new OrtThread();
  thread.release([]);
  await thread.end();
  await expect(thread.call("read", 0)).rejects.toThrow(DisposedError);
});

/** Runs a script in a process of its own, with an engine of three threads that has done something and is not disposed. */
async function inProcess(script: string): Promise<{ code: number; signal: string | null; stdout: string }> {
  const source = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
  const whole = `
    import { OrtNodeEngine } from ${source("../../src/engine/ort-node.ts")};
    import { longGraph, SIDE } from ${source("../support/long-graph.ts")};
    const engine = new OrtNodeEngine({ threads: 3 });
    const session = await engine.compile(longGraph(100), { sideBySide: true });
    const inputs = { x: await engine.upload({ shape: [SIDE, SIDE], data: new Float32Array(SIDE * SIDE) }) };
    ${script}`;
  return await runScript(whole);
}

/** Runs a script in a process of its own. */
async function runScript(script: string): Promise<{ code: number; signal: string | null; stdout: string }> {
  const args = ["--import", "tsx", "--input-type=module", "--eval", script];
  const cwd = fileURLToPath(new URL("../..", import.meta.url));
  return await promisify(execFile)(process.execPath, args, { cwd }).then(
    ({ stdout }) => ({ code: 0, signal: null, stdout }),
    ({ code, signal, stdout }) => ({ code, signal, stdout }),
  );
}

test("an idle engine lets the process end, runs that are awaited do not", async () => {
  const ended = await inProcess(`await Promise.all([session.run(inputs), session.run(inputs)]); console.log("done");`);
  expect(ended).toEqual({ code: 0, signal: null, stdout: "done\n" });
});

test("process.exit in the middle of a run gives its status, after the run", async () => {
  const ended = await inProcess(`
    setTimeout(() => process.exit(7), 20);
    for (let i = 0; i < 9; i++) session.run(inputs);`);
  expect(ended).toEqual({ code: 7, signal: null, stdout: "" });
});

test("process.exit while a thread loads ONNX Runtime gives its status", async () => {
  const source = JSON.stringify(new URL("../../src/engine/ort-node.ts", import.meta.url).href);
  const script = (after: number) => `
    import { OrtNodeEngine } from ${source};
    const engine = new OrtNodeEngine({ threads: 1 });
    engine.read(await engine.upload({ shape: [1], data: new Float32Array(1) })).catch(() => {});
    setTimeout(() => process.exit(7), ${after});`;
  for (const after of [20, 60, 100]) expect(await runScript(script(after))).toMatchObject({ code: 7, signal: null });
});

test("a thread that another one is to start, which was lost, ends, too", async () => {
  const first = new OrtThread();
  first.upload({ tensor: 0, element: "float32", shape: [2], data: new Float32Array(1) });
  await expect(first.call("read", 0)).rejects.toThrow(GrnewtError);
  const second = new OrtThread(first);
  await expect(second.call("read", 0)).rejects.toThrow(/thread of ONNX Runtime was lost/);
  await second.end();
  await first.end();
});

test("an error that nobody catches in the middle of a run ends the process as usual", async () => {
  const ended = await inProcess(`
    setTimeout(() => { throw new Error("of the user"); }, 20);
    session.run(inputs);`);
  expect(ended).toEqual({ code: 1, signal: null, stdout: "" });
});
