import { describe, expect, test } from "vitest";
import { gradients } from "../../src/derive/reverse.ts";
import {
  BATCH,
  type BilinearOp,
  type Builder,
  type ComposedOp,
  GraphBuilder,
  graphOf,
  type Lead,
  type LinearOp,
  type Node,
  type Shape,
} from "../../src/graph/index.ts";
import { add, input, mul, reshape, slice, sum } from "../../src/ops/index.ts";
import type { NDArray } from "../../src/util/ndarray.ts";
import { Random } from "../../src/util/random.ts";
import { assertClose } from "../support/close.ts";
import { drawInput, drawInputs, floats, makeInputs } from "../support/inputs.ts";
import { allCases, type Case } from "../support/primitive-cases.ts";
import { evaluate, numbers } from "../support/run.ts";

/** Sums of the same few products in two orders: a few roundings, of values near 1 to 10. */
const ROUNDING = { absolute: 1e-13, relative: 1e-13 };

/** Nodes of one case under test, and random inputs for what is tried on them. */
class Trial {
  readonly b = new GraphBuilder();
  readonly nodes: readonly Node[];
  readonly #random = new Random(7);
  readonly #feeds: Record<string, NDArray>;
  /** Tells the batch size to programs that have no other batched input. */
  readonly #samples: Node;

  constructor(item: Case) {
    const inputs = makeInputs(this.b, item.inputs);
    this.nodes = graphOf({ z: item.build(this.b, inputs) }).nodes;
    this.#feeds = drawInputs(item.inputs, this.#random);
    this.#samples = this.draw([BATCH]);
  }

  /** A new random tensor. */
  draw(shape: Shape): Node {
    const name = `t${Object.keys(this.#feeds).length}`;
    this.#feeds[name] = drawInput(floats(shape), this.#random);
    return input(this.b, name, shape);
  }

  /** Asserts that two programs give the same numbers under the same shape. */
  async same(left: Node, right: Node, what: string): Promise<void> {
    const values = await evaluate({ left, right, samples: this.#samples }, this.#feeds);
    expect(values.left!.shape, what).toEqual(values.right!.shape);
    assertClose(numbers(values.left), numbers(values.right), ROUNDING, what);
  }

  dot(x: Node, y: Node): Node {
    return sum(this.b, mul(this.b, x, y));
  }

  /** One tensor of a stack. */
  row(stack: Node, i: number): Node {
    return reshape(this.b, slice(this.b, stack, 0, i, i + 1), stack.shape.slice(1));
  }

  /** Asserts that a map of stacks is that of their tensors, one by one; stacks of one tensor, and of several. */
  async rowByRow(shapes: readonly Shape[], leads: readonly Lead[], map: Stacked, what: string): Promise<void> {
    for (const size of [1, 3]) {
      const stacks = shapes.map((shape, k) => this.draw(leads[k] ? [size, ...shape] : shape));
      const all = map(stacks, leads);
      for (let i = 0; i < size; i++) {
        const rows = stacks.map((stack, k) => (leads[k] ? this.row(stack, i) : stack));
        await this.same(
          this.row(all, i),
          map(
            rows,
            leads.map(() => 0),
          ),
          `${what}, row ${i} of ${size}`,
        );
      }
    }
  }
}

type Stacked = (tensors: readonly Node[], leads: readonly Lead[]) => Node;

async function checkLinear(trial: Trial, node: Node & { op: LinearOp<unknown> }): Promise<void> {
  const { b } = trial;
  const real = [...node.inputs.keys()].filter((i) => node.inputs[i]!.dtype === "float");
  const whole = real.map((i) => node.op.push(b, node, node.inputs[i]!, i, 0)).reduce((x, y) => add(b, x, y));
  await trial.same(node, whole, "z = A x");
  for (const i of real) {
    const { shape } = node.inputs[i]!;
    const [tangent, cotangent] = [trial.draw(shape), trial.draw(node.shape)];
    const pulled = node.op.transpose(b, node, cotangent, i);
    const pushed = node.op.push(b, node, tangent, i, 0);
    await trial.same(trial.dot(cotangent, pushed), trial.dot(pulled, tangent), `⟨z̄, A x⟩ = ⟨Aᵀ z̄, x⟩ for input ${i}`);
    await trial.rowByRow([shape], [1], ([x], [lead]) => node.op.push(b, node, x!, i, lead!), `push of input ${i}`);
  }
}

async function checkBilinear(trial: Trial, node: Node & { op: BilinearOp<unknown> }): Promise<void> {
  const { b } = trial;
  const [x, y] = node.inputs.map(({ shape }) => trial.draw(shape)) as [Node, Node];
  const cotangent = trial.draw(node.shape);
  await trial.same(node, node.op.stacked(b, node, node.inputs[0]!, node.inputs[1]!, [0, 0]), "z = B(x, y)");
  const product = trial.dot(cotangent, node.op.stacked(b, node, x, y, [0, 0]));
  for (const index of [0, 1] as const) {
    const [own, other] = index === 0 ? [x, y] : [y, x];
    const pulled = node.op.transpose(b, node, cotangent, other, index, 0);
    await trial.same(product, trial.dot(pulled, own), `⟨z̄, B(x, y)⟩ by the transpose in input ${index}`);
    const pull: Stacked = ([z, t], [, lead]) => node.op.transpose(b, node, z!, t!, index, lead!);
    await trial.rowByRow([node.shape, other.shape], [0, 1], pull, `transpose in input ${index}`);
  }
  for (const leads of [
    [1, 0],
    [0, 1],
    [1, 1],
  ] as const)
    await trial.rowByRow(
      [x.shape, y.shape],
      leads,
      ([s, t], [k, l]) => node.op.stacked(b, node, s!, t!, [k!, l!]),
      `B with leads ${leads}`,
    );
}

/** Cases of linear, bilinear and composed primitives on real numbers, as "primitive: name". */
const cases = allCases
  .map(([primitive, item]) => [`${primitive}: ${item.name}`, primitive, item] as const)
  .filter(([, primitive, item]) =>
    new Trial(item).nodes.some(({ op, dtype }) => op.name === primitive && isChecked(op.kind) && dtype === "float"),
  );

function isChecked(kind: string): boolean {
  return kind === "linear" || kind === "bilinear" || kind === "composed";
}

/** A node is what it is composed of, and the way back through it is that through these. */
async function checkComposed(trial: Trial, node: Node & { op: ComposedOp<unknown> }): Promise<void> {
  const { b } = trial;
  const composed = node.op.compose(b, node);
  await trial.same(node, composed, "compose");
  const cotangent = trial.draw(node.shape);
  const [input] = node.inputs;
  const back = gradients(b, trial.dot(composed, cotangent), [input!])[0]!;
  await trial.same(node.op.transpose(b, node, cotangent), back, "transpose");
}

describe("kinds keep what they promise", () => {
  test.each(cases)("%s", async (_, primitive, item) => {
    const trial = new Trial(item);
    for (const node of trial.nodes) {
      const { op } = node;
      if (op.name !== primitive || node.dtype !== "float") continue;
      if (op.kind === "linear") await checkLinear(trial, { ...node, op });
      if (op.kind === "bilinear") await checkBilinear(trial, { ...node, op });
      if (op.kind === "composed") await checkComposed(trial, { ...node, op });
    }
  });
});

test("operands of one shape are taken as they are", () => {
  const b = new GraphBuilder();
  const made: string[] = [];
  const counting: Builder = {
    apply(op, inputs, attrs) {
      made.push(op.name);
      return b.apply(op, inputs, attrs);
    },
  };
  const [x, y, row] = [input(b, "x", [BATCH, 3]), input(b, "y", [BATCH, 3]), input(b, "row", [3])];
  add(counting, x, y);
  expect(made).toEqual(["add"]);
  expect(add(counting, x, row).inputs[1]!.op.name).toBe("broadcast");
});
