// The control channel: one WebSocket for each server, which all subscriptions of a page share. It reconnects, and each
// subscription continues strictly after the last event it received. Where no WebSocket gets through, they read by HTTP.

import { Reader } from "./reader.js";

/**
 * An event as the server sends it.
 * @typedef {{ id: string, time?: string, origin?: string, text?: string, kind?: string, level?: string, continued?: boolean,
 *   missed?: number | null, reason?: string, code?: number | null, signal?: string, duration?: number, cause?: string,
 *   state?: string, run?: number, pid?: number, note?: string, error?: string, last?: { run?: number, code?: number | null, signal?: string, cause?: string, duration?: number }, [field: string]: unknown }} LogEvent
 * @typedef {{ state: string, percent?: number, current?: number, total?: number, phase?: string, message?: string,
 *   started: string, updated: string, eta?: string, stale?: boolean,
 *   groups?: { name: string, depth: number, started: string, duration?: number }[] }} Progress
 * @typedef {{ stream: string, grep?: string[], exclude?: string[], origin?: string[], level?: string, run?: string, tail?: number | "all",
 *   after?: string }} Wanted
 * @typedef {{ events(events: LogEvent[]): void, gap(gap: { missed: number | null, resume: string }): void,
 *   begun?(): void, open(rows: string[], streams?: string[]): void, progress(progress: Progress): void, ended(reason?: string): void, failed(error: Error): void }} Sink
 * @typedef {{ peer: string, yours: boolean, seconds: number }} Holder
 */

/** Shortest and longest wait before the next try, in milliseconds. */
const SOON = 500;
const LATE = 15_000;

/** The server's words when it restarts, and the wait before the first attempt after that, in milliseconds. */
export const RESTARTING = "rtlogd is restarting";
const RESTARTS = 150;

/** How often WebSockets fail, while the server answers by HTTP, before that is used; and how long until they are tried again then. */
const BLOCKED = 2;
const RETRIED = 60_000;

/** A pattern that no line has. */
export const NOTHING = "[^\\s\\S]";

/** What an error says. @param {unknown} error */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** A refusal by the server: `reason` as in the table of errors. */
export class Refusal extends Error {
  /** @param {{ message: string, data?: { reason?: string, detail?: string } }} error */
  constructor(error) {
    super(error.data?.detail ?? error.message);
    this.reason = error.data?.reason ?? "";
  }
}

/** One reader of one stream. */
export class Subscription {
  /** @param {Channel} channel @param {Wanted} wanted @param {Sink} sink */
  constructor(channel, wanted, sink) {
    this.channel = channel;
    this.wanted = wanted;
    this.sink = sink;
    /** The number it has on this connection; 0 if it has none. */
    this.number = 0;
    /** @type {string | undefined} */
    this.place = wanted.after;
    /** The rows that the program can still change, of each origin. @type {Map<string, string[]>} */
    this.rows = new Map();
  }

  /** A new connection says all rows there are. */
  begun() {
    this.rows.clear();
    this.sink.open([]);
    this.sink.begun?.();
  }

  close() {
    this.channel.drop(this);
  }
}

/** A connection to one server, kept up as long as anybody uses it. */
export class Channel {
  /** @param {string} base the server's address, with a slash at its end */
  constructor(base) {
    this.base = base;
    /** Asked before each connect. @type {(() => string | undefined | Promise<string | undefined>) | undefined} */
    this.getToken = undefined;
    /** Told when the connection is there, and when it is not. @type {Set<(up: boolean) => void>} */
    this.watchers = new Set();
    /** Why there is no connection, for people; `refused` if that is the server's decision or the page's mistake. */
    this.trouble = "";
    /** How it reads by HTTP; empty if it does not. */
    this.via = "";
    this.blocked = 0;
    /** Those who read by HTTP. @type {Map<Subscription, Reader>} */
    this.readers = new Map();
    this.refused = false;
    /** Whether the server has said that it restarts, until it is back. */
    this.restarting = false;
    /** @type {string | undefined} */
    this.token = undefined;
    /** Told who may type. @type {Set<(stream: string, holder: Holder | null) => void>} */
    this.leases = new Set();
    this.up = false;
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {Set<Subscription>} */
    this.subscriptions = new Set();
    /** @type {Map<number, { done(result: any): void, failed(error: Error): void }>} */
    this.calls = new Map();
    this.last = 0;
    this.fails = 0;
    this.timer = 0;
    this.asking = false;
    const wake = () => document.visibilityState === "visible" && this.timer && this.connect();
    addEventListener("online", wake);
    document.addEventListener("visibilitychange", wake);
  }

  /** @param {Wanted} wanted @param {Sink} sink */
  subscribe(wanted, sink) {
    const subscription = new Subscription(this, wanted, sink);
    this.subscriptions.add(subscription);
    if (this.up) this.begin(subscription);
    else if (this.via) this.read(subscription);
    else this.connect();
    return subscription;
  }

  /** @param {Subscription} subscription */
  drop(subscription) {
    this.subscriptions.delete(subscription);
    this.readers.get(subscription)?.close();
    this.readers.delete(subscription);
    if (this.up && subscription.number) {
      this.ask("subscription.unsubscribe", { subscription: subscription.number }, () => {}, () => {});
    }
    subscription.number = 0;
  }

  /**
   * @param {string} method
   * @param {object} params
   * @returns {Promise<any>}
   */
  call(method, params) {
    return new Promise((done, failed) => {
      if (this.up) this.ask(method, params, done, failed);
      else failed(new Error("not connected"));
    });
  }

  /**
   * @param {string} method
   * @param {object} params
   * @param {(result: any) => void} done
   * @param {(error: Error) => void} failed
   */
  ask(method, params, done, failed) {
    this.last += 1;
    this.calls.set(this.last, { done, failed });
    this.socket?.send(JSON.stringify({ jsonrpc: "2.0", id: this.last, method, params }));
  }

  async connect() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.socket || this.asking) return;
    this.asking = true;
    try {
      await this.renewToken();
      const url = this.address("control");
      url.protocol = url.protocol.replace("http", "ws");
      this.socket = new WebSocket(url, "rtlogd.v1");
    } catch (error) {
      this.down(messageOf(error));
      this.again();
      return;
    } finally {
      this.asking = false;
    }
    this.socket.onopen = () => this.opened();
    this.socket.onmessage = ({ data }) => this.heard(JSON.parse(data));
    this.socket.onclose = ({ reason }) => this.closed(reason);
  }

  async renewToken() {
    this.token = (await this.getToken?.()) || undefined;
  }

  /** An address of the server, with the token. @param {string} path */
  address(path) {
    const url = new URL(path, this.base);
    if (this.token) url.searchParams.set("access_token", this.token);
    return url;
  }

  opened() {
    this.fails = this.blocked = 0;
    this.up = true;
    this.via = "";
    this.restarting = false;
    for (const reader of this.readers.values()) reader.close();
    this.readers.clear();
    this.trouble = "";
    for (const subscription of this.subscriptions) this.begin(subscription);
    for (const watcher of this.watchers) watcher(true);
  }

  /** @param {string} reason what the server said when it closed the connection */
  closed(reason) {
    const was = this.up;
    if (reason === RESTARTING) this.restarting = true;
    this.up = false;
    this.socket = null;
    if (this.via) return this.again();
    // A browser does not tell a script why there is no WebSocket.
    if (!was) this.diagnose();
    for (const call of this.calls.values()) call.failed(new Error("the connection was lost"));
    this.calls.clear();
    for (const subscription of this.subscriptions) subscription.number = 0;
    this.down("");
    if (this.subscriptions.size || this.watchers.size) this.again();
  }

  /** Whether somebody reads, and there is no connection by which to read. */
  get isDown() {
    return this.subscriptions.size > 0 && !this.up && !this.via && this.trouble !== "";
  }

  /** @param {string} trouble what was refused; empty if there is just no connection */
  down(trouble) {
    this.refused = trouble !== "";
    this.trouble = trouble || (this.restarting && RESTARTING) || `no connection to ${new URL(this.base).host}; retrying`;
    for (const watcher of this.watchers) watcher(false);
  }

  /** Asks by HTTP why there is no WebSocket: the answer has the server's own words. */
  async diagnose() {
    const [{ wanted } = { wanted: null }] = this.subscriptions;
    if (!wanted) return;
    let trouble = "";
    try {
      const answer = await fetch(this.address(`streams/${encodeURIComponent(wanted.stream)}/state`), { cache: "no-store" });
      if (answer.ok && !this.up) {
        this.blocked += 1;
        if (this.blocked >= BLOCKED && !this.via) {
          this.via = "HTTP";
          for (const subscription of this.subscriptions) this.read(subscription);
        }
      }
      if (answer.ok || answer.status === 404) return;
      trouble = (await answer.json().catch(() => ({}))).detail ?? `${new URL(this.base).host} answers with status ${answer.status}`;
    } catch {
      this.blocked = 0;
      // The script of the element is for all pages: where it can be had, the server is there and refuses this page.
      const there = await fetch(new URL("rtlogd.js", this.base), { method: "HEAD" }).catch(() => null);
      if (there?.ok) trouble = `${new URL(this.base).host} does not allow pages of ${location.origin}: see \`origins\` in its configuration`;
    }
    if (trouble && !this.up) this.down(trouble);
  }

  /** Reads by HTTP. @param {Subscription} subscription */
  read(subscription) {
    this.readers.set(subscription, new Reader(this, subscription, (method, params) => tell(subscription, method, params)));
  }

  /** Notes that this works. @param {string} via */
  reads(via) {
    this.restarting = false;
    if (this.via === via && !this.trouble) return;
    this.via = via;
    this.trouble = "";
    for (const watcher of this.watchers) watcher(true);
  }

  again() {
    this.fails += 1;
    // The new server answers at once; not all of its readers come in the same moment.
    const soon = this.restarting && this.fails === 1 ? RESTARTS : SOON;
    const wait = (this.via ? RETRIED : Math.min(LATE, soon * 2 ** (this.fails - 1))) * (0.75 + Math.random() / 2);
    this.timer = window.setTimeout(() => this.connect(), wait);
  }

  /** @param {Subscription} subscription */
  begin(subscription) {
    const { place, wanted, sink } = subscription;
    const from = place ? { after: place, tail: undefined } : {};
    const begun = (/** @type {{ subscription: number, place: string }} */ result) => {
      if (!this.subscriptions.has(subscription)) {
        this.ask("subscription.unsubscribe", { subscription: result.subscription }, () => {}, () => {});
        return;
      }
      subscription.number = result.subscription;
      subscription.place = result.place;
      subscription.begun();
    };
    this.ask("stream.subscribe", { ...wanted, ...from }, begun, (error) => {
      if (!this.subscriptions.has(subscription)) return;
      sink.failed(error);
      // What is wrong stays wrong; a stream that is not there may come.
      if (!(error instanceof Refusal) || error.reason !== "wrong-parameters") this.beginLater(subscription);
    });
  }

  /** @param {Subscription} subscription */
  beginLater(subscription) {
    subscription.number = 0;
    setTimeout(() => this.up && !subscription.number && this.subscriptions.has(subscription) && this.begin(subscription), 5000);
  }

  /** @param {any} message */
  heard({ id, result, error, method, params }) {
    if (method === "process.leased") {
      for (const watcher of this.leases) watcher(params.stream, params.holder);
    } else if (method) {
      for (const subscription of this.subscriptions) {
        if (subscription.number === params.subscription) tell(subscription, method, params);
      }
    } else {
      const call = this.calls.get(id);
      this.calls.delete(id);
      if (error) call?.failed(new Refusal(error));
      else call?.done(result);
    }
  }
}

/**
 * @param {Subscription} subscription
 * @param {string} method
 * @param {any} params
 */
function tell(subscription, method, params) {
  const { sink } = subscription;
  if (method === "stream.events") {
    subscription.place = params.events.at(-1)?.id ?? subscription.place;
    sink.events(params.events);
  } else if (method === "stream.gap") {
    subscription.place = params.resume;
    sink.gap(params);
  } else if (method === "stream.open") {
    subscription.rows.set(params.origin, params.rows ?? []);
    sink.open([...subscription.rows.values()].flat());
  } else if (method === "stream.progress") sink.progress(params.progress);
  else if (method === "stream.place") subscription.place = params.place;
  else if (method === "subscription.ended") {
    sink.ended(params.reason);
    // Of one run, nothing more comes.
    if (!subscription.wanted.run) subscription.channel.beginLater(subscription);
  }
}

/** @type {Map<string, Channel>} */
const channels = new Map();

/**
 * The one channel of a page to the server at `base`, which has its tokens from `tokenUrl`, if that is given.
 * @param {string} base
 * @param {string} [tokenUrl] answers with a token as text
 */
export function channelTo(base, tokenUrl = "") {
  const key = `${base} ${tokenUrl}`;
  const known = channels.get(key);
  if (known) return known;
  const channel = new Channel(base);
  if (tokenUrl) {
    channel.getToken = async () => {
      const answer = await fetch(tokenUrl, { cache: "no-store" }).catch(() => {
        throw new Error(`no token from ${tokenUrl}: it does not answer, or does not let this page read the answer`);
      });
      const token = answer.ok && (await answer.text()).trim();
      if (!token) throw new Error(`no token from ${tokenUrl}: ${answer.ok ? "the answer is empty" : answer.status}`);
      return token;
    };
  }
  channels.set(key, channel);
  return channel;
}
