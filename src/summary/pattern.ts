/**
 * A pattern for names of parameters: a glob that a whole name must fit, in which `*` stands for any text without a dot and
 * `**` for any text; or a RegExp that is searched in a name.
 */
export type Pattern = string | RegExp;

/** A test of names against a pattern. */
export function tester(pattern: Pattern): (name: string) => boolean {
  const searched = typeof pattern === "string" ? new RegExp(`^${globSource(pattern)}$`) : pattern;
  return (name) => name.search(searched) >= 0;
}

function globSource(glob: string): string {
  const literal = (text: string): string => text.replace(/[\\^$.|?+()[\]{}]/g, "\\$&");
  const wild = (stars: string): string => (stars === "*" ? "[^.]*" : ".*");
  return glob
    .split(/(\*\*?)/)
    .map((part, i) => (i % 2 === 0 ? literal(part) : wild(part)))
    .join("");
}
