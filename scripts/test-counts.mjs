// Prints "N passed, M failed" from the file of vitest's JSON reporter. A test file that fails before its first test
// counts as one failure. Without a file nothing ran: 0 passed, 0 failed.
import { existsSync, readFileSync } from "node:fs";

const [file] = process.argv.slice(2);
const results = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
const broken = (results?.testResults ?? []).filter(
  ({ status, assertionResults }) => status === "failed" && !assertionResults.some((test) => test.status === "failed"),
);
const passed = results?.numPassedTests ?? 0;
const failed = (results?.numFailedTests ?? 0) + broken.length;
console.log(`${passed} passed, ${failed} failed`);
