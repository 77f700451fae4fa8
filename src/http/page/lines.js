// The lines that a view holds: a bounded piece of a stream, with the groups that its lines open and close.

import { Styles } from "./ansi.js";
import { edge } from "./groups.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */

/**
 * A named part of a log that can be folded.
 * @typedef {{ title: string, key: string, outer: Group | null, folded: boolean, lines: number, began: string, ended: string }} Group
 */

/**
 * A row. `group` is what it lies in; `head` what it begins; `height` is measured, 0 if it was not; `tail` closes a group;
 * `style` is what the lines before left open; `before` the time of the line before.
 * @typedef {{ event: LogEvent, before: string | undefined, style: import("./ansi.js").Style | undefined, group: Group | null, head: Group | null, tail: boolean, height: number }} Line
 */

/** Most lines in a view, and most characters in them; the others are on the server. Lines are dropped some at a time. */
export const LINES = 20_000;
const SLACK = 1000;
const CHARACTERS = 16_000_000;

/** Deepest nesting of groups, as the server has it. */
const DEPTH = 16;

/** @param {Group | null} group */
function isFolded(group) {
  for (let at = group; at; at = at.outer) if (at.folded) return true;
  return false;
}

/** Whether a line shows at all. @param {Line} line */
export function isHidden(line) {
  return line.tail || isFolded(line.group);
}

export class Lines {
  constructor() {
    /** @type {Line[]} */
    this.list = [];
    this.characters = 0;
    this.styles = new Styles();
    /** The innermost group that is open. @type {Group | null} */
    this.group = null;
    /** What is folded, by the id of its first line. @type {Map<string, boolean>} */
    this.folds = new Map();
  }

  /**
   * Adds events at the end, and drops the oldest there is no room for.
   * @param {LogEvent[]} events
   * @returns {number} how many lines were dropped
   */
  append(events) {
    for (const event of events) this.list.push(this.read(event));
    return this.trim(false);
  }

  /**
   * Adds events at the beginning, and drops the newest there is no room for.
   * @param {LogEvent[]} events
   * @returns {number} how many lines were dropped
   */
  prepend(events) {
    const old = this.list;
    const dropped = this.restart(events);
    const heights = new Map(old.map((line) => [line.event, line.height]));
    for (const { event } of old) this.list.push(this.read(event));
    for (const line of this.list) line.height = heights.get(line.event) ?? 0;
    return dropped + this.trim(true);
  }

  /** @param {LogEvent[]} events */
  restart(events) {
    this.list = [];
    this.characters = 0;
    this.styles = new Styles();
    this.group = null;
    return this.append(events);
  }

  /** @param {Group} group @param {boolean} folded @param {string} id */
  fold(group, folded, id) {
    group.folded = folded;
    this.folds.set(id, folded);
  }

  /** Unfolds what hides a line. @param {Line} line */
  reveal(line) {
    for (let at = line.group; at; at = at.outer) at.folded = false;
  }

  /** @param {LogEvent} event @returns {Line} */
  read(event) {
    const text = event.kind ? "" : event.text ?? "";
    this.characters += text.length;
    // What a run left open ends with it.
    if (event.kind === "end" || (event.kind === "state" && !event.note)) this.group = null;
    const line = { event, before: this.list.at(-1)?.event.time, style: this.styles.next(event), group: this.group, head: /** @type {Group | null} */ (null), tail: false, height: 0 };
    const found = edge(text);
    if (found?.title !== undefined) this.begin(line, found.key, found.title, found.folded ?? false);
    else if (found) this.end(line, found.key);
    else for (let at = line.group; at; at = at.outer) at.lines += 1;
    return line;
  }

  /** @param {Line} line @param {string} key @param {string} title @param {boolean} folded */
  begin(line, key, title, folded) {
    let depth = 0;
    for (let at = this.group; at; at = at.outer) depth += 1;
    if (depth >= DEPTH) return;
    const { id, time = "" } = line.event;
    line.head = { title, key, outer: this.group, folded: this.folds.get(id) ?? folded, lines: 0, began: time, ended: "" };
    this.group = line.head;
  }

  /** @param {Line} line @param {string} key */
  end(line, key) {
    let at = this.group;
    // Its end may be lost, so those inside end with it.
    while (at && key && at.key !== key) at = at.outer;
    line.tail = true;
    if (!at) return;
    at.ended = line.event.time ?? "";
    this.group = at.outer;
  }

  /** @param {boolean} newest whether the newest go, else the oldest */
  trim(newest) {
    let drop = this.list.length > LINES ? this.list.length - LINES + (newest ? 0 : SLACK) : 0;
    const at = (/** @type {number} */ n) => this.list[newest ? this.list.length - 1 - n : n].event.text?.length ?? 0;
    let size = this.characters;
    for (let n = 0; n < drop; n += 1) size -= at(n);
    for (; size > CHARACTERS && drop < this.list.length - 1; drop += 1) size -= at(drop);
    if (drop) this.list.splice(newest ? this.list.length - drop : 0, drop);
    this.characters = size;
    return drop;
  }
}
