import { AdamUpdater, SGDUpdater, type Updater } from "../../src/index.ts";
import { type Item, MissingFeature } from "./json.ts";

/** How the reference's arguments are named here, and how their values are read. */
type Arguments = Readonly<Record<string, { readonly name: string; readonly read: (item: Item) => unknown }>>;

const number = (item: Item): number => item.number();
const flag = (item: Item): boolean => item.flag();

const common: Arguments = {
  weight_decay: { name: "weightDecay", read: number },
  maximize: { name: "maximize", read: flag },
};

const updaters: Readonly<
  Record<string, { readonly args: Arguments; readonly make: (options: Record<string, unknown>) => Updater }>
> = {
  SGDUpdate: {
    args: {
      ...common,
      momentum: { name: "momentum", read: number },
      dampening: { name: "dampening", read: number },
      nesterov: { name: "nesterov", read: flag },
    },
    make: (options) => new SGDUpdater(options),
  },
  AdamUpdate: {
    args: {
      ...common,
      betas: { name: "betas", read: (item) => item.numbers() },
      eps: { name: "eps", read: number },
      amsgrad: { name: "amsgrad", read: flag },
    },
    make: (options) => new AdamUpdater(options),
  },
};

/**
 * The updater of that name with these arguments; `lr` and `name` beside them are left to the caller.
 * @throws MissingFeature
 */
export function readUpdater(name: string, args: Item): Updater {
  if (!Object.hasOwn(updaters, name)) throw new MissingFeature(`updater ${name}`);
  const { args: known, make } = updaters[name]!;
  const options: Record<string, unknown> = {};
  for (const [key, item] of args.entries()) {
    if (key === "lr" || key === "name") continue;
    const argument = Object.hasOwn(known, key) ? known[key] : undefined;
    if (!argument) throw new MissingFeature(`argument ${key} of updater ${name}`);
    options[argument.name] = argument.read(item);
  }
  return make(options);
}
