// How a row of a log is made: what stands before the text, the text, and notes of what happened to the stream.

import { draw, plain } from "./ansi.js";
import { LONG, depthOf } from "./lines.js";
import { TAGS } from "./markers.js";
import { duration } from "./progress.js";
import { told } from "./told.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./lines.js").Line} Line */
/** @typedef {import("./lines.js").Group} Group */

/** The most characters of a line that are ever drawn; a copy contains the rest. */
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

/** The text of the button that leads to the end: lines that have arrived since the reader left it are new. @param {number} fresh */
export const jumpText = (fresh) => (fresh ? `${fresh.toLocaleString()} new ${fresh === 1 ? "line" : "lines"}` : "Jump to the end");

/** @param {LogEvent} event */
export function rowOf(event) {
  const row = make("div", "row");
  row.dataset.id = event.id;
  if (event.level) row.dataset.level = event.level;
  if (event.origin === "stderr") row.dataset.origin = "stderr";
  return row;
}

/** Makes a row for an event that is not a line. @param {HTMLElement} row @param {LogEvent} event */
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

/** A row that a program can still change. @param {HTMLElement[]} cells what stands before the text of a line @param {string} text @param {RegExp | null} mark */
export function liveRow(cells, text, mark) {
  const row = make("div", "row");
  row.append(...cells, textCell(text, mark));
  return row;
}

/**
 * The number in an id.
 * @param {string} id
 */
export function numberOf(id) {
  return Number(id.slice(id.lastIndexOf("-") + 1));
}

/** A time as the reader's clock or UTC has it, in the form of ISO 8601. @param {string} time @param {boolean} utc */
export function stamp(time, utc) {
  const date = new Date(time);
  return new Date(date.getTime() - (utc ? 0 : date.getTimezoneOffset() * 60_000)).toISOString();
}

/** A time with its date and zone, for people. @param {string} time @param {boolean} utc */
export function exactly(time, utc) {
  const at = stamp(time, utc);
  const zone = new Date(time).toLocaleTimeString("en", { timeZoneName: "longOffset" }).replace(/.*GMT/, "UTC");
  return `${at.slice(0, 10)} ${at.slice(11, 23)} ${utc ? "UTC" : `${zone}, ${Intl.DateTimeFormat().resolvedOptions().timeZone}`}`;
}

/**
 * The row of a line, whatever it is.
 * @param {Line} line
 * @param {HTMLElement[]} cells what stands before the text
 * @param {boolean} utc whether days begin at midnight in UTC
 * @param {RegExp | null} mark
 * @param {import("./ansi.js").Style | undefined} style in which it begins
 * @param {(row: HTMLElement) => void} [grown] called when more of it is shown
 */
export function lineRow(line, cells, utc, mark, style, grown) {
  const { event, head, message, before } = line;
  const row = rowOf(event);
  const depth = depthOf(line);
  const day = event.time ? stamp(event.time, utc).slice(0, 10) : "";
  if (day && (!before || stamp(before, utc).slice(0, 10) !== day)) row.dataset.day = day;
  // A rule separates days and runs from those before them.
  if (before && (row.dataset.day || (event.kind === "state" && event.run && event.state === "running" && !event.note))) row.classList.add("rule");
  if (depth) row.style.setProperty("--depth", String(depth));
  row.append(...cells);
  if (event.kind) note(row, event);
  else if (head) fold(row, head);
  else if (message) row.append(messageCell(message, mark));
  else row.append(textCell(event.text ?? "", mark, style, () => grown?.(row)));
  return row;
}

/** Makes a row the head of a group. What it says of the group is in columns, so that durations can be compared. @param {HTMLElement} row @param {Group} group */
function fold(row, { title, folded, dim, lines, errors, began, ended, lost }) {
  const button = /** @type {HTMLButtonElement} */ (make("button", dim ? "fold dim" : "fold", plain(title)));
  button.setAttribute("aria-expanded", String(!folded));
  button.disabled = lost;
  const took = (Date.parse(ended) - Date.parse(began)) / 1000;
  const lasted = took >= 0.1 ? duration(took) : "";
  row.classList.add("head");
  row.append(button);
  if (errors) row.append(make("span", "took failed", count(errors, "error")));
  if (folded) row.append(make("span", "took", count(lines, "line")));
  if (errors || folded || lasted) row.append(make("span", "took lasted", lasted));
}

/** @param {number} many @param {string} what */
export const count = (many, what) => `${many.toLocaleString()} ${what}${many === 1 ? "" : "s"}`;

/** @param {import("./markers.js").Marker & { kind: "message" }} message @param {RegExp | null} mark */
function messageCell({ style, text, title, place }, mark) {
  const cell = make("span", `text say ${style}`);
  const add = (/** @type {string} */ name, /** @type {string | false | undefined} */ part) => part && cell.append(make("span", name, part), " ");
  add("tag", TAGS[style]);
  add("place", place);
  add("bold", title);
  cell.append(draw(text.slice(0, LONG), mark));
  return cell;
}
