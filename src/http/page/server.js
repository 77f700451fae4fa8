// Requests of the page by HTTP: the list, parts of the history, commands. Everything live comes through the channel.

import { channelTo } from "./channel.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./channel.js").Progress} Progress */
/**
 * @typedef {{ name: string, kind: string, description?: string, labels?: Record<string, string>, first: string | null, last: string,
 *   rate: number, readers: number, progress: Progress | null, degraded?: string, ended: boolean, may?: string[],
 *   source: { state: string, reason?: string, error?: string, run?: number, pid?: number, lag?: number,
 *     last?: { code?: number | null, signal?: string | null, duration?: number, cause?: string } } | null,
 *   last_run?: { started: string, ended?: string, duration?: number }, drawn?: string }} Stream
 */

/**
 * @typedef {{ run: number, started: string, ended?: string, duration?: number, code?: number, signal?: string, cause?: string,
 *   passed?: boolean, kept: boolean }} Run
 */

/** The server's address: where the page is. */
export const BASE = new URL("./", document.baseURI.replace(/[?#].*/, "")).href;

/** The reason why the token in the address was refused. */
export let tokenRefused = "";

/** A refusal, with its status. */
export class Refused extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The page's channel. */
export const channel = channelTo(BASE);

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
export async function ask(path, init = {}) {
  const answer = await fetch(new URL(path, BASE), init);
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, problem.detail ?? answer.statusText);
}

/** Turns a token into a cookie, which comes with all requests and which no script can read. @param {string} token */
export async function login(token) {
  await ask("login", { method: "POST", body: token });
}

// A token in the address is not left where others see it.
const here = new URL(location.href);
const given = here.searchParams.get("access_token");
if (given) {
  here.searchParams.delete("access_token");
  history.replaceState(null, "", here);
  await login(given).catch((error) => {
    tokenRefused = error.message;
  });
}

/** @returns {Promise<Stream[]>} */
export async function streams() {
  return (await (await ask("streams")).json()).streams;
}

/** The newest runs of a stream. @param {string} name @returns {Promise<Run[]>} */
export async function runs(name) {
  return (await (await ask(`streams/${encodeURIComponent(name)}/runs`)).json()).runs;
}

/** Parameters of a stream; those that are empty are left out. @typedef {[string, string][]} Parameters */

/** The address of a stream. @param {string} name @param {Parameters} parameters */
export function address(name, parameters) {
  return `streams/${encodeURIComponent(name)}?${new URLSearchParams(parameters.filter(([, value]) => value !== ""))}`;
}

/**
 * Events out of the history, oldest first.
 * @param {string} name
 * @param {Parameters} parameters
 * @returns {Promise<LogEvent[]>}
 */
export async function read(name, parameters) {
  const answer = await ask(address(name, [...parameters, ["follow", "false"], ["format", "ndjson"]]));
  const text = await answer.text();
  /** @type {LogEvent[]} */
  const events = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  return events.filter(({ kind }) => kind !== "progress" && kind !== "open");
}

/** Saves all that is kept of some streams as a file. @param {string[]} names @param {Parameters} parameters */
export function download(names, parameters) {
  const link = document.createElement("a");
  link.download = `${names.join("+")}.log`;
  /** @type {Parameters} */
  const all = [...parameters, ["tail", "all"], ["follow", "false"], ["format", "text"]];
  const several = new URLSearchParams([...names.map((name) => ["stream", name]), ...all.filter(([, value]) => value !== "")]);
  link.href = new URL(names.length > 1 ? `streams?${several}` : address(names[0], all), BASE).href;
  link.click();
}

/**
 * @param {string} name
 * @param {string} command with its parameters
 * @param {BodyInit} [body]
 */
export async function command(name, command, body) {
  await ask(`streams/${encodeURIComponent(name)}/${command}`, { method: "POST", body });
}
