// The list of streams, each with its state, rate and progress.

import { exactly, make } from "./rows.js";
import { bar, duration, words } from "./progress.js";
import { part } from "./icons.js";

/** @typedef {import("./server.js").Stream} Stream */
/** @typedef {import("./server.js").Run} Run */

/** The number of streams from which on the list has a search field. */
const MANY = 8;

/** How long after its last drawing a program that only redraws its rows is still at it, in milliseconds. */
const DRAWING = 15_000;

/** A state as a word, and its colour. @typedef {{ word: string, is: "live" | "good" | "bad" | "odd" | "missing" | "" }} How */

/**
 * How a run ended; `undefined` if that is not known.
 * @param {{ code?: number | null, signal?: string | null, cause?: string } | undefined} last
 * @returns {How | undefined}
 */
export function outcome(last) {
  if (last?.cause === "stopped" || last?.cause === "daemon-stopped") return { word: "stopped", is: "" };
  if (last?.cause === "lost" || last?.cause === "daemon-killed") return { word: "lost", is: "bad" };
  if (last?.signal) return { word: `killed (${last.signal})`, is: "bad" };
  if (last?.code) return { word: `failed (exit ${last.code})`, is: "bad" };
  return last?.code === 0 ? { word: "passed", is: "good" } : undefined;
}

/**
 * The state of a stream.
 * @param {Stream} stream
 * @returns {How}
 */
export function how({ source, progress, degraded, ended, kind }) {
  const state = source?.state ?? "";
  if (degraded) return { word: "not recorded", is: "odd" };
  if (state === "running") return progress?.state === "paused" ? { word: "paused", is: "odd" } : { word: "running", is: "live" };
  if (state === "following" || state === "polling") return { word: state, is: "live" };
  if (state === "denied") return { word: "denied", is: "bad" };
  if (state === "backing-off" || state === "stopped" || ended) {
    const end = outcome(source?.last);
    if (end) return end;
    return { word: state === "backing-off" ? "failed" : kind === "process" ? "stopped" : "ended", is: state === "backing-off" ? "bad" : "" };
  }
  return { word: state || "new", is: "" };
}

/**
 * How fast lines come.
 * @param {number} rate
 */
export function speed(rate) {
  if (rate === 0) return "quiet";
  if (rate < 1) return `${Math.ceil(rate * 60)} lines/min`;
  return `${Math.round(rate).toLocaleString()} ${rate < 1.5 ? "line/s" : "lines/s"}`;
}

/** How long ago it was, roughly. @param {string} time */
function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ago`;
  return new Date(time).toLocaleDateString(undefined, { day: "numeric", month: "short", ...(seconds > 300 * 86400 && { year: "numeric" }) });
}

/**
 * What a stream does now, or when its process ran last: how long, and how fast lines come.
 * @param {Stream} stream
 * @returns {{ took: string, now: string, title: string }}
 */
export function activity({ source, last_run: run, rate, drawn, kind }) {
  const lasts = source?.state === "running";
  const took = run?.duration ?? (lasts ? undefined : source?.last?.duration);
  const begun = run && `Started ${exactly(run.started, false)}`;
  if (kind === "process" && !lasts && (run?.ended || took !== undefined)) {
    const title = [begun, took === undefined ? "" : `took ${duration(took)}`].filter(Boolean).join(", ");
    return { took: took === undefined ? "" : duration(took), now: run?.ended ? ago(run.ended) : "", title };
  }
  const draws = rate === 0 && drawn !== undefined && Date.now() - Date.parse(drawn) < DRAWING;
  const since = lasts && run && !run.ended ? duration(Math.floor((Date.now() - Date.parse(run.started)) / 1000)) : "";
  return { took: since, now: draws ? "" : speed(rate), title: begun ?? "" };
}

/**
 * What the page says of a run that is not in progress.
 * @param {Run | undefined} run none if it is not among the newest
 * @param {string} name the run as the address names it
 * @returns {How & { took: string, now: string }}
 */
export function pastRun(run, name) {
  const { word, is } = outcome(run) ?? { word: run ? "ended" : `run ${name}`, is: /** @type {const} */ ("") };
  return { word, is, took: run?.duration === undefined ? "" : duration(run.duration), now: run?.ended ? ago(run.ended) : "" };
}

/** One entry. */
class Item {
  /** @param {string} name */
  constructor(name) {
    this.element = make("li", "stream");
    this.link = /** @type {HTMLAnchorElement} */ (make("a", ""));
    this.link.href = `?stream=${encodeURIComponent(name)}`;
    this.name = make("strong", "", name);
    this.state = make("span", "chip");
    this.about = make("span", "about");
    this.rate = make("span", "rate");
    this.took = make("span", "lasts");
    this.dot = make("span", "unseen", " \u00b7 ");
    this.now = make("span", "now");
    this.bar = bar(`Progress of ${name}`);
    const first = make("span", "line");
    const second = make("span", "line");
    first.append(make("span", "dot"), this.name, this.state);
    second.append(this.about, this.rate);
    this.link.append(first, second, this.bar.track);
    this.together = /** @type {HTMLAnchorElement} */ (make("a", "together"));
    this.element.append(this.link, this.together);
  }

  /** @param {Stream} stream */
  show(stream) {
    const { word, is } = how(stream);
    const { progress } = stream;
    const { far, doing, left } = progress ? words(progress) : { far: "", doing: "", left: "" };
    const running = stream.source?.state === "running";
    set(this.state, far && running ? far : word);
    this.element.dataset.is = is;
    set(this.about, (stream.source?.error ?? (running ? left || doing : "")) || stream.description || stream.kind);
    this.about.title = this.about.textContent ?? "";
    const { took, now, title } = activity(stream);
    set(this.took, took);
    set(this.now, now);
    const parts = took ? [this.took, this.dot, this.now] : [this.now];
    if (this.rate.childElementCount !== parts.length) this.rate.replaceChildren(...parts);
    if (this.rate.title !== title) this.rate.title = title;
    this.bar.show(running && progress?.percent !== undefined ? progress : null);
  }
}

/** Sets a text, if it changed. @param {HTMLElement} element @param {string} text */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class Streams {
  constructor() {
    this.list = part("ul", "list");
    this.search = part("input", "search");
    /** @type {Map<string, Item>} */
    this.items = new Map();
    /** @type {string[]} */
    this.chosen = [];
    this.search.addEventListener("input", () => this.sift());
  }

  /** @param {Stream[]} streams */
  show(streams) {
    const names = new Set(streams.map(({ name }) => name));
    for (const [name, item] of this.items) {
      if (names.has(name)) continue;
      item.element.remove();
      this.items.delete(name);
    }
    streams.forEach((stream, at) => {
      const item = this.items.get(stream.name) ?? new Item(stream.name);
      this.items.set(stream.name, item);
      item.show(stream);
      if (this.list.children[at] !== item.element) this.list.insertBefore(item.element, this.list.children[at] ?? null);
    });
    part("p", "none").hidden = streams.length > 0;
    this.search.hidden = streams.length < MANY;
    this.sift();
    this.choose(this.chosen);
  }

  /** @param {string[]} chosen */
  choose(chosen) {
    this.chosen = chosen;
    for (const [name, { link, together }] of this.items) {
      const is = chosen.includes(name);
      if (is) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      // Shows this stream together with those on view, or without it.
      const names = is ? chosen.filter((one) => one !== name) : [...chosen, name];
      together.hidden = !chosen.length || !names.length;
      together.href = `?${new URLSearchParams(names.map((one) => ["stream", one]))}`;
      set(together, is ? "\u2212" : "+");
      together.title = is ? `Show ${names.join(" and ")} without ${name}` : `Show ${name} together with ${chosen.join(" and ")}, merged by time`;
      together.setAttribute("aria-label", together.title);
    }
  }

  sift() {
    const sought = this.search.hidden ? "" : this.search.value.toLowerCase();
    for (const [name, { element }] of this.items) element.hidden = !name.toLowerCase().includes(sought);
    part("p", "unfound").hidden = !sought || [...this.items.values()].some(({ element }) => !element.hidden);
  }
}
