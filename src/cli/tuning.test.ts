import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Tuning } from "../engine/index.ts";
import { thisMachine } from "../engine/ort-node/machine.ts";
import { OptionError } from "../util/errors.ts";
import { Terminal } from "./terminal.ts";
import { cacheFolder, tuningChoice } from "./tuning.ts";

const TUNING: Tuning = {
  machine: thisMachine(),
  key: "a model",
  threads: 2,
  convolutions: { "conv 1": "taps" },
  microbatches: { 12: 34 },
  gains: { threads: 1, convolutions: 0.5, microbatch: 0.8 },
};

let folder: string;
let printed: string;
let complained: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "grnewt-"));
  printed = complained = "";
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function terminal(): Terminal {
  const to = (take: (text: string) => void) => ({ write: take, isTTY: false }) as unknown as NodeJS.WriteStream;
  return new Terminal(
    to((text) => {
      printed += text;
    }),
    to((text) => {
      complained += text;
    }),
  );
}

/** What `--tuning` gives for a model, and whether it was measured. */
async function chosen(wanted: string, key = "a model", cache = join(folder, "a", "cache")) {
  let measured = false;
  const measure = async (): Promise<Tuning> => {
    measured = true;
    return { ...TUNING, key };
  };
  const tuning = await tuningChoice(wanted, terminal(), () => cache)(async () => ({ key, measure }));
  return { tuning, measured };
}

test("off measures nothing", async () => {
  expect(await chosen("off")).toEqual({ tuning: undefined, measured: false });
  expect(readdirSync(folder)).toEqual([]);
});

test("without a tuning nobody asks for the user's home, which not every user has", async () => {
  const homeless = (): string => {
    throw new Error("no home");
  };
  expect(await tuningChoice("off", terminal(), homeless)(() => Promise.reject())).toBeUndefined();
});

test("auto measures once for each model, and says what it has chosen", async () => {
  expect(await chosen("auto")).toEqual({ tuning: TUNING, measured: true });
  expect(printed).toMatch(
    /^tuned in \d+\.\d s: 2 threads \(as by rule\), convolutions \(0\.50 of the time\), microbatch 34 \(0\.80 of the time\) · .*\.json\n$/,
  );
  printed = "";
  expect(await chosen("auto")).toEqual({ tuning: TUNING, measured: false });
  expect(printed).toMatch(/^tuned before: 2 threads/);
  expect((await chosen("auto", "another model")).measured).toBe(true);
  const files = readdirSync(join(folder, "a", "cache"));
  expect(files).toHaveLength(2);
  expect(files.every((name) => /^tuning-[0-9a-f]{32}\.json$/.test(name))).toBe(true);
  expect(complained).toBe("");
});

test("a damaged file is named, and written anew", async () => {
  await chosen("auto");
  const [name] = readdirSync(join(folder, "a", "cache"));
  const path = join(folder, "a", "cache", name!);
  writeFileSync(path, '{"threads": 2');
  expect((await chosen("auto")).measured).toBe(true);
  expect(complained).toContain(`warning: ${path} is damaged, so it is measured anew: `);
  writeFileSync(path, JSON.stringify({ ...TUNING, threads: 0 }));
  expect((await chosen("auto")).measured).toBe(true);
  expect(complained).toContain("tuning: threads must be a whole number from 1 to 1024; found 0");
  expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(TUNING);
});

test("where nothing can be kept, it is measured all the same", async () => {
  writeFileSync(join(folder, "file"), "");
  expect((await chosen("auto", "a model", join(folder, "file", "cache"))).tuning).toEqual(TUNING);
  expect(printed).toMatch(/of the time\)\n$/);
  expect(complained).toMatch(/^warning: it is measured anew next time: no folder can be made at .*file\/cache/);
  expect((await chosen("auto", "a model", join(folder, "file"))).tuning).toEqual(TUNING);
  expect(complained).toMatch(/warning: it is measured anew next time: .*file\/tuning-.* cannot be written: ENOTDIR/);
});

test("a file is taken as it is", async () => {
  const path = join(folder, "tuning.json");
  writeFileSync(path, JSON.stringify(TUNING));
  expect(await chosen(path)).toEqual({ tuning: TUNING, measured: false });
  expect(complained).toBe("");
  expect((await chosen(path, "another model")).tuning).toEqual(TUNING);
  expect(complained).toBe(`warning: ${path} was measured for another model, other batches or --threads\n`);
});

test("what is no tuning is refused at once, with the option and the file", () => {
  const path = join(folder, "tuning.json");
  const choice = () => tuningChoice(path, terminal());
  expect(choice).toThrow(OptionError);
  expect(choice).toThrow(`--tuning ${path}: ENOENT`);
  writeFileSync(path, "{}");
  expect(choice).toThrow(`--tuning ${path}: machine must be an object; found nothing`);
});

test("the cache is the user's", () => {
  expect(cacheFolder({ XDG_CACHE_HOME: "/somewhere" })).toBe("/somewhere/grnewt");
  expect(cacheFolder({ XDG_CACHE_HOME: "relative" })).toBe(cacheFolder({}));
  expect(cacheFolder({})).toMatch(/\.cache\/grnewt$/);
});
