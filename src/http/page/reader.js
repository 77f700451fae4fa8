// Reads one stream by plain HTTP, where a proxy lets no WebSocket through: by Server-Sent Events or, where those are held back,
// too, by polling. Each way continues strictly after the last event that came by any of them.

/** @typedef {import("./channel.js").Channel} Channel */
/** @typedef {import("./channel.js").Subscription} Subscription */

/** Most readers of a page that hold a connection; browsers open six to a server, and commands need one. Others ask now and then. */
const HELD = 4;

/**
 * Pause of those, the silence after which Server-Sent Events may be held back (the next time twice as long), and the wait before
 * another try, in milliseconds.
 */
const PAUSE = 2000;
const SILENCE = 4000;
const LONGEST_SILENCE = 128_000;
const RETRY = 3000;

/** The same while the server restarts. */
const RETURN = 300;

export class Reader {
  /**
   * @param {Channel} channel
   * @param {Subscription} subscription
   * @param {(method: string, params: object) => void} tell takes what the control channel would send
   */
  constructor(channel, subscription, tell) {
    this.channel = channel;
    this.subscription = subscription;
    this.tell = tell;
    this.timer = 0;
    this.closed = false;
    /** Whether it polls, since Server-Sent Events do not arrive. */
    this.polls = false;
    /** Whether no event follows, since the run that is read has ended. */
    this.ended = false;
    this.silence = SILENCE;
    /** @type {EventSource | null} */
    this.source = null;
    this.start();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.source?.close();
  }

  /** @param {() => unknown} act @param {number} wait */
  later(act, wait) {
    clearTimeout(this.timer);
    if (!this.closed) this.timer = window.setTimeout(act, wait);
  }

  /** An address of the stream, with what is wanted. @param {string} more @param {Record<string, string>} parameters */
  address(more, parameters) {
    const { place, wanted } = this.subscription;
    const url = this.channel.address(`streams/${encodeURIComponent(wanted.stream)}${more}`);
    for (const grep of wanted.grep ?? []) url.searchParams.append("grep", grep);
    url.searchParams.set(place ? "after" : "tail", place ?? String(wanted.tail ?? 100));
    for (const [name, value] of Object.entries({ level: wanted.level, run: wanted.run, ...parameters })) if (value) url.searchParams.set(name, value);
    return url;
  }

  /** Asks once. @param {number} wait for how many seconds if there is nothing @returns {Promise<boolean>} whether events came */
  async poll(wait) {
    const answer = await fetch(this.address("/poll", { wait: `${wait}s` }), { cache: "no-store" });
    const body = await answer.json();
    if (this.closed) return false;
    if (!answer.ok) throw Object.assign(new Error(body.detail ?? String(answer.status)), { status: answer.status });
    if (body.gap) this.tell("stream.gap", body.gap);
    if (body.events.length) this.tell("stream.events", body);
    if (body.progress) this.tell("stream.progress", body);
    this.subscription.place = body.next;
    this.ended = body.ended === true;
    return body.events.length > 0;
  }

  /** Starts to read, or resumes after something went wrong. */
  async start() {
    this.source?.close();
    try {
      await this.channel.renewToken();
      // The first answer also says from which place on nothing may be missed.
      while (await this.poll(0));
      if (this.closed) return;
      // A poll says that a run has ended; of Server-Sent Events, the browser tells an end and a failure alike.
      const asks = this.polls || !this.holds || Boolean(this.subscription.wanted.run);
      this.channel.reads(asks ? "polling" : "Server-Sent Events");
      this.subscription.begun();
      if (this.ended) return;
      if (asks) this.ask();
      else this.listen();
    } catch (error) {
      this.wrong(error);
    }
  }

  /** Whether it is one of the few that may hold a connection. */
  get holds() {
    return [...this.channel.subscriptions].indexOf(this.subscription) < HELD;
  }

  async ask() {
    try {
      await this.poll(this.holds ? 25 : 0);
      if (this.ended) return;
      this.later(() => this.ask(), this.holds ? 0 : PAUSE);
    } catch (error) {
      this.wrong(error);
    }
  }

  listen() {
    const source = new EventSource(this.address("", { format: "sse", data: "json" }));
    this.source = source;
    const heard = (/** @type {MessageEvent} */ { type, data, lastEventId }) => {
      // The browser's own event that the connection is open has the name of ours, and no data.
      if (this.closed || source !== this.source || data === undefined) return;
      this.later(() => this.suspect(), this.silence);
      const fields = JSON.parse(data);
      if (type === "state" && !fields.id) {
        // The server ends, and this is no event of the stream.
        this.channel.restarting = fields.restarting === true;
        return;
      }
      if (type === "gap") this.tell("stream.gap", fields);
      else if (type === "open") this.tell("stream.open", fields);
      else if (type === "progress") this.tell("stream.progress", { progress: fields });
      else if (type === "denied") this.wrong(new Error(fields.why));
      else this.tell("stream.events", { events: [{ ...fields, id: lastEventId, ...(type === "message" ? {} : { kind: type }) }] });
    };
    for (const type of ["message", "state", "loss", "end", "gap", "open", "progress", "denied"]) source.addEventListener(type, heard);
    source.onerror = () => source === this.source && this.wrong(null);
    this.later(() => this.suspect(), this.silence);
  }

  /** After a silence: if events are there that did not come, something on the way holds them back. */
  async suspect() {
    const { source } = this;
    this.silence = Math.min(LONGEST_SILENCE, 2 * this.silence);
    // What comes while it asks must not come twice.
    this.source = null;
    source?.close();
    try {
      this.polls = await this.poll(0);
      if (this.closed) return;
      if (this.polls) this.start();
      else this.listen();
    } catch (error) {
      this.wrong(error);
    }
  }

  /** @param {any} error */
  wrong(error) {
    this.source?.close();
    this.source = null;
    if (this.closed) return;
    if ([404, 410].includes(error?.status)) this.subscription.sink.failed(error);
    else if (error || this.channel.restarting) this.channel.down(!error || error instanceof TypeError ? "" : error.message);
    this.later(() => this.start(), this.channel.restarting ? RETURN : RETRY);
  }
}
