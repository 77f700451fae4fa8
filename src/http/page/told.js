// What an event that is not a line tells people: what was missed, what the source does, how a run ended. One happening has one row.

import { duration } from "./progress.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {NonNullable<LogEvent["last"]>} RunEnd */

/** The reason of a state, where an operator stopped the process. */
const ON_REQUEST = "stopped on request";

/**
 * The text of an event that is not a line, and whether it is good (true), bad (false) or neither.
 * @param {LogEvent} event
 * @returns {[string, boolean | null]}
 */
export function told(event) {
  const { kind, missed, state = "", note, last } = event;
  if (kind === "gap" || kind === "loss") {
    const what = kind === "gap" ? "event" : "line";
    const many = typeof missed !== "number" ? `some ${what}s were missed` : `${missed.toLocaleString()} ${what}${missed === 1 ? " was" : "s were"} missed`;
    return [[missed === 0 ? "" : many, event.reason].filter(Boolean).join(": "), false];
  }
  if (kind === "end") return toldEnd(event);
  if (state === "running") return [note ?? `run ${event.run} started${event.pid ? `, process ${event.pid}` : ""}`, null];
  if (last && repeats(event)) return toldEnd(last);
  const word = state === "backing-off" ? "restarts soon" : state;
  const why = (event.reason ?? event.error ?? note ?? "").replace(/; the last run .*/, "");
  if (why.startsWith(word)) return [why, null];
  return [[word, last && reasonsOf(last).includes(why) ? "" : why].filter(Boolean).join(": "), state === "denied" ? false : null];
}

/** How a run ended. @param {RunEnd} end @returns {[string, boolean | null]} */
function toldEnd({ code, signal, cause, duration: seconds }) {
  const took = typeof seconds === "number" ? ` after ${duration(seconds)}` : "";
  if (cause === "stopped") return [ON_REQUEST + took, null];
  if (cause === "daemon-stopped") return [`stopped together with rtlogd${took}`, null];
  if (cause === "daemon-killed") return ["lost, since rtlogd was killed", false];
  if (code === 0) return [`finished${took}`, true];
  if (signal) return [`killed by signal ${signal}${took}`, false];
  return [typeof code === "number" ? `failed with exit code ${code}${took}` : `ended with an unknown status${took}`, false];
}

/** The reasons of a state that say no more than the end of the run. @param {RunEnd} end */
const reasonsOf = ({ code, signal, cause }) => [
  signal ? `was killed by signal ${signal}` : typeof code === "number" ? `exited with code ${code}` : "ended with an unknown status",
  cause === "stopped" ? ON_REQUEST : "",
];

/** Whether a state says only how the last run ended. @param {LogEvent} event */
const repeats = ({ state, last, reason = "" }) => state === "stopped" && !!last && reasonsOf(last).includes(reason);

/**
 * Whether an event tells nothing new, since the end of the run was shown.
 * @param {LogEvent} event
 * @param {LogEvent | undefined} end the last one of the stream
 */
export const isToldBy = (event, end) => !!end && event.last?.run === end.run && repeats(event);

/**
 * Whether the next event says all that this one announces: the process ended at once.
 * @param {LogEvent} event
 * @param {LogEvent} next
 */
export const announces = ({ state, stream }, next) => state === "stopping" && next.kind === "end" && next.stream === stream;
