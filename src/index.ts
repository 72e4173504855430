export * from "./util/errors.ts";
