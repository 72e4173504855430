import { countOf, isBatch, type Node, type Shape } from "../../graph/index.ts";
import { type ConvAttrs, type Primitive, unrepeated } from "../../ops/index.ts";

/** A product that a weight enters. */
export interface Use {
  readonly node: Node;
  /** Which of its operands is the weight. */
  readonly operand: 0 | 1;
}

/** A weight that is used in products with inputs alone, as those of linear layers and convolutions are. */
export interface Layer {
  readonly weight: string;
  /** The bias that is added to each result, and to nothing else. */
  readonly bias: string | undefined;
  readonly uses: readonly Use[];
  /** Blocks of the weight that have nothing to do with each other. */
  readonly groups: number;
  /** The axis of the weight that meets inputs: 1 for [out, in, …], 0 for [in, out, …]. */
  readonly inputSide: 0 | 1;
}

/** The nodes that use each node. */
type Users = ReadonlyMap<Node, readonly Node[]>;

/**
 * The layers of a model, found from what is computed.
 * @param active the nodes on differentiable paths from parameters to the model's output.
 * @param parameters by name.
 */
export function findLayers(active: readonly Node[], parameters: ReadonlyMap<string, Node>): Layer[] {
  const users = usersOf(active);
  const names = new Map([...parameters].map(([name, node]) => [node, name]));
  return [...parameters].flatMap(([weight, node]) => {
    const uses = usesOf(node, users);
    const [first] = uses ?? [];
    if (!uses || !first) return [];
    const [groups, inputSide] = [groupsOf(first.node), inputSideOf(first)];
    if (uses.some((use) => groupsOf(use.node) !== groups || inputSideOf(use) !== inputSide)) return [];
    const bias = biasOf(uses, users);
    return [{ weight, bias: bias && names.get(bias), uses, groups, inputSide }];
  });
}

function usersOf(active: readonly Node[]): Users {
  const users = new Map<Node, Node[]>();
  for (const node of active)
    for (const input of new Set(node.inputs)) users.set(input, [...(users.get(input) ?? []), node]);
  return users;
}

/** All that uses a weight, if that is products with the batch's values only. */
function usesOf(weight: Node, users: Users): Use[] | undefined {
  const uses: Use[] = [];
  for (const form of [weight, ...transposesOf(weight, users)])
    for (const node of users.get(form) ?? []) {
      if (isTranspose(weight, node)) continue;
      const operand = node.inputs[0] === form ? 0 : 1;
      if (!isProduct(node, operand) || node.inputs[1 - operand] === form) return undefined;
      uses.push({ node, operand });
    }
  return uses;
}

function transposesOf(weight: Node, users: Users): Node[] {
  return (users.get(weight) ?? []).filter((node) => isTranspose(weight, node));
}

/** Whether a node is a matrix transposed; where one of its lengths is 1, that is written as a reshape. */
function isTranspose(matrix: Node, { op, inputs, shape }: Node): boolean {
  const [rows, columns] = matrix.shape;
  if (matrix.shape.length !== 2 || inputs[0] !== matrix || shape.length !== 2) return false;
  const name = op.name as Primitive;
  return name === "permute" || (name === "reshape" && (rows === 1 || columns === 1) && shape[0] === columns);
}

/** Whether a node is a product of a weight with rows of which each sample has some. */
function isProduct({ op, inputs }: Node, operand: 0 | 1): boolean {
  const [weight, other] = [inputs[operand]!, inputs[1 - operand]!];
  switch (op.name as Primitive) {
    case "matmul":
      return weight.shape.length === 2 && countOf(other.shape.toSpliced(operand - 2, 1)).power === 1;
    case "conv":
    case "convInput":
      return operand === 1 && isBatch(other.shape[0]!);
    default:
      return false;
  }
}

function groupsOf({ attrs }: Node): number {
  return (attrs as Partial<ConvAttrs>).groups ?? 1;
}

function inputSideOf({ node, operand }: Use): 0 | 1 {
  if ((node.op.name as Primitive) !== "matmul") return (node.op.name as Primitive) === "conv" ? 1 : 0;
  const transposed = node.inputs[operand]!.op.name !== "input";
  return transposed === (operand === 1) ? 1 : 0;
}

/** The parameter that is added to the results of all uses and used nowhere else. */
function biasOf(uses: readonly Use[], users: Users): Node | undefined {
  const sums = uses.map(({ node }) => (users.get(node)?.length === 1 ? users.get(node)![0]! : undefined));
  const found = uses.map(({ node, operand }, i) => sums[i] && addedAlong(node, sums[i], resultAxis(node, operand)));
  const [bias] = found;
  if (!bias || found.some((each) => each !== bias)) return undefined;
  return reachedFrom(bias, users).every((node) => sums.includes(node)) ? bias : undefined;
}

/** The axis of a product's results that has an entry for each of the weight's; none where each place adds several products. */
function resultAxis({ op, shape }: Node, operand: 0 | 1): number | undefined {
  if ((op.name as Primitive) === "matmul") return shape.length - 2 + operand;
  return (op.name as Primitive) === "conv" ? 1 : undefined;
}

/** What a node adds to a product: something with an entry for each along one axis. */
function addedAlong(product: Node, sum: Node, axis: number | undefined): Node | undefined {
  if ((sum.op.name as Primitive) !== "add" || axis === undefined) return undefined;
  const added = unrepeated(sum.inputs[sum.inputs[0] === product ? 1 : 0]!);
  const shape: Shape = [...new Array<number>(product.shape.length - added.shape.length).fill(1), ...added.shape];
  if (!shape.every((length, i) => length === (i === axis ? product.shape[axis] : 1))) return undefined;
  return (added.op.name as Primitive) === "reshape" ? added.inputs[0] : added;
}

/** The first nodes after one that do more than to move its entries. */
function reachedFrom(node: Node, users: Users): Node[] {
  const moves: readonly string[] = ["reshape", "broadcast"] satisfies Primitive[];
  return (users.get(node) ?? []).flatMap((user) => (moves.includes(user.op.name) ? reachedFrom(user, users) : [user]));
}
