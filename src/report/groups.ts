/** A group's name taken apart: the layer it belongs to, and what it is there. */
export interface GroupLabel {
  readonly name: string;
  /** "layers.0" of "layers.0.weight"; the whole name where it has no such end. */
  readonly layer: string;
  readonly kind: "weight" | "bias" | "other";
}

/** Takes the names of groups apart. */
export function labelGroups(
  groups: readonly { readonly name: string; readonly members: readonly string[] }[],
): GroupLabel[] {
  return groups.map(({ name, members }) => {
    const kind = kindOf(members);
    const end = kind === "weight" ? /[. ]weights?$/ : /[. ]bias(es)?$/;
    return { name, kind, layer: kind === "other" ? name : name.replace(end, "") };
  });
}

function kindOf(members: readonly string[]): GroupLabel["kind"] {
  const all = (end: string): boolean => members.every((name) => name === end || name.endsWith(`.${end}`));
  if (members.length === 0) return "other";
  return all("weight") ? "weight" : all("bias") ? "bias" : "other";
}

/** A table of layers by kinds. */
export interface GroupGrid {
  readonly layers: readonly string[];
  readonly kinds: readonly GroupLabel["kind"][];
  /** The number of the group of a layer and a kind, −1 where there is none. */
  at(layer: string, kind: GroupLabel["kind"]): number;
}

/** The groups as a table of layers by kinds, or undefined where that would hold more holes than it saves rows. */
export function gridOf(labels: readonly GroupLabel[]): GroupGrid | undefined {
  const layers = [...new Set(labels.map(({ layer }) => layer))];
  const kinds = [...new Set(labels.map(({ kind }) => kind))];
  const at = (layer: string, kind: string): number =>
    labels.findIndex((label) => label.layer === layer && label.kind === kind);
  const distinct = new Set(labels.map(({ layer, kind }) => `${kind} ${layer}`)).size === labels.length;
  return distinct && kinds.length > 1 && layers.length < labels.length ? { layers, kinds, at } : undefined;
}

/** What a column or panel of a kind is headed. */
export const KIND_TITLES: Readonly<Record<GroupLabel["kind"], string>> = {
  weight: "weights",
  bias: "biases",
  other: "others",
};
