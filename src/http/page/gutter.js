// The cells before the text of a line on the page, and the text that is copied of the line.

import { plain } from "./ansi.js";
import { TAGS } from "./markers.js";
import { exactly, make, numberOf, stamp } from "./rows.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./lines.js").Line} Line */

/** What stands before the text. @typedef {{ numbers: boolean, times: boolean, origins: boolean, utc: boolean, streams: string[] }} Shown */

/** @param {LogEvent | undefined} event none for a row that the program can still change @param {Shown} shown @param {string} [stream] that of the row */
export function gutter(event, { numbers, times, origins, utc, streams }, stream = String(event?.stream ?? "")) {
  const cells = [];
  if (numbers) {
    const number = make("a", "number", event ? String(numberOf(event.id)) : "0");
    if (event) number.setAttribute("href", `#${event.id}`);
    number.tabIndex = -1;
    cells.push(number);
  }
  if (times) {
    const at = event?.time ? stamp(event.time, utc) : "";
    const time = make("time", "time", at.slice(11, 23) || "00:00:00.000");
    if (event?.time) {
      time.title = exactly(event.time, utc);
      time.setAttribute("datetime", event.time);
    }
    cells.push(time);
  }
  if (streams.length) {
    const cell = make("span", `name hue${streams.indexOf(stream) % 6}`, stream);
    cell.title = stream;
    cells.push(cell);
  }
  if (origins) {
    const origin = make("span", "origin", event?.origin?.replace(/^.*\//, "") ?? "");
    origin.title = event?.origin ?? "";
    cells.push(origin);
  }
  return cells;
}

/** What a line shows, as text. @param {Line} line */
export function shownText({ event, head, message }) {
  if (head) return plain(head.title);
  if (!message) return plain(event.text ?? "");
  return [TAGS[message.style], message.place, message.title, plain(message.text)].filter(Boolean).join(": ");
}
