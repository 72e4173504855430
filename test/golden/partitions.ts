import { type LayerCut, type Module, models, nn, type Partition, PartitionError, partition } from "../../src/index.ts";
import { FormatError, type Item } from "./json.ts";
import type { Report } from "./report.ts";

/** Checks the names by group of every partition of every model. */
export async function checkPartitions(file: Item, report: Report): Promise<void> {
  for (const item of file.get("models").list()) {
    const kind = item.get("model").text();
    const layerCut = cuts[kind];
    const model = Object.assign(namesOnly(item.get("params")), layerCut && { layerCut });
    for (const [key, expected] of item.get("partitions").entries()) {
      const make = readKey(key);
      checkPartition(`${kind}: ${key}`, () => make(model), model, expected, report);
    }
  }
}

/** How the models cut their layers that do so in their own way. */
const cuts: Readonly<Record<string, LayerCut | undefined>> = { vgg: models.VGG.prototype.layerCut };

/** A model with these parameters: partitions look at nothing but names. */
function namesOnly(params: Item): Module {
  const values = params.list().map((item) => {
    const shape = item.get("shape").numbers();
    return [item.get("name").text(), { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) }] as const;
  });
  return nn.fromFunction(Object.fromEntries(values), () => {
    throw new FormatError("a model of names only was run");
  });
}

type Maker = (model: Module) => Partition;

/** The functions by the names that the golden files use, each from the text of its argument. */
const makers: Readonly<Record<string, (argument: string) => Maker>> = {
  canonical: () => partition.canonical,
  trivial: () => partition.trivial,
  wb: () => partition.wb,
  names: (list) => (model) => partition.names(model, literal(list) as string[]),
  names_by_lst: (lists) => (model) => partition.namesByList(model, literal(lists) as string[][]),
  blocks: (count) => (model) => partition.blocks(model, Number(count)),
};

/** Partitions that are methods of a model. */
const methods: Readonly<Record<string, (count: number) => Maker>> = {
  blocks: (count) => (model) => partition.layerBlocks(model, count),
  alternate: (count) => (model) => partition.alternate(model, count),
};

/** The partition that a key such as `blocks(2)` or `model.partition('blocks-2')` means. */
function readKey(key: string): Maker {
  const [, method, count] = /^model\.partition\('(\w+)-(\d+)'\)$/.exec(key) ?? [];
  if (method && Object.hasOwn(methods, method)) return methods[method]!(Number(count));
  const [, name, argument] = /^(\w+)(?:\((.*)\))?$/.exec(key) ?? [];
  if (name && Object.hasOwn(makers, name)) return makers[name]!(argument ?? "");
  throw new FormatError(`unknown partition ${key}`);
}

/** A list in Python's notation. */
function literal(text: string): unknown {
  try {
    return JSON.parse(text.replaceAll("'", '"'));
  } catch {
    throw new FormatError(`unreadable argument ${text}`);
  }
}

function checkPartition(what: string, make: () => Partition, model: Module, expected: Item, report: Report): void {
  const found = attempt(make);
  if (!expected.isList) {
    expected.get("error");
    report.require(found instanceof PartitionError, `${what}: expected a PartitionError, found ${found}`);
    return;
  }
  if (found instanceof Error) {
    report.failures.push(`${what}: ${found}`);
    return;
  }
  const names = new Map(model.namedParameters().map(([name, parameter]) => [parameter.variable, name]));
  const groups = JSON.stringify(found.map(({ params }) => params.map(({ variable }) => names.get(variable))));
  const wanted = JSON.stringify(expected.groups().filter((group) => group.length > 0));
  report.require(groups === wanted, `${what}: expected ${wanted}, found ${groups}`);
}

function attempt<T>(run: () => T): T | Error {
  try {
    return run();
  } catch (error) {
    return error as Error;
  }
}
