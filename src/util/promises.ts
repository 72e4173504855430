/** A promise that may fail before anyone waits for it, which is no error of the process. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
