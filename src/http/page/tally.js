// How many errors and warnings there are, and where the next ones are, however far from what is loaded.

import { button, part } from "./icons.js";
import { ERRORS } from "./lines.js";
import { count, make, numberOf } from "./rows.js";
import { read } from "./server.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */
/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./server.js").Parameters} Parameters */
/** @typedef {"error" | "warning"} Kind */

/** The most lines that are counted; of more it is only said that there are more. */
const MOST = 1000;

/** Lines that are read at once to find a warning among errors, and how often that is done before giving up. */
const PIECE = 200;
const PIECES = 50;

/** The kind of a line, if it is of one. @param {LogEvent} event @returns {Kind | null} */
export function kindOf({ kind, level = "" }) {
  if (kind) return null;
  return ERRORS.has(level) ? "error" : level === "warning" ? "warning" : null;
}

export class Tally {
  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    /** Counts what was begun, so that late answers are known. */
    this.turn = 0;
    /** The lines that were counted, by id, and whether there are more of them; `null` until the server has answered. */
    this.error = /** @type {Set<string> | null} */ (null);
    this.warning = /** @type {Set<string> | null} */ (null);
    this.more = { error: false, warning: false };
    /** What came live before the answer. @type {LogEvent[]} */
    this.early = [];
    /** The id of the event with which the last run of each stream began; empty if there are no runs. @type {Map<string, string>} */
    this.starts = new Map();
    const made = (/** @type {Kind} */ kind) => {
      const about = button(kind, "", () => this.go(kind, false));
      about.classList.add("named", "count");
      about.append(make("span", "many"));
      const group = make("span", `tally ${kind}`);
      const [next, previous] = kind === "error" ? ["e", "E"] : ["a", "A"];
      group.append(about, button("older", `Previous ${kind} (${previous})`, () => this.go(kind, true)), button("newer", `Next ${kind} (${next})`, () => this.go(kind, false)));
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", `${kind}s`);
      return { group, about };
    };
    this.parts = { error: made("error"), warning: made("warning") };
    part("span", "tallies").append(this.parts.error.group, this.parts.warning.group);
    this.show();
  }

  /** Counts from the beginning of the last run, or all lines that are kept where there are no runs. */
  async begin() {
    this.turn += 1;
    const { turn, viewer } = this;
    [this.error, this.warning, this.early] = [null, null, []];
    this.more = { error: false, warning: false };
    this.show();
    try {
      const counted = await Promise.all(viewer.names.map((name) => this.count(name)));
      if (turn !== this.turn) return;
      [this.error, this.warning] = [new Set(), new Set()];
      this.starts = new Map(counted.map(({ name, start }) => [name, start]));
      for (const { events, more } of counted) {
        for (const event of events) this[kindOf(event) ?? "error"]?.add(event.id);
        this.more = { error: this.more.error || more.error, warning: this.more.warning || more.warning };
      }
      this.add(this.early.splice(0));
    } catch {
      // The number stays unknown; the view itself says what is wrong.
    }
    if (turn === this.turn) this.show();
  }

  /** Counts one stream. @param {string} name */
  async count(name) {
    const { viewer } = this;
    const start = await viewer.lastStart(name);
    const asked = (/** @type {string} */ level) => /** @type {Parameters} */ ([start ? ["after", start] : ["tail", "all"], ["limit", String(MOST)], ["grep", viewer.filter], ["level", level], ["run", viewer.run]]);
    const all = lines(await read(name, asked("warning")));
    // Where the warnings are too many, the errors may still be few.
    const errors = all.length < MOST ? all : lines(await read(name, asked("error")));
    const more = { error: errors !== all && errors.length >= MOST, warning: all.length >= MOST };
    const found = [...errors.filter((event) => kindOf(event) === "error"), ...all.filter((event) => kindOf(event) === "warning")];
    const prefix = viewer.merged ? `${name}:` : "";
    return { name, start: start && prefix + start, more, events: found.map((event) => ({ ...event, id: prefix + event.id })) };
  }

  /** Counts what came live. @param {LogEvent[]} events */
  add(events) {
    if (!this.error || !this.warning) {
      this.early.push(...events.filter((event) => kindOf(event) || isStart(event)));
      // Too many to be counted now: they are counted by the server.
      if (this.early.length > 10 * MOST) this.begin();
      return;
    }
    for (const event of events) {
      const name = String(event.stream ?? this.viewer.name);
      const start = this.starts.get(name) ?? "";
      if (isStart(event) && event.id !== start && !isBefore(event.id, start)) {
        this.starts.set(name, event.id);
        if (this.viewer.merged) return void this.begin();
        [this.error, this.warning] = [new Set(), new Set()];
        this.more = { error: false, warning: false };
      }
      const kind = kindOf(event);
      const counted = kind && this[kind];
      if (!kind || !counted || isBefore(event.id, start)) continue;
      if (counted.size < MOST) counted.add(event.id);
      else if (!counted.has(event.id)) this.more[kind] = true;
    }
    this.show();
  }

  show() {
    for (const kind of /** @type {const} */ (["error", "warning"])) {
      const { group, about } = this.parts[kind];
      const counted = this[kind];
      const label = about.lastElementChild;
      const more = this.more[kind];
      const text = !counted ? `${kind}s` : more ? `${counted.size.toLocaleString()}+ ${kind}s` : count(counted.size, kind);
      const [number, word] = counted ? text.split(" ") : ["", text];
      if (label && label.textContent !== text) label.replaceChildren(number, make("span", "word", number ? ` ${word}` : word));
      group.dataset.some = String(!counted || counted.size > 0 || more);
      const where = `${this.viewer.run ? "in this run" : [...this.starts.values()].some(Boolean) ? "in the last run" : "in all kept lines"}${this.viewer.filter ? ", among the lines that match the filter" : ""}`;
      about.title = `${text} ${where}`;
      about.setAttribute("aria-label", `${text} ${where}; go to the next one`);
      // What the level hides is neither shown nor counted live.
      group.hidden = kind === "warning" && this.viewer.level === "error";
    }
  }

  /** Goes to the next or previous line of a kind, from the one that is chosen or in sight. @param {Kind} kind @param {boolean} older */
  async go(kind, older) {
    const { viewer } = this;
    const { view } = viewer;
    const here = viewer.chosen || (view.follow ? "" : view.anchor?.line.event.id ?? "");
    await viewer.reach(async () => {
      const found = await viewer.nearest(older, here, (name, from) => this.find(name, kind, older, here, from));
      return () => {
        if (found) viewer.goTo(found.id).then(() => viewer.onplace());
        else viewer.say(here ? `There is no ${older ? "earlier" : "later"} ${kind}.` : `No line ${viewer.run ? "of this run " : [...this.starts.values()].some(Boolean) ? "of the last run " : ""}is marked as ${kind === "error" ? "an error" : "a warning"}.`);
      };
    });
  }

  /**
   * The next line of a kind in one stream; without a place, only in its last run.
   * @param {string} name
   * @param {Kind} kind
   * @param {boolean} older
   * @param {string} here
   * @param {Parameters} from
   * @returns {Promise<LogEvent | undefined>}
   */
  async find(name, kind, older, here, from) {
    const size = kind === "error" ? 1 : PIECE;
    const start = here ? "" : await this.viewer.lastStart(name);
    if (start && !older) from = [["after", start]];
    for (let piece = 0; piece < PIECES; piece += 1) {
      const events = lines(await read(name, [...from, ...(older ? [/** @type {[string, string]} */ (["tail", String(size)])] : []), ["limit", String(size)], ["grep", this.viewer.filter], ["level", kind], ["run", this.viewer.run]]));
      const match = older ? events.findLast((event) => kindOf(event) === kind) : events.find((event) => kindOf(event) === kind);
      if (match || events.length < size) return match && isBefore(match.id, start) ? undefined : match;
      from = [older ? ["before", events[0].id] : ["after", events[events.length - 1].id]];
    }
    return undefined;
  }
}

/** @param {LogEvent[]} events */
const lines = (events) => events.filter(({ kind }) => !kind);

/** Whether a run begins with it. @param {LogEvent} event */
export const isStart = ({ kind, state, note }) => kind === "state" && state === "running" && !note;

/** Whether an event is before another one of the same numbering. @param {string} id @param {string} other */
function isBefore(id, other) {
  const epoch = other.slice(0, other.lastIndexOf("-") + 1);
  return epoch !== "" && id.startsWith(epoch) && numberOf(id) < numberOf(other);
}
