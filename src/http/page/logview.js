// A view of lines. Only the visible ones are in the document, however many there are. The view knows no server: its owner passes
// it the lines that arrive, and is asked for older and newer ones.

import { gutter, shownText } from "./gutter.js";
import { Headings, ROW, STAY } from "./headings.js";
import { LINES, LONG, Lines, depthOf, isHidden } from "./lines.js";
import { lineRow, liveRow, make, numberOf } from "./rows.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./lines.js").Line} Line */

/** How far rows are drawn above and below the visible part, in pixels: for a reader who scrolls, and while the view follows. */
const BEYOND = 400;
const EDGE = 40;

/** The time that drawing may take in a frame, in milliseconds: a third of a frame at 60 Hz. If it takes longer, frames are skipped. */
const DEAR = 5;
const OFTEN = 25;

export class LogView {
  /** @param {string} label what a screen reader calls it */
  constructor(label) {
    this.element = make("div", "log");
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "log");
    this.element.setAttribute("aria-live", "off");
    this.element.setAttribute("aria-label", label);
    this.empty = make("p", "empty");
    this.empty.hidden = true;
    this.above = make("div", "");
    this.below = make("div", "");
    this.openRows = make("div", "open");
    this.headings = new Headings();
    this.element.append(this.headings.element, this.above, this.below, this.empty, this.openRows);
    /** The head whose row had the focus and is drawn again. @type {Line | null} */
    this.focused = null;
    this.lines = new Lines();
    this.lines.onreread = () => this.reread();
    /** Rows in the document. @type {Map<Line, HTMLElement>} */
    this.rows = new Map();
    this.follow = true;
    /** Whether live lines are not shown, since the view is at an earlier place. */
    this.detached = false;
    /** The number of lines that have arrived since the view stopped following, and the last number counted in each numbering. */
    this.fresh = 0;
    /** @type {Map<string, number>} */
    this.counted = new Map();
    /** @type {RegExp | null} */
    this.mark = null;
    /** Whether a filter removes lines, so that a style that one line leaves open does not apply to the next. */
    this.filtered = false;
    /** The ends of what is selected. @type {[LogEvent, LogEvent] | null} */
    this.selected = null;
    /** What is kept in its place: a line, and how far its top is above the view's. @type {{ line: Line, offset: number } | null} */
    this.anchor = null;
    /** Whether rows have changed and are not drawn yet. A scroll event in the meantime is not the reader's. */
    this.moved = false;
    this.lastTop = 0;
    this.columns = 80;
    /** Whether long lines are wrapped, and which cells stand before the text. */
    this.wraps = false;
    /** @type {import("./gutter.js").Shown} */
    this.shown = { numbers: true, times: false, origins: false, utc: false, streams: [] };
    this.planned = false;
    /** How long the last drawing took, in milliseconds. */
    this.cost = 0;
    /** The time of the last drawing. */
    this.drawn = 0;
    /** Whether the view stopped following only because text is selected in the browser. */
    this.held = false;
    /** Called when the view is to follow again. */
    this.onresume = () => {};
    /** Called when the view starts or stops following, and when lines arrive. */
    this.onchange = () => {};
    /** Called when older or newer lines are needed. */
    this.onolder = () => {};
    this.onnewer = () => {};
    /** Told which line was chosen. @type {(event: LogEvent, extend: boolean) => void} */
    this.onchoose = () => {};
    this.element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.element.addEventListener("click", (click) => this.clicked(click));
    document.addEventListener("selectionchange", () => this.marked());
    new ResizeObserver(() => this.resized()).observe(this.element);
  }

  /** @param {LogEvent[]} events */
  append(events) {
    if (!this.follow) {
      for (const { id, kind } of events) {
        // Lines that are read again after a detour have been counted before.
        const epoch = id.slice(0, id.lastIndexOf("-"));
        if (kind || numberOf(id) <= (this.counted.get(epoch) ?? -1)) continue;
        this.fresh += 1;
        this.counted.set(epoch, numberOf(id));
      }
      // Lines that the reader is looking at are not dropped in favour of lines out of sight.
      if (this.lines.list.length + events.length > LINES) this.detached = true;
    }
    if (!this.detached) this.lines.append(events);
    this.refresh();
    this.onchange();
    this.plan();
  }

  /** Adds events below what is in sight. @param {LogEvent[]} events */
  extend(events) {
    this.keep();
    this.moved = true;
    this.lines.append(events);
    this.refresh();
    this.plan();
  }

  /** Redraws the heads of the groups that have changed. */
  refresh() {
    if (this.lines.changed.size) this.noteFocus();
    for (const line of this.lines.changed) {
      this.rows.get(line)?.remove();
      this.rows.delete(line);
      this.headings.rows.delete(line);
    }
    this.lines.changed.clear();
  }

  /** Draws all lines again after their meaning has changed. */
  reread() {
    const anchored = this.anchor?.line.event;
    const line = this.lines.list.find(({ event }) => event === anchored);
    this.anchor = line && this.anchor ? { ...this.anchor, line } : null;
    this.redraw();
  }

  /** Shows these lines instead, and these alone. @param {LogEvent[]} events @param {boolean} live */
  restart(events, live) {
    this.lines.restart(events);
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.anchor = null;
    this.moved = true;
    this.follow = live;
    this.detached = !live;
    this.fresh = 0;
    this.counted.clear();
    this.showEmpty("");
    this.showOpen([]);
    this.onchange();
    this.plan();
  }

  /** @param {LogEvent[]} events */
  prepend(events) {
    if (!this.anchor && !this.follow) this.keep();
    const anchored = this.anchor?.line.event;
    this.moved = true;
    const dropped = this.lines.prepend(events);
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    if (dropped) this.detached = true;
    const line = this.lines.list.find(({ event }) => event === anchored);
    if (this.anchor && line) this.anchor.line = line;
    this.plan();
  }

  /** Says why there is no line; what comes takes its place. @param {string} text */
  showEmpty(text) {
    this.empty.textContent = text;
    this.plan();
  }

  /** Shows the rows that the program can still change, below the log and aligned with it. @param {string[]} rows @param {string[]} [streams] that of each row, if there are several */
  showOpen(rows, streams = []) {
    this.openRows.replaceChildren(...rows.map((text, at) => liveRow(gutter(undefined, this.shown, streams[at]), text, this.mark)));
    this.plan();
  }

  /** Names the stream of each line, if there are several. @param {string[]} streams */
  setStreams(streams) {
    this.shown = { ...this.shown, streams };
    this.element.style.setProperty("--names", `${Math.min(16, Math.max(0, ...streams.map(({ length }) => length)))}ch`);
    this.resized();
  }

  /** Follows from now on. */
  toEnd() {
    this.follow = true;
    this.fresh = 0;
    this.anchor = null;
    this.onchange();
    this.plan();
  }

  /** Whether text is selected in the view. */
  get hasSelection() {
    const selection = getSelection();
    return selection !== null && !selection.isCollapsed && this.element.contains(selection.anchorNode);
  }

  /** Stops following while text is selected: rows that leave the document would take the selection with them. */
  marked() {
    const selects = this.hasSelection;
    if (selects && this.follow) {
      this.pause();
      this.held = true;
    } else if (!selects && this.held) {
      this.held = false;
      if (!this.follow) this.onresume();
    }
  }

  pause() {
    this.keep();
    this.follow = false;
    this.onchange();
  }

  /** @param {Line} line @param {number} [share] how far down the view it goes */
  goTo(line, share = 0.3) {
    this.lines.reveal(line);
    this.follow = false;
    this.anchor = { line, offset: -Math.max(this.element.clientHeight * share, STAY * ROW) };
    this.onchange();
    this.redraw();
  }

  /** @param {string} id */
  find(id) {
    return this.lines.list.find(({ event }) => event.id === id);
  }

  /** Draws all rows again, in their places. */
  redraw() {
    if (!this.anchor && !this.follow) this.keep();
    this.moved = true;
    this.noteFocus();
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.headings.rows.clear();
    for (const line of this.lines.list) line.height = 0;
    this.plan();
  }

  /** Notes which group has the focus of the keyboard, so that it still has it when its row is drawn again. */
  noteFocus() {
    const row = document.activeElement?.closest(".row");
    if (row && this.element.contains(row)) this.focused = [...this.rows].find(([, known]) => known === row)?.[0] ?? null;
  }

  /** The lines that are selected, or all, as text. */
  textOf(all = !this.selected) {
    const [from, to] = all ? [0, this.lines.list.length - 1] : this.range();
    const texts = this.lines.list.slice(from, to + 1).filter(({ event, unseen }) => !event.kind && !unseen);
    return texts.map((line) => shownText(line) + (line.event.continued ? "" : "\n")).join("");
  }

  /** The places of the first and the last line that are selected. */
  range() {
    const places = (this.selected ?? []).map((event) => this.lines.list.findIndex((line) => line.event === event));
    return [Math.min(...places), Math.max(...places)];
  }

  plan() {
    if (this.planned) return;
    this.planned = true;
    const act = (/** @type {number} */ now) => {
      // Where drawing is slow and lines keep arriving, some frames are left for the reader's input.
      if (this.follow && this.cost > DEAR && now - this.drawn < OFTEN) {
        requestAnimationFrame(act);
        return;
      }
      const began = performance.now();
      [this.planned, this.drawn] = [false, now];
      this.render();
      this.cost = performance.now() - began;
    };
    requestAnimationFrame(act);
  }

  resized() {
    const probe = make("span", "text", "0".repeat(100));
    const row = make("div", "row");
    const { classList } = this.element;
    this.wraps = classList.contains("wrap");
    this.shown = { streams: this.shown.streams, numbers: classList.contains("numbers"), times: classList.contains("times"), origins: classList.contains("origins"), utc: classList.contains("utc") };
    row.append(...gutter(undefined, this.shown), probe);
    this.element.append(row);
    const cell = probe.getBoundingClientRect().width / 100;
    const room = this.element.clientWidth - probe.offsetLeft - 2 * cell;
    row.remove();
    this.columns = Math.max(10, Math.floor(room / cell) || 80);
    this.redraw();
  }

  /** @param {Line} line */
  heightOf(line) {
    if (isHidden(line)) return 0;
    if (line.height || !this.wraps) return line.height || ROW * line.tall;
    const length = Math.min(line.event.text?.length ?? 0, LONG);
    return Math.max(line.tall, Math.ceil(length / this.columns)) * ROW;
  }

  /** The room above the lines, in pixels: for headings of groups whose own rows are no longer loaded. */
  get lead() {
    return this.shown.streams.length ? 0 : ROW * Math.min(STAY, depthOf(this.lines.list.find((line) => !isHidden(line))));
  }

  /** Notes the first visible line, so that it stays in its place. */
  keep() {
    let top = this.lead;
    const seen = this.element.scrollTop;
    for (const line of this.lines.list) {
      const height = this.heightOf(line);
      if (top + height > seen) {
        this.anchor = { line, offset: seen - top };
        return;
      }
      top += height;
    }
    this.anchor = null;
  }

  scrolled() {
    if (this.moved) return;
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    const atEnd = scrollTop + clientHeight >= scrollHeight - 4;
    const down = scrollTop > this.lastTop + 2;
    // A reader who scrolls away stays there.
    if (scrollTop < this.lastTop - 2) this.held = false;
    if (this.hasSelection) {
      // The pause ends with the selection.
    } else if (this.follow ? scrollTop < this.lastTop - 2 && !atEnd : down && atEnd && !this.detached) {
      this.follow = !this.follow;
      if (this.follow) this.fresh = 0;
      this.onchange();
    }
    this.lastTop = scrollTop;
    if (!this.follow) this.keep();
    this.plan();
  }

  render() {
    const { list } = this.lines;
    const view = this.element.clientHeight;
    this.empty.hidden = !this.empty.textContent || list.some(({ event }) => !event.kind);
    // All numbers have the same width, which rarely grows.
    const digits = String(Math.max(6, String(numberOf(list.at(-1)?.event.id ?? "")).length));
    if (this.element.style.getPropertyValue("--digits") !== digits) this.element.style.setProperty("--digits", digits);
    const { lead } = this;
    let total = lead;
    let anchored = 0;
    for (const line of list) {
      if (line === this.anchor?.line) anchored = total;
      total += this.heightOf(line);
    }
    const open = this.wraps ? this.openRows.offsetHeight : this.openRows.childElementCount * ROW;
    let top = this.element.scrollTop;
    if (this.follow) top = Math.max(0, total + open - view);
    else if (this.anchor) top = Math.max(0, Math.min(anchored + this.anchor.offset, total + open - view));
    const beyond = this.follow ? EDGE : BEYOND;
    let before = lead;
    let first = 0;
    let at = 0;
    let sum = lead;
    for (; at < list.length && sum < top + view + beyond; at += 1) {
      const height = this.heightOf(list[at]);
      if (sum + height < top - beyond) {
        first = at + 1;
        before = sum + height;
      }
      sum += height;
    }
    this.put(list.slice(first, at).filter((line) => !isHidden(line)));
    this.above.style.height = `${before}px`;
    this.below.style.height = `${total - sum}px`;
    if (this.wraps) this.measure();
    this.place(top);
    this.stay(first, before);
    this.moved = false;
    if (!this.follow && this.element.scrollTop < BEYOND) this.onolder();
    if (this.detached && total - top - view < BEYOND) this.onnewer();
  }

  /** Puts these rows into the document, and takes the others out. @param {Line[]} lines */
  put(lines) {
    const wanted = new Set(lines);
    for (const [line, row] of this.rows) {
      if (!wanted.has(line)) {
        row.remove();
        this.rows.delete(line);
      }
    }
    const { list } = this.lines;
    const [from, to] = this.selected ? this.range() : [-1, -1];
    let at = list.indexOf(lines[0]);
    let next = this.above.nextSibling;
    for (const line of lines) {
      let row = this.rows.get(line);
      if (!row) {
        row = this.draw(line);
        this.rows.set(line, row);
      }
      while (list[at] !== line) at += 1;
      row.classList.toggle("selected", from < 0 ? this.isBetween(line) : at >= from && at <= to);
      if (row === next) next = next.nextSibling;
      else this.element.insertBefore(row, next);
    }
    const focused = this.focused && this.rows.get(this.focused);
    if (focused) focused.querySelector("button")?.focus({ preventScroll: true });
    this.focused = null;
  }

  /** Whether a line is selected although an end of what is selected is no longer loaded. @param {Line} line */
  isBetween(line) {
    if (!this.selected || line.event.stream) return false;
    const [a, b] = this.selected.map((event) => numberOf(event.id));
    const number = numberOf(line.event.id);
    return number >= Math.min(a, b) && number <= Math.max(a, b);
  }

  /** Measures the rows; a difference from the estimate moves nothing that is visible. */
  measure() {
    for (const [line, row] of this.rows) line.height = row.offsetHeight;
  }

  /** @param {number} top */
  place(top) {
    if (this.follow) {
      this.element.scrollTop = this.element.scrollHeight;
    } else if (this.anchor) {
      const row = this.rows.get(this.anchor.line);
      const place = row ? row.offsetTop + this.anchor.offset : top;
      if (Math.abs(this.element.scrollTop - place) > 1) this.element.scrollTop = place;
    }
    this.lastTop = this.element.scrollTop;
  }

  /** Keeps the headings of the topmost lines in sight. @param {number} first the place of the first line that is drawn @param {number} before the height before it */
  stay(first, before) {
    const { list } = this.lines;
    // At the very top, all rows are in their places. Lines of several streams alternate, and so would their headings.
    const none = this.shown.streams.length > 0 || (this.lastTop < 1 && !this.lead);
    const lineAt = (/** @type {number} */ below) => {
      let bottom = before;
      for (let at = first; !none && at < list.length; at += 1) {
        bottom += this.heightOf(list[at]);
        if (bottom > this.lastTop + below) return list[at];
      }
      return undefined;
    };
    this.headings.show(0, lineAt, (line) => this.draw(line));
  }

  /** @param {Line} line */
  draw(line) {
    const grown = (/** @type {HTMLElement} */ row) => {
      line.height = row.offsetHeight;
      this.plan();
    };
    const { event, style } = line;
    return lineRow(line, gutter(event, this.shown), this.shown.utc, this.mark, this.filtered ? undefined : style, grown);
  }

  /** @param {MouseEvent} click */
  clicked(click) {
    const target = /** @type {Element} */ (click.composedPath()[0]);
    const row = target.closest(".row");
    const line = [...this.rows, ...this.headings.rows].find(([, known]) => known === row)?.[0];
    if (!line) return;
    const place = this.headings.placeOf(row);
    if (target.closest(".fold") && line.head) {
      this.lines.fold(line.head, !line.head.folded, line.event.id);
      if (this.follow) this.pause();
      // A heading that stays is where its row is then.
      if (place < 0) this.keep();
      else this.anchor = { line, offset: -place * ROW };
      this.redraw();
      if (place >= 0) this.focused = line;
    } else if (target.closest(".number")) {
      click.preventDefault();
      this.onchoose(line.event, click.shiftKey);
      if (place >= 0) this.goTo(line);
    }
  }
}
