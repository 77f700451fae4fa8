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
    /** The id of the event with which the last run began; empty if there are no runs. */
    this.start = "";
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
    [this.error, this.warning, this.early, this.start] = [null, null, [], ""];
    this.more = { error: false, warning: false };
    this.show();
    try {
      this.start = await viewer.lastStart();
      /** @type {Parameters} */
      const from = this.start ? [["after", this.start]] : [["tail", "all"]];
      const most = /** @type {Parameters} */ ([["limit", String(MOST)]]);
      const grep = /** @type {Parameters} */ ([["grep", viewer.filter]]);
      const all = lines(await read(viewer.name, [...from, ...most, ...grep, ["level", "warning"]]));
      // Where the warnings are too many, the errors may still be few.
      const errors = all.length < MOST ? all : lines(await read(viewer.name, [...from, ...most, ...grep, ["level", "error"]]));
      if (turn !== this.turn) return;
      this.more = { error: errors !== all && errors.length >= MOST, warning: all.length >= MOST };
      const ids = (/** @type {LogEvent[]} */ events, /** @type {Kind} */ kind) => new Set(events.filter((event) => kindOf(event) === kind).map(({ id }) => id));
      [this.error, this.warning] = [ids(errors, "error"), ids(all, "warning")];
      this.add(this.early.splice(0));
    } catch {
      // The number stays unknown; the view itself says what is wrong.
    }
    if (turn === this.turn) this.show();
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
      if (isStart(event) && event.id !== this.start && !isBefore(event.id, this.start)) {
        [this.error, this.warning, this.start] = [new Set(), new Set(), event.id];
        this.more = { error: false, warning: false };
      }
      const kind = kindOf(event);
      const counted = kind && this[kind];
      if (!kind || !counted || isBefore(event.id, this.start)) continue;
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
      const where = `${this.start ? "in the last run" : "in all lines that are kept"}${this.viewer.filter ? ", of those that match the filter" : ""}`;
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
      const found = await this.find(kind, older, here);
      return () => {
        if (found) viewer.goTo(found.id).then(() => viewer.onplace());
        else viewer.say(here ? `There is no ${older ? "earlier" : "later"} ${kind}.` : `No line ${this.start ? "of the last run " : ""}is marked as ${kind === "error" ? "an error" : "a warning"}.`);
      };
    });
  }

  /** @param {Kind} kind @param {boolean} older @param {string} here @returns {Promise<LogEvent | undefined>} */
  async find(kind, older, here) {
    const { viewer } = this;
    const size = kind === "error" ? 1 : PIECE;
    const start = here ? "" : await viewer.lastStart();
    for (let piece = 0; piece < PIECES; piece += 1) {
      /** @type {Parameters} */
      const from = older
        ? [...(here ? [/** @type {[string, string]} */ (["before", here])] : []), ["tail", String(size)], ["limit", String(size)]]
        : [here || start ? ["after", here || start] : ["tail", "all"], ["limit", String(size)]];
      const events = lines(await read(viewer.name, [...from, ["grep", viewer.filter], ["level", kind]]));
      const match = older ? events.findLast((event) => kindOf(event) === kind) : events.find((event) => kindOf(event) === kind);
      if (match || events.length < size) return match && (here || !isBefore(match.id, start)) ? match : undefined;
      here = (older ? events[0] : events[events.length - 1]).id;
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
