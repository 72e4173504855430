import { describeOptions, wrapped } from "./options.ts";
import { helpWidth, type Terminal } from "./terminal.ts";
import { TRAIN_GROUPS, trainRequest } from "./train-options.ts";

const ABOUT =
  "Trains a model on a data set, by default the paper's perceptron on MNIST with NewtonSummary, which finds a learning " +
  "rate for each group of parameters by itself. Metrics, weights, a checkpoint and a report are kept in a folder. Ctrl-C " +
  "stops after the step under way; the run can then be resumed.";

/** The help text of `grnewt train`. */
export function trainHelp(width: number): string {
  return `usage: grnewt train [options]

${wrapped(ABOUT, width).join("\n")}

${describeOptions(TRAIN_GROUPS, width)}

examples:
  grnewt train --epochs 1 --limit 6000                      a quick try
  grnewt train --model lenet --dataset cifar10 --data DIR
  grnewt train --model transformer --data book.txt --steps 500
  grnewt train --optimizer adam --lr 0.001                  for comparison
  grnewt train --resume runs/<run> --epochs 10              go on with an earlier run

exit status:
  0 when the run has come to its end, whatever it has learned (a warning says where the loss is above its start);
  1 after an error, 2 where options are wrong, 130 or 143 when it was stopped
`;
}

/** `grnewt train`. @returns the exit status */
export async function trainCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const request = trainRequest(args);
  if (request.kind === "help") {
    terminal.print(trainHelp(helpWidth(terminal)).trimEnd());
    return 0;
  }
  // Loaded only now: help and refusals should not wait for ONNX Runtime.
  const { run } = await import("./run.ts");
  return await run(request, terminal);
}
