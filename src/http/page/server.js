// What the page asks of its server by HTTP: the list, pieces of the history, commands. The rest comes by the channel.

import { channelTo } from "./channel.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./channel.js").Progress} Progress */
/**
 * @typedef {{ name: string, kind: string, description?: string, labels?: Record<string, string>, first: string | null, last: string,
 *   rate: number, readers: number, progress: Progress | null, degraded?: string, ended: boolean, may?: string[],
 *   source: { state: string, reason?: string, error?: string, run?: number, pid?: number, lag?: number,
 *     last?: { code?: number | null, signal?: string | null } } | null }} Stream
 */

/** The server's address: where the page is. */
export const BASE = new URL("./", document.baseURI.replace(/[?#].*/, "")).href;

const TOKEN = "rtlogd-token";

/** A refusal, with its status. */
export class Refused extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

// A token in the address is for this tab only, and is not left where others see it.
const here = new URL(location.href);
const given = here.searchParams.get("access_token");
if (given) {
  sessionStorage.setItem(TOKEN, given);
  here.searchParams.delete("access_token");
  history.replaceState(null, "", here);
}

/** @returns {string | undefined} */
function token() {
  return sessionStorage.getItem(TOKEN) ?? undefined;
}

/** The page's channel. */
export const channel = channelTo(BASE);
channel.getToken = token;

/** Keeps a token for this tab. @param {string} text */
export function keepToken(text) {
  sessionStorage.setItem(TOKEN, text);
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
export async function ask(path, init = {}) {
  const known = token();
  const headers = known ? { authorization: `Bearer ${known}` } : undefined;
  const answer = await fetch(new URL(path, BASE), { ...init, headers });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, problem.detail ?? answer.statusText);
}

/** @returns {Promise<Stream[]>} */
export async function streams() {
  return (await (await ask("streams")).json()).streams;
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

/** Saves all that is kept of a stream as a file. @param {string} name @param {Parameters} parameters */
export async function download(name, parameters) {
  const path = address(name, [...parameters, ["tail", "all"], ["follow", "false"], ["format", "text"]]);
  const link = document.createElement("a");
  link.download = `${name}.log`;
  // A link sends no token, and a file need not fit into memory: each where the other does not serve.
  const whole = token() ? URL.createObjectURL(await (await ask(path)).blob()) : undefined;
  link.href = whole ?? new URL(path, BASE).href;
  link.click();
  if (whole) setTimeout(() => URL.revokeObjectURL(whole), 60_000);
}

/**
 * @param {string} name
 * @param {string} command with its parameters
 * @param {BodyInit} [body]
 */
export async function command(name, command, body) {
  await ask(`streams/${encodeURIComponent(name)}/${command}`, { method: "POST", body });
}
