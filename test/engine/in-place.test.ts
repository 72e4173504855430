import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runInPlace, withRefusal } from "../../src/engine/ort-node/in-place.ts";
import { LARGE, Memory } from "../../src/engine/ort-node/memory.ts";
import { GraphBuilder, graphOf } from "../../src/graph/index.ts";
import { encodeModel, lowerGraph, outputName } from "../../src/onnx/index.ts";
import * as o from "../../src/ops/index.ts";

let session: InferenceSession;

beforeAll(async () => {
  const b = new GraphBuilder();
  const x = o.input(b, "x", [3]);
  const graph = graphOf({ double: o.scale(b, x, 2), total: o.sum(b, x) });
  session = await InferenceSession.create(encodeModel(withRefusal(lowerGraph(graph, { precision: "float32" }))));
});
afterAll(() => session.release());

const x = new Tensor("float32", Float32Array.of(1, 2, 4), [3]);

test("outputs are written into the tensors that are given", async () => {
  const room = new Float32Array(6);
  const outputs = {
    [outputName("double")]: new Tensor("float32", room.subarray(1, 4), [3]),
    [outputName("total")]: new Tensor("float32", room.subarray(5), []),
  };
  await runInPlace(session, { x }, outputs);
  expect([...room]).toEqual([0, 2, 4, 8, 0, 7]);
});

test("an error of the run itself is passed on", async () => {
  const short = { [outputName("double")]: new Tensor("float32", new Float32Array(2), [2]) };
  await expect(runInPlace(session, { x }, short)).rejects.toThrow(/invalid dimensions/);
});

test("memory that comes back serves again, no more than two runs can use", () => {
  const memory = new Memory();
  const [first, second] = memory.take([LARGE, LARGE, 8]);
  memory.give(first!);
  memory.give(second!);
  const [again, other] = memory.take([LARGE, LARGE / 2]);
  expect([first, second]).toContain(again);
  expect(other!.byteLength).toBe(LARGE / 2);
  // A run had three; of seven the first has to go.
  const [a, ...more] = [...memory.take([LARGE, LARGE, LARGE]), ...memory.take([LARGE, LARGE, LARGE]), again!];
  for (const each of [a!, ...more]) memory.give(each);
  expect(a!.byteLength).toBe(0);
  expect(more.map(({ byteLength }) => byteLength)).toEqual(more.map(() => LARGE));
  memory.clear();
  expect(more.map(({ byteLength }) => byteLength)).toEqual(more.map(() => 0));
});
