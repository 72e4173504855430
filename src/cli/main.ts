#!/usr/bin/env node
export * from "../util/errors.ts";
