// The lines that a view holds: a bounded piece of a stream, with the groups that its lines open and close.

import { Styles } from "./ansi.js";
import { Markers } from "./markers.js";
import { announces, isToldBy } from "./told.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */

/**
 * A named part of a log that can be folded. `folds` says that it is folded when it ends, unless the reader has decided; `lost`
 * says that its head is no longer among the lines: then it is not folded.
 * @typedef {{ title: string, key: string, outer: Group | null, folded: boolean, folds: boolean, dim: boolean, lines: number,
 *   errors: number, began: string, ended: string, line: Line, lost: boolean }} Group
 */

/**
 * A row. `group` is the group around it; `head` the one that it begins; `height` is measured, 0 if it was not; a line that is
 * `unseen` is for machines, or tells nothing new; `message` is what a line says to a build service; `style` is what the lines before left open;
 * `before` is the time of the line before; `tall` counts the lines of its text.
 * @typedef {{ event: LogEvent, before: string | undefined, style: import("./ansi.js").Style | undefined, group: Group | null,
 *   head: Group | null, message: import("./markers.js").Marker & { kind: "message" } | null, unseen: boolean, tall: number, height: number }} Line
 */

/** The most lines in a view, and the most characters in them; the server has the others. Lines are dropped in batches. */
export const LINES = 20_000;
const SLACK = 1000;
const CHARACTERS = 16_000_000;

/** The number of characters of a line that are drawn until the reader asks for more. */
export const LONG = 10_000;

/** The levels of lines that say that something failed. */
export const ERRORS = new Set(["error", "critical", "alert", "emergency"]);

/** The deepest nesting of groups, as on the server. */
const DEPTH = 16;

/** @param {Group | null} group */
function isFolded(group) {
  for (let at = group; at; at = at.outer) if (at.folded) return true;
  return false;
}

/** How many groups are around a line. @param {Line | undefined} line */
export function depthOf(line) {
  let depth = 0;
  for (let at = line?.group; at; at = at.outer) depth += 1;
  return depth;
}

/** Whether a line is not shown at all. @param {Line} line */
export function isHidden(line) {
  return line.unseen || isFolded(line.group);
}

export class Lines {
  /** @param {number} [capacity] how many lines are kept */
  constructor(capacity = LINES) {
    this.capacity = capacity;
    /** @type {Line[]} */
    this.list = [];
    this.characters = 0;
    this.styles = new Styles();
    /** The markers of each stream. @type {Map<unknown, Markers>} */
    this.markers = new Map();
    /** The innermost group that is open, of each stream. @type {Map<unknown, Group | null>} */
    this.groups = new Map();
    /** When the last run of each stream began. @type {Map<unknown, string>} */
    this.begun = new Map();
    /** How the last run of each stream ended, if none has begun since. @type {Map<unknown, LogEvent>} */
    this.ends = new Map();
    /** The heads of groups that have changed since somebody looked. @type {Set<Line>} */
    this.changed = new Set();
    /** Called when all lines were read again. */
    this.onreread = () => {};
    /** What is folded, by the id of its first line. @type {Map<string, boolean>} */
    this.folds = new Map();
  }

  /**
   * Adds events at the end, and drops the oldest ones if there are too many.
   * @param {LogEvent[]} events
   * @returns {number} how many lines were dropped
   */
  append(events) {
    const known = this.signs();
    for (const event of events) this.list.push(this.read(event));
    // Headings came before the line that shows that they are headings.
    if (this.signs() > known) this.reread();
    return this.trim(false);
  }

  /** How many streams have shown that they have headings. */
  signs() {
    return [...this.markers.values()].filter(({ buildkite }) => buildkite).length;
  }

  /** Reads all lines again, since their meaning is known only now. */
  reread() {
    const old = this.list;
    this.empty();
    for (const { event } of old) this.list.push(this.read(event));
    this.onreread();
  }

  /** Forgets what is known of one stream, before another one is shown. */
  forget() {
    this.folds.clear();
    this.markers.clear();
  }

  /**
   * Adds events at the beginning, and drops the newest ones if there are too many.
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
    this.empty();
    return this.append(events);
  }

  empty() {
    this.list = [];
    this.characters = 0;
    this.styles = new Styles();
    for (const [stream, { buildkite }] of this.markers) this.markers.set(stream, Object.assign(new Markers(), { buildkite }));
    this.groups.clear();
    this.begun.clear();
    this.ends.clear();
    this.changed.clear();
  }

  /** @param {Group} group @param {boolean} folded @param {string} id */
  fold(group, folded, id) {
    group.folded = folded;
    group.folds = false;
    this.folds.set(id, folded);
  }

  /** Unfolds what hides a line. @param {Line} line */
  reveal(line) {
    for (let at = line.group; at; at = at.outer) at.folded = at.folds = false;
  }

  /** @param {LogEvent} event @returns {Line} */
  read(event) {
    const text = event.kind ? "" : event.text ?? "";
    this.characters += text.length;
    // Groups that a run left open end with it.
    if (event.kind === "end" || (event.kind === "state" && !event.note)) {
      const end = this.endOf(event);
      for (let at = this.groups.get(event.stream); at; at = at.outer) this.close(at, end, false);
      if (event.state === "running") this.begun.set(event.stream, event.time ?? "");
    }
    const told = isToldBy(event, this.ends.get(event.stream));
    if (event.kind === "end") this.ends.set(event.stream, event);
    else if (event.state === "running" && !event.note) this.ends.delete(event.stream);
    const before = this.list.at(-1);
    if (before && announces(before.event, event)) before.unseen = true;
    /** @type {Line} */
    const line = { event, before: before?.event.time, style: this.styles.next(event), group: this.groups.get(event.stream) ?? null, head: null, message: null, unseen: told, tall: 1, height: 0 };
    const markers = this.markers.get(event.stream) ?? new Markers();
    this.markers.set(event.stream, markers);
    const marker = text ? markers.read(text) : null;
    if (marker?.kind === "begin") {
      this.begin(line, marker);
      return line;
    }
    if (marker?.kind === "message") line.message = marker;
    else if (marker) line.unseen = true;
    const shown = line.message?.text ?? text;
    if (shown.includes("\n")) line.tall = shown.slice(0, LONG).replace(/\n$/, "").split("\n").length;
    if (marker?.kind === "end") this.end(event, marker.key);
    else if (marker?.kind === "expand" && line.group) line.group.folded = line.group.folds = false;
    else if (!line.unseen) this.count(line.group, ERRORS.has(event.level ?? ""));
    return line;
  }

  /** The end of a run, when it was: its event comes only after the rest of the output was awaited. @param {LogEvent} event */
  endOf(event) {
    const { duration, stream, time = "" } = event;
    const at = Date.parse(this.begun.get(stream) ?? "") + Number(duration) * 1000;
    return at < Date.parse(time) ? { ...event, time: new Date(at).toISOString() } : event;
  }

  /** @param {Group | null} group @param {boolean} error */
  count(group, error) {
    for (let at = group; at; at = at.outer) {
      at.lines += 1;
      if (error) at.errors += 1;
      if (error || at.folded) this.changed.add(at.line);
    }
  }

  /** @param {Line} line @param {import("./markers.js").Marker & { kind: "begin" }} marker */
  begin(line, { key, title, folded = false, ends = "", lasts = false, dim = false }) {
    if (ends) this.end(line.event, ends);
    line.group = this.groups.get(line.event.stream) ?? null;
    if (depthOf(line) >= DEPTH) {
      line.message = { kind: "message", style: "section", text: title };
      return;
    }
    const { id, time = "" } = line.event;
    const chosen = this.folds.get(id);
    // A step that may still fail stays visible until it has ended.
    const folds = lasts && folded && chosen === undefined;
    line.head = { title, key, outer: line.group, folded: chosen ?? (folded && !lasts), folds, dim, lines: 0, errors: 0, began: time, ended: "", line, lost: false };
    this.groups.set(line.event.stream, line.head);
  }

  /** @param {LogEvent} event @param {string} key */
  end(event, key) {
    let at = this.groups.get(event.stream) ?? null;
    // The end of an inner group may be lost, so that it ends with the one around it.
    while (at && key && at.key !== key) at = at.outer;
    if (at) this.close(at, event);
  }

  /** @param {Group} group @param {LogEvent} event @param {boolean} [folds] */
  close(group, { time = "", stream }, folds = true) {
    for (let at = this.groups.get(stream); at && at !== group.outer; at = at.outer) {
      at.ended = time;
      at.folded ||= folds && at.folds;
      this.changed.add(at.line);
    }
    this.groups.set(stream, group.outer);
  }

  /** @param {boolean} newest whether the newest go, else the oldest */
  trim(newest) {
    let drop = Math.max(0, this.list.length - this.capacity);
    if (drop && !newest && this.capacity > SLACK) drop += SLACK;
    const at = (/** @type {number} */ n) => this.list[newest ? this.list.length - 1 - n : n].event.text?.length ?? 0;
    let size = this.characters;
    for (let n = 0; n < drop; n += 1) size -= at(n);
    for (; size > CHARACTERS && drop < this.list.length - 1; drop += 1) size -= at(drop);
    for (const { head } of drop ? this.list.splice(newest ? this.list.length - drop : 0, drop) : []) {
      if (!head) continue;
      head.lost = true;
      // Nothing is left that could unfold it.
      head.folded = head.folds = false;
      this.changed.add(head.line);
    }
    this.characters = size;
    return drop;
  }
}
