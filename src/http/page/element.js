// <rtlogd-stream src="https://ci:7070/streams/build">: one stream on any page. All elements of a page share one connection to
// each server.

import { pattern } from "./ansi.js";
import { Headings, ROW, STAY } from "./headings.js";
import { Lines, depthOf, isHidden } from "./lines.js";
import { channelTo, NOTHING } from "./channel.js";
import { sheet } from "./look.js";
import { bar, words } from "./progress.js";
import { exactly, jumpText, lineRow, liveRow, make, numberOf, stamp } from "./rows.js";
import { told } from "./told.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./channel.js").Progress} Progress */
/** @typedef {import("./lines.js").Line} Line */

/** The number of rows that an element holds by default, and the most that `limit` allows. */
const ROWS = 1000;
const MOST_ROWS = 10_000;

/** What takes the place of the number and the time of a row that can still change. */
const NOWHERE = { id: "-0", time: "1970-01-01T00:00:00Z" };

/** The room before the first row, in pixels. */
const MARGIN = 8;

const CARD = `
:host{color-scheme:light dark;display:block;font:14px/1.5 system-ui,sans-serif;--card:light-dark(#fff,#151a21);--text:light-dark(#1c2128,#e3e8ee);--edge:light-dark(#dfe3e8,#2a313b);--dim:light-dark(#57606a,#98a2ae)}
:host([hidden]){display:none}:host([theme=light]){color-scheme:light}:host([theme=dark]){color-scheme:dark}
.card{display:flex;flex-direction:column;position:relative;background:var(--card);color:var(--text);border:1px solid var(--edge);border-radius:10px;overflow:hidden;height:100%;box-sizing:border-box}
header{display:flex;align-items:baseline;gap:10px;padding:10px 16px}
.dot{flex:none;align-self:center;width:8px;height:8px;border-radius:50%;background:var(--dim)}
[data-is=live] .dot{background:light-dark(#2459d6,#7aa2ff)}[data-is=good] .dot{background:light-dark(#1a7f37,#3fb950)}[data-is=bad] .dot{background:light-dark(#cf222e,#f85149)}
strong{font-weight:600;flex:0 1 auto}strong a{color:inherit;text-decoration:none}strong a:hover,strong a:focus-visible{text-decoration:underline}strong,.doing{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.doing{flex:1;color:var(--dim);font-size:13px}.far{flex:none;font-variant-numeric:tabular-nums;font-size:13px}
.bar{border-radius:0;flex:none}
.log{flex:1;border-top:1px solid var(--edge)}
.jump{position:absolute;right:14px;bottom:14px;border:0;border-radius:99px;padding:6px 14px;font:600 13px system-ui,sans-serif;cursor:pointer;color:#fff;background:#2459d6;box-shadow:0 2px 10px #0005}
.jump:focus-visible{outline:2px solid var(--text);outline-offset:2px}
.whole{flex:none;color:var(--dim);text-decoration:none;padding:0 4px;border-radius:4px}.whole:hover,.whole:focus-visible{color:var(--text)}
`;

class RtlogdStream extends HTMLElement {
  static observedAttributes = ["src", "filter", "level", "tail", "limit", "height", "numbers", "timestamps", "wrap", "progress-only", "token-url"];

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet(CARD)];
    this.card = make("section", "card");
    this.name = make("strong", "");
    this.doing = make("span", "doing");
    this.far = make("span", "far");
    this.whole = /** @type {HTMLAnchorElement} */ (make("a", "whole", "\u2197"));
    Object.assign(this.whole, { target: "_blank", rel: "noopener" });
    const header = make("header", "");
    header.append(make("span", "dot"), this.name, this.doing, this.far, this.whole);
    this.bar = bar("progress");
    this.log = make("div", "log");
    this.log.tabIndex = 0;
    this.log.setAttribute("role", "log");
    this.log.setAttribute("aria-live", "off");
    this.openRows = make("div", "open");
    this.headings = new Headings();
    this.jump = make("button", "jump");
    this.card.append(header, this.bar.track, this.log, this.jump);
    root.append(this.card);
    /** @type {import("./channel.js").Channel | undefined} */
    this.channel = undefined;
    /** @type {import("./channel.js").Subscription | undefined} */
    this.subscription = undefined;
    this.lines = new Lines();
    /** @type {Map<Line, HTMLElement>} */
    this.rows = new Map();
    /** The lines that are shown. @type {Line[]} */
    this.visible = [];
    /** Whether numbers and times stand before the lines, and whether times are those of UTC. */
    this.shown = { numbers: false, times: false, utc: false };
    this.filtered = false;
    /** @type {RegExp | null} */
    this.mark = null;
    this.follow = true;
    this.fresh = 0;
    this.lastTop = 0;
    this.log.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.log.addEventListener("click", (click) => this.clicked(click));
    this.jump.addEventListener("click", () => this.toEnd());
  }

  /** Called for a token before each connection; of several elements for one server, the last one set is used. @returns {undefined | (() => string | Promise<string>)} */
  get getToken() {
    return this.asked;
  }

  set getToken(asked) {
    this.asked = asked;
    this.renew();
  }

  connectedCallback() {
    // A property that was set before the element was defined hides that of the class.
    const own = /** @type {any} */ (this);
    if (Object.hasOwn(own, "getToken")) {
      const { getToken } = own;
      delete own.getToken;
      this.asked = getToken;
    }
    this.renew();
  }

  disconnectedCallback() {
    this.renew();
  }

  attributeChangedCallback() {
    this.renew();
  }

  /** Starts again, once for all attributes that change together. */
  renew() {
    if (this.renewing) return;
    this.renewing = true;
    queueMicrotask(() => {
      this.renewing = false;
      this.subscription?.close();
      this.channel?.watchers.delete(this.watch);
      this.channel = this.subscription = undefined;
      if (this.isConnected) this.begin();
    });
  }

  /** A number of lines in an attribute. @param {string} name @param {number} otherwise @param {number} most */
  many(name, otherwise, most) {
    const value = this.getAttribute(name) ?? "";
    return value === "all" ? most : Math.min(most, /^\d+$/.test(value) ? Number(value) : otherwise);
  }

  begin() {
    const only = this.hasAttribute("progress-only");
    const height = this.getAttribute("height") ?? "320";
    this.card.style.height = only ? "" : /^\d+$/.test(height) ? `${height}px` : height;
    const times = this.getAttribute("timestamps");
    this.shown = { numbers: this.hasAttribute("numbers"), times: times !== null, utc: times === "utc" };
    this.log.classList.toggle("wrap", this.getAttribute("wrap") !== "off");
    this.log.hidden = only;
    this.log.replaceChildren(this.headings.element, this.openRows);
    const limit = Math.max(1, this.many("limit", ROWS, MOST_ROWS));
    this.rows.clear();
    this.lines = new Lines(limit);
    this.showOpen([]);
    this.toEnd();
    const found = /^(.*\/)streams\/([^/?#]+)/.exec(new URL(this.getAttribute("src") ?? "", document.baseURI).href);
    const name = (this.name.textContent = found ? decodeURIComponent(found[2]) : "rtlogd");
    this.bar.show(null);
    this.far.textContent = "";
    this.whole.hidden = !found;
    this.say(found ? "connecting" : "src must be the address of a stream, as in https://ci:7070/streams/build", found ? "" : "bad");
    if (!found) return;
    const filter = this.getAttribute("filter");
    const level = this.getAttribute("level");
    this.filtered = !!(filter || level);
    const query = new URLSearchParams({ stream: name, ...(filter && { grep: filter }), ...(level && { level }) });
    this.whole.href = `${found[1]}?${query}`;
    this.whole.title = `Open ${name} in rtlogd`;
    this.whole.setAttribute("aria-label", this.whole.title);
    const channel = (this.channel = channelTo(found[1], this.getAttribute("token-url") ?? ""));
    channel.getToken = this.asked ?? channel.getToken;
    channel.watchers.add(this.watch);
    /** @type {import("./channel.js").Wanted} */
    const wanted = { stream: name, tail: only ? 0 : this.many("tail", Math.min(100, limit), limit) };
    if (only || filter) wanted.grep = [only ? NOTHING : String(filter)];
    if (level) wanted.level = level;
    this.log.setAttribute("aria-label", `Log of ${name}`);
    this.mark = filter ? pattern(filter) : null;
    this.subscription = channel.subscribe(wanted, this);
    if (channel.up || channel.via || channel.trouble) this.watch(!channel.trouble);
  }

  begun() {
    this.say("", "live");
  }

  watch = (/** @type {boolean} */ up) => {
    this.card.title = this.channel?.via ? `Connected by ${this.channel.via}, since no WebSocket gets through.` : "";
    if (up) this.say("loading", "");
    else this.say(this.channel?.trouble ?? "", this.channel?.refused ? "bad" : "");
  };

  /** @param {string} text @param {string} is */
  say(text, is) {
    this.doing.textContent = this.doing.title = text;
    this.card.dataset.is = is;
  }

  /** @param {LogEvent[]} events */
  events(events) {
    for (const event of events) {
      if (event.kind === "end") {
        const [text, good] = told(event);
        this.say(text, good === null ? "" : good ? "good" : "bad");
      } else if (event.kind === "state" && !event.last) this.say("", event.state === "denied" ? "bad" : "live");
      if (!event.kind && !this.follow) this.fresh += 1;
    }
    // The lines drop the oldest ones also while the page is hidden and nothing is drawn.
    this.lines.append(events);
    this.plan();
  }

  /** @param {{ missed: number | null, resume: string }} gap */
  gap(gap) {
    this.events([{ ...gap, id: gap.resume, kind: "gap" }]);
  }

  /** @param {string[]} rows */
  open(rows) {
    this.showOpen(rows);
    this.plan();
  }

  /** @param {Progress} progress */
  progress(progress) {
    this.bar.show(progress);
    const { far, how, left, doing, counted } = words(progress);
    this.far.textContent = [far || counted, (far && how) || left].filter(Boolean).join(" · ");
    const is = { done: "good", error: "bad" }[progress.state] ?? "live";
    this.say(is === "live" ? doing : this.doing.textContent ?? "", is);
  }

  /** @param {string} [reason] */
  ended(reason) {
    this.say(reason ?? "the stream has ended", "");
  }

  /** @param {Error} error */
  failed(error) {
    this.say(error.message, "bad");
  }

  /** @param {string[]} rows */
  showOpen(rows) {
    this.openRows.replaceChildren(...rows.map((text) => liveRow(this.cells(NOWHERE), text, null)));
  }

  plan() {
    if (this.planned) return;
    this.planned = true;
    requestAnimationFrame(() => {
      this.planned = false;
      this.draw();
      if (this.follow) this.toEnd();
      this.lastTop = this.log.scrollTop;
      this.stay();
      this.showJump();
    });
  }

  /** Brings the rows up to date with the lines. */
  draw() {
    const { list, changed } = this.lines;
    const kept = new Set(list);
    const focused = this.shadowRoot?.activeElement?.closest(".row");
    /** @type {Line | undefined} */
    let focus;
    for (const [line, row] of this.rows) {
      if (kept.has(line) && !changed.has(line)) continue;
      if (row === focused) focus = line;
      row.remove();
      this.rows.delete(line);
    }
    for (const line of changed) this.headings.rows.delete(line);
    changed.clear();
    if (this.shown.numbers) this.log.style.setProperty("--digits", `${String(numberOf(list.at(-1)?.event.id ?? "0")).length}`);
    this.visible = list.filter((line) => !isHidden(line));
    let next = this.openRows;
    for (const line of list.toReversed()) {
      let row = this.rows.get(line);
      if (!row) {
        row = this.rowOf(line);
        this.rows.set(line, row);
        next.before(row);
      }
      row.hidden = isHidden(line);
      next = row;
    }
    if (focus) this.rows.get(focus)?.querySelector("button")?.focus({ preventScroll: true });
  }

  /** @param {Line} line */
  rowOf(line) {
    return lineRow(line, this.cells(line.event), this.shown.utc, this.mark, this.filtered ? undefined : line.style);
  }

  /** Keeps the headings of the topmost lines in sight. */
  stay() {
    const { visible } = this;
    // There is room for the headings of groups whose own rows were dropped. At the very top, all others are in their places.
    const lead = ROW * Math.min(STAY, depthOf(visible[0]));
    const none = this.lastTop < 1 && !lead;
    const lineAt = (/** @type {number} */ below) => {
      let [low, high] = [0, none ? 0 : visible.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        const row = this.rows.get(visible[middle]);
        if (row && row.offsetTop + row.offsetHeight > this.lastTop + below) high = middle;
        else low = middle + 1;
      }
      return none ? undefined : visible[low];
    };
    this.headings.show(MARGIN + lead, lineAt, (line) => this.rowOf(line));
  }

  /** What stands before the text. @param {LogEvent} event */
  cells({ id, time }) {
    const cells = [];
    if (this.shown.numbers) cells.push(make("span", "number", String(numberOf(id))));
    if (this.shown.times) {
      const cell = /** @type {HTMLTimeElement} */ (make("time", "time", time ? stamp(time, this.shown.utc).slice(11, 19) : ""));
      cell.dateTime = time ?? "";
      if (time) cell.title = exactly(time, this.shown.utc);
      cells.push(cell);
    }
    return cells;
  }

  /** Folds or unfolds a group. @param {MouseEvent} click */
  clicked(click) {
    const button = /** @type {Element} */ (click.composedPath()[0]).closest(".fold");
    const [line, row] = [...this.rows, ...this.headings.rows].find(([, row]) => button && row.contains(button)) ?? [];
    if (!line?.head || !row) return;
    const place = this.headings.placeOf(row);
    this.lines.fold(line.head, !line.head.folded, line.event.id);
    this.lines.changed.add(line);
    this.follow = false;
    if (place >= 0) {
      // A heading that stays is where its row is then.
      this.draw();
      const own = this.rows.get(line);
      this.log.scrollTop = (own?.offsetTop ?? 0) - place * ROW;
      own?.querySelector("button")?.focus({ preventScroll: true });
    }
    this.plan();
  }

  showJump() {
    this.jump.hidden = this.follow;
    this.jump.textContent = jumpText(this.fresh);
  }

  toEnd() {
    this.follow = true;
    this.fresh = 0;
    this.log.scrollTop = this.log.scrollHeight;
    this.lastTop = this.log.scrollTop;
    this.showJump();
  }

  scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.log;
    const atEnd = scrollTop + clientHeight >= scrollHeight - 4;
    if (this.follow ? scrollTop < this.lastTop - 2 && !atEnd : atEnd && scrollTop > this.lastTop) {
      this.follow = atEnd;
      this.fresh = 0;
      this.showJump();
    }
    this.lastTop = scrollTop;
    this.stay();
  }
}

if (!customElements.get("rtlogd-stream")) customElements.define("rtlogd-stream", RtlogdStream);
