export { type TuneOptions, tune, tuningKey } from "./tune.ts";
