import type { PeerTask } from "./peers.ts";
import type { Setting, Way } from "./request.ts";
import { ALL, type Bar, type Duration, durationOf, each, effort, nameOf, ours, type Row, type Scale } from "./rows.ts";
import { BATCHES, type KnownModel, STEPS, SUMMARY_LEADS } from "./workloads.ts";

/** What peers are called in the results. */
export const TITLES: Readonly<Record<Way, string>> = {
  eager: "PyTorch eager",
  compiled: "PyTorch compiled",
  nested: "PyTorch nested grad",
  batched: "PyTorch is_grads_batched",
  func: "PyTorch torch.func",
  "jax-js": "jax-js",
};

/** The models that jax-js is measured with. */
const JAX_MODELS: readonly KnownModel[] = ["shallow", "lenet"];
const PYTORCH_WAYS = ["nested", "batched", "func"] as const;
/** What a summary's batch is divided by for rows that take too long, or too much memory, with the whole: their times count so often. */
const FRACTION = 10;

function peer(way: Way, setting: Setting, duration: Duration, scale: Scale, more: Partial<PeerTask & Row> = {}): Row {
  const { lr = 0, tolerance = 0, times = 1 } = more;
  const task: PeerTask = { setting, effort: effort(duration, scale), lr, tolerance };
  const name = `${TITLES[way]}: ${nameOf(setting)}${times === 1 ? "" : `, times ${times}`}`;
  return { name, bars: [], way, times, measure: (tools) => tools.peer(way, task) };
}

/** Steps beside those of peers. */
export function stepPeers(scale: Scale): Row[] {
  return each(scale.threads ?? [...new Set([1, ALL])], (threads) =>
    each(STEPS, ({ model, method, most, lr, tolerance }) => {
      const setting = { work: "step", model, batch: BATCHES[model].step, threads, method } as const;
      const ways: readonly Way[] = ["eager", "compiled", ...(JAX_MODELS.includes(model) ? ["jax-js" as const] : [])];
      const peers = ways.map((way) => {
        // It takes several times as long.
        const duration = way === "jax-js" ? "second" : durationOf(setting);
        return peer(way, setting, duration, scale, { lr, tolerance });
      });
      const bar: Bar = { of: "ratio", to: peers[0]!.name, most };
      return [...peers, ours(setting, scale, { bars: [bar] })];
    }),
  );
}

/** How long PyTorch's ways to a summary take. */
const SUMMARIES = { shallow: "second", deep: "minutes", lenet: "seconds", "vgg-a": "minutes" } as const;

/** Summaries beside those of peers, which have the whole batch, and a tenth of it. */
export function summaryPeers(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) =>
    each(Object.keys(SUMMARIES) as (keyof typeof SUMMARIES)[], (model) => {
      const setting = { work: "summary", model, batch: BATCHES[model].summary, threads } as const;
      const tenth = { ...setting, batch: setting.batch / FRACTION };
      const pytorch = each(PYTORCH_WAYS, (way) => [
        peer(way, setting, SUMMARIES[model], scale),
        peer(way, tenth, SUMMARIES[model], scale, { times: FRACTION }),
      ]);
      const jax = JAX_MODELS.includes(model) ? [peer("jax-js", tenth, "seconds", scale, { times: FRACTION })] : [];
      const bar: Bar = { of: "lead", among: pytorch.map(({ name }) => name), least: SUMMARY_LEADS[model] };
      return [...pytorch, ...jax, ours(setting, scale, { bars: [bar] })];
    }),
  );
}
