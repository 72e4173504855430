import { expect, test } from "vitest";
import { operatorTimes, type ProfileEvent } from "../../bench/operators.ts";

function kernel(name: string, at: number, dur: number): ProfileEvent {
  return { cat: "Node", name: "n_kernel_time", ts: at, dur, args: { op_name: name } };
}

test("operators' times are those of the second of two runs, over all sessions, the longest first", () => {
  const run = (start: number, tanh: number): ProfileEvent[] => [
    kernel("Tanh", start + 1, tanh),
    kernel("MatMul", start + 2, 5000),
    { cat: "Session", name: "model_run", ts: start, dur: 9999, args: {} },
  ];
  const session = [...run(100, 1), ...run(0, 700_000)];
  expect(operatorTimes([session, [kernel("MatMul", 1, 8), kernel("MatMul", 2, 1000)]])).toEqual({
    MatMul: 6,
    Tanh: 0.001,
  });
  expect(Object.keys(operatorTimes([session]))).toEqual(["MatMul", "Tanh"]);
});
