// Several streams as one: their lines are merged by time, whichever way they are read. The lines of one stream keep their order.
//
// A view holds a piece of the merged lines without holes. Each stream that has lines in it continues from its own first and last
// one; of each other stream the edge is known, which is the place in it where the piece lies.

import { channel, read } from "./server.js";
import { numberOf } from "./rows.js";

/** @typedef {import("./channel.js").LogEvent} LogEvent */
/** @typedef {import("./channel.js").Sink} Sink */
/** @typedef {import("./channel.js").Wanted} Wanted */
/** @typedef {import("./server.js").Parameters} Parameters */
/** @typedef {{ before?: string, upTo?: string }} Edge */

/** How long live lines wait for those of other streams, in milliseconds: no longer than a reader notices. */
const PATIENCE = 200;

/** How close a place in another stream is looked for, in lines; fewer than are read from there. */
const NEAR = 200;

/** The id of a line of several streams is that of its stream, behind the stream's name. @param {string} id */
export const nameOf = (id) => id.slice(0, Math.max(0, id.indexOf(":")));
/** @param {string} id */
const bare = (id) => id.slice(id.indexOf(":") + 1);

/** The id just before `id`, in its epoch. @param {string} id */
export function before(id) {
  const at = id.lastIndexOf("-") + 1;
  return id.slice(0, at) + (Number(id.slice(at)) - 1);
}

/** The time of an event: the one that the line itself declares, if it does. @param {LogEvent} event */
const timeOf = ({ logged, time }) => Date.parse(/** @type {string | undefined} */ (logged) ?? time ?? "");

/**
 * The events of one stream with their times, which never fall. What is no line has the time when it was noted, which may be much
 * later than those that the lines around it declare; then these count.
 * @param {LogEvent[]} events
 */
function timed(events) {
  let latest = -Infinity;
  const found = events.map((event) => {
    if (!event.kind) latest = Math.max(latest, timeOf(event) || latest);
    return { event, at: latest };
  });
  let next = Infinity;
  for (const one of found.toReversed()) {
    if (one.event.kind) one.at = Math.max(one.at, Math.min(timeOf(one.event) || next, next));
    next = one.at;
  }
  return found;
}

/**
 * Merges the events of several streams. Where a stream has more events than were read, nothing beyond them can be merged yet.
 * @param {{ events: LogEvent[], more: boolean }[]} parts
 * @param {"first" | "last" | ""} [open] at which end there may be more events
 * @returns {LogEvent[]}
 */
export function merge(parts, open = "") {
  const lists = parts.map(({ events }) => timed(events));
  const ends = lists.map((list, at) => (parts[at].more ? list.at(open === "first" ? 0 : -1)?.at : undefined)).filter((at) => at !== undefined);
  const all = lists.flatMap((list, stream) => list.map((one, at) => ({ ...one, stream, place: at })));
  const kept = open && ends.length ? all.filter(({ at }) => (open === "first" ? at >= Math.max(...ends) : at <= Math.min(...ends))) : all;
  return kept.sort((a, b) => a.at - b.at || a.stream - b.stream || a.place - b.place).map(({ event }) => event);
}

export class Merged {
  /** @param {string[]} names @param {() => Parameters} filters */
  constructor(names, filters) {
    this.names = names;
    this.filters = filters;
    /** @type {Map<string, Edge>} */
    this.edges = new Map();
    /** The ids of the first and the last line of each stream in the view. @type {Map<string, { first: string, last: string }>} */
    this.seen = new Map();
  }

  /** Events of one stream. @param {string} name @param {Parameters} parameters */
  async read(name, parameters) {
    const events = await read(name, [...parameters, ...this.filters()]);
    return events.filter(({ kind }) => kind !== "gap").map((event) => named(name, event));
  }

  /** Does the same for each stream. @template T @param {(name: string) => Promise<T>} act */
  each(act) {
    return Promise.all(this.names.map(act));
  }

  /** Notes which lines a view holds now. @param {LogEvent[]} list @param {boolean} newest whether the newest ones were dropped, else the oldest */
  note(list, newest) {
    for (const name of this.names) {
      const first = list.find(({ stream }) => stream === name);
      const last = first && list.findLast(({ stream }) => stream === name);
      const seen = this.seen.get(name);
      if (first && last) this.seen.set(name, { first: bare(first.id), last: bare(last.id) });
      else if (seen) {
        this.edges.set(name, newest ? { before: seen.first } : { upTo: seen.last });
        this.seen.delete(name);
      }
    }
  }

  /** Begins with other lines. @param {LogEvent[]} list @param {(name: string) => Edge} edge of a stream that has no lines there */
  begin(list, edge) {
    this.seen.clear();
    this.edges.clear();
    for (const name of this.names) this.edges.set(name, edge(name));
    this.note(list, false);
    return list;
  }

  /** The newest lines. @param {number} size of each stream */
  async newest(size) {
    const parts = await this.each(async (name) => part(await this.read(name, [["tail", String(size)]]), size));
    return this.begin(merge(parts, "first"), (name) => ({ upTo: lastId(parts[this.names.indexOf(name)].events) }));
  }

  /** The oldest lines that are kept. @param {number} size of each stream */
  async oldest(size) {
    const parts = await this.each(async (name) => part(await this.read(name, [["tail", "all"], ["limit", String(size)]]), size));
    return this.begin(merge(parts, "last"), (name) => ({ before: firstId(parts[this.names.indexOf(name)].events) }));
  }

  /** The lines before those in the view; none if there are none. @param {number} size of each stream */
  async older(size) {
    const parts = await this.each(async (name) => {
      const { first } = this.seen.get(name) ?? {};
      const { before: to = first, upTo } = first ? {} : this.edges.get(name) ?? {};
      if (!to && !upTo) return part([], size);
      const events = await this.read(name, [...(to ? [pair("before", to)] : []), ["tail", String(size)]]);
      return part(upTo ? events.filter(({ id }) => numberOf(id) <= numberOf(upTo)) : events, size);
    });
    return merge(parts, "first");
  }

  /** The lines behind those in the view, and whether these are all. @param {number} size of each stream */
  async newer(size) {
    const parts = await this.each(async (name) => {
      const events = await this.read(name, [...this.after(name), ["limit", String(size)]]);
      return part(events, size);
    });
    return { events: merge(parts, "last"), all: parts.every(({ more }) => !more) };
  }

  /** From where a stream continues behind the view. @param {string} name @returns {Parameters} */
  after(name) {
    const { last } = this.seen.get(name) ?? {};
    const edge = this.edges.get(name) ?? {};
    const from = last ?? edge.upTo ?? (edge.before && before(edge.before));
    return from ? [["after", from]] : [["tail", "all"]];
  }

  /** The lines around one, of all streams. @param {string} id @param {number} above @param {number} size */
  async around(id, above, size) {
    const home = nameOf(id);
    const [found] = await read(home, [["after", before(bare(id))], ["limit", "1"]]);
    const parts = await this.each(async (name) => {
      const from = name === home ? pair("after", before(bare(id))) : await this.locate(name, found);
      const below = await this.read(name, [from, ["limit", String(size)]]);
      const to = name === home ? bare(id) : firstId(below);
      return { below, above: await this.read(name, [...(to ? [pair("before", to)] : []), ["tail", String(above)]]) };
    });
    // Both at once, since the place that was found in another stream is a little before the line's time.
    const upper = merge(parts.map((one) => ({ events: [...one.above, ...one.below], more: part(one.above, above).more })), "first");
    const lower = new Set(merge(parts.map((one) => ({ events: [...one.above, ...one.below], more: part(one.below, size).more })), "last"));
    const list = upper.filter((event) => lower.has(event));
    return this.begin(list, (name) => {
      const one = parts[this.names.indexOf(name)];
      const at = timeOf(found ?? {});
      const later = one.below.find((event) => timeOf(event) > at);
      return later ? { before: bare(later.id) } : { upTo: lastId([...one.above, ...one.below]) };
    });
  }

  /** A place in a stream shortly before a line of another one: by halves, since times are not searched by. @param {string} name @param {LogEvent | undefined} line @returns {Promise<[string, string]>} */
  async locate(name, line) {
    const [[first], [last]] = await Promise.all([read(name, [["tail", "all"], ["limit", "1"]]), read(name, [["tail", "1"], ["limit", "1"]])]);
    const epoch = last?.id.slice(0, last.id.lastIndexOf("-") + 1) ?? "";
    if (!line || !first || !first.id.startsWith(epoch)) return pair("since", line?.time ?? new Date().toISOString());
    let [low, high] = [numberOf(first.id) - 1, numberOf(last.id)];
    while (high - low > NEAR) {
      const middle = Math.floor((low + high) / 2);
      const event = (await read(name, [["after", `${epoch}${middle}`], ["limit", "1"]])).find(({ kind }) => !kind);
      if (event && timeOf(event) < timeOf(line)) low = middle;
      else high = middle;
    }
    return pair("after", `${epoch}${low}`);
  }

  /**
   * The nearest line before or after one that matches, of all streams.
   * @param {boolean} older
   * @param {LogEvent[]} list what the view holds
   * @param {string} here the line; empty for the newest or oldest one
   * @param {(name: string, from: Parameters) => Promise<LogEvent | undefined>} find
   */
  async nearest(older, list, here, find) {
    const at = list.findIndex(({ id }) => id === here);
    const found = await this.each(async (name) => {
      const mine = (/** @type {LogEvent} */ { stream, kind }) => stream === name && kind !== "gap";
      const near = at < 0 ? undefined : older ? list.slice(at).find(mine) : list.slice(0, at + 1).findLast(mine);
      const seen = this.seen.get(name);
      /** @type {Parameters} */
      let from = older ? [] : [["tail", "all"]];
      if (near) from = [[older ? "before" : "after", bare(near.id)]];
      else if (at >= 0 && !older) from = seen ? [["after", before(seen.first)]] : this.after(name);
      const event = await find(name, from);
      // Without a place to begin at, it may be one behind those in the view.
      const isBeyond = event && older && !near && at >= 0 && timeOf(event) > timeOf(list[at]);
      return event && !isBeyond ? named(name, event) : undefined;
    });
    const times = merge(found.map((event) => ({ events: event ? [event] : [], more: false })));
    return older ? times.at(-1) : times[0];
  }

  /** Receives what comes live, in the order of time as far as it comes in time. @param {Wanted} wanted @param {Sink} sink @param {boolean} all from the view on, else only what is new */
  subscribe(wanted, sink, all) {
    /** @type {Map<string, LogEvent[]>} */
    const waiting = new Map(this.names.map((name) => [name, []]));
    /** @type {Map<string, string[]>} */
    const rows = new Map();
    let timer = 0;
    const deliver = () => {
      timer = 0;
      const events = merge([...waiting.values()].map((events) => ({ events: events.splice(0), more: false })));
      if (events.length) sink.events(events);
    };
    const later = () => (timer ||= window.setTimeout(deliver, PATIENCE));
    const subscriptions = this.names.map((name) => {
      const [[how, value]] = this.after(name);
      const from = !all ? { tail: 0 } : how === "after" ? { after: value } : { tail: /** @type {const} */ ("all") };
      return channel.subscribe({ ...wanted, stream: name, ...from }, {
        events: (events) => {
          waiting.get(name)?.push(...events.map((event) => named(name, event)));
          later();
        },
        gap: (gap) => {
          deliver();
          sink.gap({ ...gap, resume: `${name}:${gap.resume}`, ...{ stream: name } });
        },
        open: (shown) => {
          rows.set(name, shown);
          sink.open([...rows.values()].flat(), [...rows].flatMap(([stream, shown]) => shown.map(() => stream)));
        },
        progress: () => {},
        begun: () => sink.begun?.(),
        ended: (reason) => sink.ended(`${name}: ${reason ?? "the stream has ended"}`),
        failed: (error) => sink.failed(new Error(`${name}: ${error.message}`)),
      });
    });
    return {
      close: () => {
        clearTimeout(timer);
        for (const subscription of subscriptions) subscription.close();
      },
    };
  }
}

/** @param {string} name @param {LogEvent} event @returns {LogEvent} */
const named = (name, event) => ({ ...event, id: `${name}:${event.id}`, stream: name });

/** The events that were read, and whether there may be more. @param {LogEvent[]} events @param {number} size */
const part = (events, size) => ({ events, more: events.filter(({ kind }) => !kind).length >= size });

/** @param {LogEvent[]} events */
const firstId = (events) => (events[0] ? bare(events[0].id) : undefined);
/** @param {LogEvent[]} events */
const lastId = (events) => (events.length ? bare(/** @type {LogEvent} */ (events.at(-1)).id) : undefined);

/** @param {string} name @param {string} value @returns {[string, string]} */
const pair = (name, value) => [name, value];
