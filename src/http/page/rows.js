// How a row of a log is made: what stands before the text, the text, and notes of what happened to the stream.

import { draw } from "./ansi.js";
import { duration } from "./progress.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */

/** Characters of a line that are drawn unasked. */
export const LONG = 10_000;

/** Most that is drawn of a line at all; a copy has the rest. */
const DRAWN = 300_000;

/**
 * @param {string} tag
 * @param {string} name
 * @param {string} [text]
 */
export function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/**
 * What a numbered event that is no line says, and whether it is good (true), bad (false) or neither.
 * @param {LogEvent} event
 * @returns {[string, boolean | null]}
 */
export function told(event) {
  const { kind, missed, code, signal, state, note, cause } = event;
  if (kind === "gap" || kind === "loss") {
    const many = typeof missed === "number" ? `${missed.toLocaleString()} ${missed === 1 ? "line was" : "lines were"} missed` : "some lines were missed";
    return [event.reason ? `${many}: ${event.reason}` : many, false];
  }
  if (kind === "end") {
    const took = typeof event.duration === "number" ? ` after ${duration(event.duration)}` : "";
    if (cause === "stopped" || cause === "daemon-stopped") return [`stopped${took}`, null];
    if (code === 0) return [`finished${took}`, true];
    return [signal ? `killed by signal ${signal}${took}` : `failed${typeof code === "number" ? ` with exit code ${code}` : ""}${took}`, false];
  }
  if (state === "running") return [note ?? `run ${event.run} started${event.pid ? `, process ${event.pid}` : ""}`, null];
  const word = state === "backing-off" ? "restarts soon" : state;
  return [[word, event.reason ?? event.error ?? note].filter(Boolean).join(": "), state === "denied" ? false : null];
}

/** What leads to the end says: only lines that came since the reader left it are new. @param {number} fresh */
export const jumpText = (fresh) => (fresh ? `${fresh.toLocaleString()} new ${fresh === 1 ? "line" : "lines"}` : "To the end");

/** @param {LogEvent} event */
export function rowOf(event) {
  const row = make("div", "row");
  row.dataset.id = event.id;
  if (event.level) row.dataset.level = event.level;
  if (event.origin === "stderr") row.dataset.origin = "stderr";
  return row;
}

/** Makes a row tell of what is no line. @param {HTMLElement} row @param {LogEvent} event */
export function note(row, event) {
  const [text, good] = told(event);
  row.classList.add("note", good === null ? "plain" : good ? "good" : "bad");
  row.append(make("span", "text", text));
}

/**
 * @param {string} text
 * @param {RegExp | null} mark
 * @param {import("./ansi.js").Style} [style] in which it begins
 * @param {() => void} [grown] called when more of it is shown
 */
export function textCell(text, mark, style, grown) {
  const shown = make("span", "text");
  shown.append(draw(text.slice(0, LONG), mark, style));
  if (text.length > LONG) {
    const more = make("button", "more", `show all ${text.length.toLocaleString()} characters`);
    more.addEventListener("click", () => {
      shown.replaceChildren(draw(text.slice(0, DRAWN), mark, style));
      grown?.();
    });
    shown.append(more);
  }
  return shown;
}

