/**
 * Gives Node what jax-js computes on several threads with, and looks for as it is loaded: the workers of browsers, and how
 * many there are to be. Without them it uses one thread.
 */
import { resolveObjectURL } from "node:buffer";
import { Worker as Thread } from "node:worker_threads";

/** What a browser's worker finds in its scope. */
const SCOPE = `
const { parentPort } = require("node:worker_threads");
globalThis.self = globalThis;
globalThis.postMessage = (message) => parentPort.postMessage(message);
parentPort.on("message", (data) => self.onmessage({ data }));
`;

class BrowserWorker {
  #thread;

  constructor(url) {
    this.#thread = this.#start(url);
  }

  async #start(url) {
    const source = await resolveObjectURL(url).text();
    const thread = new Thread(SCOPE + source, { eval: true });
    thread.on("message", (data) => this.onmessage({ data }));
    thread.on("error", (error) => this.onerror(error));
    return thread;
  }

  async postMessage(message) {
    (await this.#thread).postMessage(message);
  }
}

const { threads } = JSON.parse(process.argv[2]);
if (threads > 1) {
  Object.defineProperty(globalThis, "navigator", { value: { hardwareConcurrency: threads }, configurable: true });
  globalThis.Worker = BrowserWorker;
}
