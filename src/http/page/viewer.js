// One stream or several as one, live or anywhere in the history: reads the lines that the view shows, and fills the header.

import { pattern } from "./ansi.js";
import { LogView } from "./logview.js";
import { bar, words } from "./progress.js";
import { jumpText, make, numberOf } from "./rows.js";
import { messageOf } from "./channel.js";
import { Merged, before, nameOf } from "./merged.js";
import { channel, read, Refused } from "./server.js";
import { activity, how, pastRun } from "./streams.js";
import { part } from "./icons.js";
import { Tally, isStart } from "./tally.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./channel.js").Progress} Progress */
/** @typedef {import("./server.js").Stream} Stream */
/** @typedef {import("./server.js").Parameters} Parameters */
/** @typedef {import("./server.js").Run} Run */

/** The number of lines that are shown at first, and that are read at once when more are needed. */
const TAIL = 500;
const PAGE = 1000;

/** The number of lines that are read before the line that a link leads to. */
const CONTEXT = 200;

export class Viewer {
  constructor() {
    this.view = new LogView("Log");
    this.view.element.classList.add("numbers");
    part("div", "stage").prepend(this.view.element);
    this.bar = bar("Progress");
    this.figures = make("div", "figures");
    part("div", "progress").append(this.bar.track, this.figures);
    /** The streams that are shown; none, one or several. @type {string[]} */
    this.names = [];
    /** Whether the stream was said to have ended. */
    this.hasEnded = false;
    /** Reads several as one. @type {Merged | null} */
    this.merged = null;
    this.filter = "";
    this.level = "";
    /** The run that is shown, by its number or as `run=` names it; empty for all. */
    this.run = "";
    /** Whether that run is not in progress, or not known. */
    this.isPast = false;
    /** What was said of the state. */
    this.state = "";
    /** The pattern of the search, whose matches are marked instead of those of the filter. @type {RegExp | null} */
    this.sought = null;
    /** @type {Progress | null} */
    this.progress = null;
    /** Grows with each place that is opened, so that late answers can be recognised. */
    this.turn = 0;
    this.reading = false;
    this.oldest = false;
    /** Called when the address changes. @type {() => void} */
    this.onplace = () => {};
    this.jump = part("button", "jump");
    this.jump.addEventListener("click", () => this.followNow());
    this.view.onchange = () => this.showFollow();
    this.view.onresume = () => (this.view.detached ? this.live() : this.view.toEnd());
    this.view.onolder = () => this.older();
    this.view.onnewer = () => this.newer();
    this.view.onchoose = (event, extend) => this.choose(event, extend);
    this.tally = new Tally(this);
    setInterval(() => this.showProgress(), 1000);
  }

  /** The name of what is shown; empty if nothing is. */
  get name() {
    return this.names.join(" + ");
  }

  /** The events in the view. */
  get events() {
    return this.view.lines.list.map(({ event }) => event);
  }

  /** The parameters with which the streams are read. @returns {Parameters} */
  get filters() {
    return [["grep", this.filter], ["level", this.level], ["run", this.run]];
  }

  /**
   * @param {string[]} names
   * @param {string} filter
   * @param {string} level
   * @param {string} id a line to go to
   * @param {string} run the run of the only stream; empty for all
   */
  open(names, filter, level, id, run) {
    if (names.join() !== this.names.join()) {
      this.progress = null;
      this.view.lines.forget();
    }
    Object.assign(this, { names, filter, level, run: names.length > 1 ? "" : run, isPast: names.length < 2 && run !== "" });
    const { name } = this;
    this.merged = names.length > 1 ? new Merged(names, () => this.filters) : null;
    this.view.setStreams(this.merged ? names : []);
    this.view.selected = null;
    this.view.element.setAttribute("aria-label", `Log of ${name}`);
    part("h1", "name").textContent = name;
    this.showProgress();
    this.remark();
    if (id) this.goTo(id);
    else this.live();
  }

  close() {
    this.turn += 1;
    this.subscription?.close();
    this.names = [];
    document.title = "rtlogd";
  }

  remark() {
    this.view.filtered = this.filter !== "" || this.level !== "";
    this.view.mark = this.sought ?? (this.filter ? pattern(this.filter) : null);
    this.view.redraw();
  }

  /** Shows the newest lines, and follows. */
  live() {
    this.turn += 1;
    this.oldest = false;
    this.view.restart([], true);
    if (this.merged) this.liveMerged(this.merged);
    else this.attach(undefined);
    this.explain();
  }

  /** Shows the newest lines of several streams. @param {Merged} merged */
  async liveMerged(merged) {
    this.subscription?.close();
    await this.reach(async () => {
      const events = await merged.newest(TAIL);
      return () => {
        this.view.restart(events, true);
        this.attach(undefined);
      };
    });
  }

  /** Says so if there is no line to show. */
  async explain() {
    const { turn } = this;
    const wanted = this.filter || this.level;
    const newest = (/** @type {string} */ name) => read(name, [["tail", "1"], ["limit", "1"], ...this.filters]).catch(() => null);
    const found = await Promise.all(this.names.map(newest));
    if (turn !== this.turn || found.some((events) => !events || events.some(({ kind }) => !kind))) return;
    const text = wanted ? `No line ${this.run ? "of this run " : ""}matches.` : `${this.run ? "This run has" : "There are"} no lines yet.`;
    this.view.showEmpty(wanted && !this.run ? `${text} New lines that match will appear here.` : text);
  }

  /** What is wrong with a filter, in the server's words; empty if nothing is. @param {string} filter */
  async mistake(filter) {
    try {
      if (filter) await read(this.names[0], [["tail", "0"], ["grep", filter]]);
      return "";
    } catch (error) {
      return error instanceof Refused && error.status === 400 ? error.message : "";
    }
  }

  /**
   * Receives live lines, after an event or from the newest lines on. If the view is at an earlier place, they are only counted.
   * @param {string | undefined} after
   * @param {number} [tail]
   */
  attach(after, tail = TAIL) {
    this.subscription?.close();
    this.say("");
    /** @type {import("./channel.js").Wanted} */
    const wanted = { stream: this.names[0], grep: this.filter ? [this.filter] : [], level: this.level || undefined, run: this.run || undefined };
    if (after) wanted.after = after;
    else wanted.tail = tail;
    /** @type {import("./channel.js").Sink} */
    const sink = {
      events: (events) => {
        this.view.append(events);
        this.merged?.note(this.events, false);
        this.tally.add(events);
      },
      gap: (gap) => {
        this.view.append([{ ...gap, id: gap.resume, kind: "gap" }]);
        this.tally.begin();
      },
      open: (rows, streams) => this.view.showOpen(this.view.detached ? [] : rows, streams),
      progress: (progress) => {
        this.progress = progress;
        this.showProgress();
      },
      begun: () => {
        // What was said of its end does not hold any more.
        if (this.hasEnded) this.say("");
        this.hasEnded = false;
      },
      ended: (reason) => {
        this.hasEnded = true;
        // The last line of a run says how it ended.
        this.say(reason ?? (this.run ? "" : "The stream has ended."));
      },
      failed: (error) => this.say(error.message),
    };
    this.subscription = this.merged ? this.merged.subscribe(wanted, sink, tail > 0) : channel.subscribe(wanted, sink);
    this.tally.begin();
  }

  followNow() {
    this.view.selected = null;
    this.onplace();
    if (this.view.detached) this.live();
    else this.view.toEnd();
    this.view.element.focus({ preventScroll: true });
  }

  toggle() {
    if (this.view.follow) this.view.pause();
    else this.followNow();
  }

  /** Reads lines before those in the view. */
  async older() {
    const first = this.view.lines.list[0]?.event;
    if (this.reading || this.oldest || !first) return;
    await this.reach(async () => {
      const events = this.merged ? await this.merged.older(PAGE) : await read(this.name, [["before", first.id], ["tail", String(PAGE)], ...this.filters]);
      return () => {
        const older = events.filter(({ kind }) => kind !== "gap");
        this.oldest = older.length === 0;
        if (older.length) this.view.prepend(older);
        this.merged?.note(this.events, true);
      };
    });
  }

  /** Reads lines after those in the view, up to the first one that arrives live. */
  async newer() {
    const last = this.view.lines.list.at(-1)?.event;
    if (this.reading || !last) return;
    await this.reach(async () => {
      const more = await this.merged?.newer(PAGE);
      const events = more?.events ?? (await read(this.name, [["after", last.id], ["limit", String(PAGE)], ...this.filters]));
      return () => {
        this.oldest = false;
        this.view.extend(events);
        this.merged?.note(this.events, false);
        if (more?.all ?? events.filter(({ kind }) => !kind).length < PAGE) {
          this.view.detached = false;
          this.attach(this.view.lines.list.at(-1)?.event.id);
        }
      };
    });
  }

  /**
   * Waits for an answer, and acts on it unless another place was opened in the meantime.
   * @param {() => Promise<() => void>} asked
   */
  async reach(asked) {
    const { turn } = this;
    this.reading = true;
    try {
      const act = await asked();
      this.reading = false;
      if (turn === this.turn) act();
    } catch (error) {
      this.reading = false;
      if (turn === this.turn) this.say(messageOf(error));
    }
  }

  /** Goes to a line, wherever in the history it is; or to the first of several, as `ID..ID`. @param {string} place */
  async goTo(place) {
    const [id, last] = place.split("..");
    const line = this.view.find(id);
    if (line) {
      this.view.selected = [line.event, this.lastOf(line.event, last)];
      this.view.goTo(line);
      return;
    }
    this.turn += 1;
    await this.reach(async () => {
      if (this.merged) {
        const events = this.names.includes(nameOf(id)) ? await this.merged.around(id, CONTEXT, PAGE) : [];
        return () => this.show(place, events);
      }
      const [above, from] = await Promise.all([
        read(this.name, [["before", id], ["tail", String(CONTEXT)], ...this.filters]),
        read(this.name, [["after", before(id)], ["limit", String(PAGE)], ...this.filters]),
      ]);
      return () => this.show(place, [...above.filter(({ kind }) => kind !== "gap"), ...from]);
    });
  }

  /** The last line of a linked range, as far as it is loaded. @param {LogEvent} first @param {string | undefined} last */
  lastOf(first, last) {
    if (!last) return first;
    if (this.merged) return this.view.find(last)?.event ?? first;
    const within = (/** @type {import("./lines.js").Line} */ { event: { id, kind } }) => !kind && numberOf(id) <= Math.max(numberOf(last), numberOf(first.id));
    return this.view.lines.list.findLast(within)?.event ?? first;
  }

  /** Selects all lines that are loaded. */
  chooseAll() {
    const lines = this.view.lines.list.filter(({ event }) => !event.kind);
    const [first, last] = [lines[0], lines.at(-1)];
    if (!first || !last) return;
    if (this.view.follow) this.view.pause();
    this.view.selected = [first.event, last.event];
    this.view.plan();
    this.say(`${lines.length.toLocaleString()} loaded lines are selected; Ctrl+C copies them.`);
  }

  /** Shows these events with those of a place in the middle. @param {string} place @param {LogEvent[]} events */
  show(place, events) {
    const [id, last] = place.split("..");
    const found = events.find((event) => event.id === id && event.kind !== "gap");
    if (!found && (this.filter || this.level || this.run)) {
      [this.filter, this.level, this.run] = ["", "", ""];
      this.onplace();
      this.remark();
      this.goTo(place);
      return;
    }
    if (!found) {
      this.live();
      this.say("That line is no longer kept; these are the newest lines.");
      return;
    }
    this.oldest = false;
    this.view.restart(events, false);
    this.attach(undefined, 0);
    this.view.selected = [found, this.lastOf(found, last)];
    const line = this.view.find(id);
    if (line) this.view.goTo(line);
  }

  /** The id of the event with which the run that is shown, or the last one, began; empty if there is none. @param {string} name */
  async lastStart(name) {
    const events = await read(name, [["run", this.run || "current"], ["limit", "1"]]);
    return events.findLast(isStart)?.id ?? "";
  }

  /**
   * The nearest line before or after one that is found, in any of the streams.
   * @param {boolean} older
   * @param {string} here the line; empty for the newest or oldest one
   * @param {(name: string, from: Parameters) => Promise<LogEvent | undefined>} find
   */
  async nearest(older, here, find) {
    if (this.merged) return this.merged.nearest(older, this.events, here, find);
    return find(this.name, here ? [[older ? "before" : "after", here]] : older ? [] : [["tail", "all"]]);
  }

  toOldest() {
    this.reach(async () => {
      const events = this.merged ? await this.merged.oldest(PAGE) : await read(this.name, [["tail", "all"], ["limit", String(PAGE)], ...this.filters]);
      return () => {
        this.turn += 1;
        this.oldest = true;
        this.view.restart(events, false);
        this.attach(undefined, 0);
        const [first] = this.view.lines.list;
        if (first) this.view.goTo(first, 0);
      };
    });
  }

  /** @param {LogEvent} event @param {boolean} extend whether from the one that was chosen before */
  choose(event, extend) {
    const from = extend ? this.view.selected?.[0] ?? event : event;
    const again = !extend && this.view.selected?.[0] === event && this.view.selected[1] === event;
    this.view.selected = again ? null : [from, event];
    this.view.plan();
    this.onplace();
  }

  /** Chooses the line before or after the chosen one. @param {number} by */
  step(by) {
    const { list } = this.view.lines;
    const chosen = this.view.selected?.[1];
    const at = chosen ? list.findIndex(({ event }) => event === chosen) + by : list.length - 1;
    const line = list[Math.max(0, Math.min(at, list.length - 1))];
    if (!line) return;
    this.view.selected = [line.event, line.event];
    this.view.goTo(line, 0.5);
    this.onplace();
    this.say(line.event.text ?? "");
  }

  /** The id of the selected line. */
  get chosen() {
    return this.view.selected?.[0].id ?? "";
  }

  /** The selected lines in the form of an address: one id, or the first and the last one. */
  get place() {
    const ids = (this.view.selected ?? []).map(({ id }) => id);
    const order = this.merged ? (/** @type {string} */ id) => this.view.lines.list.findIndex(({ event }) => event.id === id) : numberOf;
    return [...new Set(ids)].sort((a, b) => order(a) - order(b)).join("..");
  }

  /** @param {string} text */
  say(text) {
    const said = part("p", "said");
    said.textContent = text;
    // The text of a selected line is for screen readers only; it is visible anyway.
    said.classList.toggle("unseen", !text || text === this.view.selected?.[1].text);
  }

  showFollow() {
    const { follow, fresh } = this.view;
    this.jump.hidden = follow;
    const text = jumpText(fresh);
    if (this.jump.textContent !== text) this.jump.textContent = text;
    this.onfollow(follow);
  }

  /** Called with whether the view follows. @type {(follow: boolean) => void} */
  onfollow = () => {};

  /** Says how several streams are, or one or a run of it. @param {(Stream | undefined)[]} streams @param {Run | undefined} run the run that is shown, if one was chosen that is known */
  showStreams(streams, run) {
    this.isPast = this.run !== "" && !(run && !run.ended);
    if (streams.length < 2) return this.showStream(streams[0], run);
    const state = part("span", "state");
    state.textContent = `${streams.length} streams`;
    state.dataset.is = "";
    const about = part("span", "about");
    about.textContent = about.title = this.names.map((name, at) => `${name}: ${streams[at] ? how(/** @type {Stream} */ (streams[at])).word : "no such stream"}`).join(" \u00b7 ");
  }

  /** @param {Stream | undefined} stream @param {Run | undefined} run */
  showStream(stream, run) {
    const state = part("span", "state");
    const past = stream && this.isPast ? pastRun(run, this.run) : undefined;
    const { word, is } = past ?? (stream ? how(stream) : { word: "no such stream", is: "missing" });
    state.textContent = this.state = word;
    state.dataset.is = is;
    const failed = past ? undefined : stream?.source?.error ?? (is === "" ? stream?.source?.reason : undefined);
    const { took = "", now = "" } = past ?? (stream ? activity(stream) : {});
    const text = stream ? [stream.description, failed, took, now].filter(Boolean).join(" · ") : "";
    const about = part("span", "about");
    about.textContent = text;
    about.title = text;
    // A program that reports no progress only begins and ends, which the list alone says.
    const listed = stream?.progress;
    if (stream && (!channel.up || !this.progress || (listed && listed.updated > this.progress.updated))) this.progress = listed ?? null;
    this.showProgress();
  }

  showProgress() {
    if (!this.name) return;
    // It is that of the newest run.
    const progress = this.isPast ? null : this.progress;
    // After the end, the last phase may be another one than the one that failed.
    const isOver = progress?.state === "done" || progress?.state === "error";
    const tells = progress && (progress.percent !== undefined || (!isOver && (progress.phase || progress.message)));
    const known = tells ? progress : null;
    part("div", "progress").hidden = !known;
    this.bar.show(known);
    const { far, how: word, left, counted, doing } = progress ? words(progress) : { far: "", how: "", left: "", counted: "", doing: "" };
    const shown = [["far", far], ["doing", doing], ["counted", counted], ["left", [word, left].filter(Boolean).join(" · ")]];
    this.figures.replaceChildren(...shown.filter(([, text]) => text).map(([name, text]) => make("span", name, text)));
    const title = [this.isPast ? this.state : far && word !== "done" ? `${far}${word ? ` ${word}` : ""}` : word, this.name].filter(Boolean).join(" · ");
    document.title = `${title} – rtlogd`;
  }
}
