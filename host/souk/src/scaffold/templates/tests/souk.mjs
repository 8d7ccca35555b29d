// For the tests: the application that `souk test` has started.

import { spawnSync } from "node:child_process";

const { SOUK_MANIFEST, SOUK_PROGRAM, SOUK_STATE_DIR, SOUK_URL } = process.env;

/** Sends a request, as `fetch` does. */
export const request = (path, options) => fetch(SOUK_URL + path, options);

/** Runs a command of `souk` on the application. */
export function souk(...command) {
  const application = ["--from", SOUK_MANIFEST, "--state-dir", SOUK_STATE_DIR];
  return spawnSync(SOUK_PROGRAM, [...command, ...application], { encoding: "utf8" });
}

/** Calls a function of any component; the error of its `result` is `{ err }`. */
export function call(component, name, args) {
  const { status, stdout, stderr } = souk("call", component, name, JSON.stringify(args));
  const answer = status === 0 ? stdout : stderr.split("\n").find((line) => line.startsWith('{"err":'));
  if (answer === undefined) throw new Error(stderr);
  return JSON.parse(answer);
}

/** Waits until every message of durable links is delivered or is a dead letter. */
export function waitForDeliveries() {
  const { status, stderr } = souk("events", "wait");
  if (status !== 0) throw new Error(stderr);
}
