import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DataError, StateError } from "../util/errors.ts";
import { takeLock } from "./node-lock.ts";

let root: string;
let path: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "grnewt-"));
  path = join(root, "lock");
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

test("a lock is there until it is released, for this process too", () => {
  const release = takeLock(path);
  expect(readFileSync(path, "utf8")).toBe(String(process.pid));
  expect(() => takeLock(path)).toThrow(StateError);
  release();
  expect(existsSync(path)).toBe(false);
  takeLock(path)();
});

test("the lock of a process that is alive stays, whoever it is", () => {
  writeFileSync(path, String(process.ppid));
  expect(() => takeLock(path)).toThrow(`${path}: process ${process.ppid} is at work here`);
  expect(readFileSync(path, "utf8")).toBe(String(process.ppid));
});

test.each([
  ["a process that is gone", () => spawnSync(process.execPath, ["--version"]).pid],
  ["one of the same number before this", () => process.pid],
])("the lock of %s is taken over", (_who, pid) => {
  writeFileSync(path, String(pid()));
  const release = takeLock(path);
  expect(readFileSync(path, "utf8")).toBe(String(process.pid));
  release();
  expect(readdirSync(root)).toEqual([]);
});

test("a lock that cannot be made is one clear error", () => {
  expect(() => takeLock(join(root, "nowhere", "lock"))).toThrow(DataError);
});
