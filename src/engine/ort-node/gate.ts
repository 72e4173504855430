const BUSY = 1;
const CLOSED = 2;

/**
 * Lets a process end only while its thread is outside of ONNX Runtime: Node stops threads by force, and native code that is
 * stopped in the middle takes the process down with an abort signal. Shared by the thread and the one that started it.
 */
export class Gate {
  readonly state: Int32Array;

  constructor(state: Int32Array = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))) {
    this.state = state;
  }

  /** For the thread: whether it may begin something. */
  enter(): boolean {
    const open = (Atomics.or(this.state, 0, BUSY) & CLOSED) === 0;
    if (!open) this.leave();
    return open;
  }

  /** For the thread: it is done. */
  leave(): void {
    Atomics.and(this.state, 0, ~BUSY);
    Atomics.notify(this.state, 0);
  }

  /** For the other side: waits until the thread is done, and lets it begin nothing any more. */
  close(): void {
    Atomics.or(this.state, 0, CLOSED);
    while (Atomics.load(this.state, 0) & BUSY) Atomics.wait(this.state, 0, BUSY | CLOSED);
  }
}
