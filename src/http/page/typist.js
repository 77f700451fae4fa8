// Commands to a process, for readers with the right: typing a line, with a lease so that two do not type at once; start and stop.

import { button, part } from "./icons.js";
import { channel, command } from "./server.js";

/** @typedef {import("./server.js").Stream} Stream */
/** @typedef {import("./channel.js").Holder} Holder */

/** How long a lease lasts without a key press, in seconds, and the shortest interval at which it is renewed, in milliseconds. */
const LEASE = 30;
const RENEW = 10_000;

export class Typist {
  /** @param {(text: string) => void} say */
  constructor(say) {
    this.say = say;
    this.form = part("form", "typing");
    this.input = part("input", "typed");
    this.lease = part("span", "lease");
    this.commands = part("span", "commands");
    this.name = "";
    this.shown = "";
    this.renewed = 0;
    /** @type {string[]} */
    this.typed = [];
    this.form.addEventListener("submit", (submit) => {
      submit.preventDefault();
      this.send({ text: `${this.input.value}\n` });
      if (this.input.value) this.typed.push(this.input.value);
      this.input.value = "";
    });
    this.input.addEventListener("focus", () => this.take());
    this.input.addEventListener("input", () => this.take());
    this.input.addEventListener("blur", () => this.giveBack());
    this.input.addEventListener("keydown", (key) => this.pressed(key));
    part("button", "interrupt").addEventListener("click", () => this.do("signal?signal=INT", "SIGINT was sent."));
    part("button", "eof").addEventListener("click", () => this.send({ eof: true }));
    channel.leases.add((stream, holder) => stream === this.name && this.showHolder(holder));
  }

  /** @param {Stream | undefined} stream */
  show(stream) {
    const may = stream?.may ?? [];
    const running = stream?.source?.state === "running";
    const name = stream?.name ?? "";
    if (name !== this.name) {
      this.name = name;
      this.showHolder(null);
      this.renewed = 0;
    }
    const typing = may.includes("input") && running;
    this.form.hidden = !typing;
    this.input.placeholder = `Type a line into ${name}`;
    part("button", "interrupt").hidden = !may.includes("admin");
    const offered = !may.includes("admin") ? "" : running || stream?.source?.state === "backing-off" ? "restart stop" : "start";
    if (offered === this.shown) return;
    this.shown = offered;
    const made = {
      start: () => button("start", "Start", () => this.do("start", "Started.")),
      stop: () => button("stop", "Stop", () => this.do("stop", "Stopped.")),
      restart: () => button("restart", "Restart", () => this.do("restart", "Restarted.")),
    };
    const buttons = offered.split(" ").filter(Boolean).map((one) => made[/** @type {keyof typeof made} */ (one)]());
    for (const one of buttons) {
      one.classList.add("named");
      one.append(one.title);
    }
    this.commands.replaceChildren(...buttons);
  }

  /** @param {string} path @param {string} done */
  async do(path, done) {
    try {
      await command(this.name, path);
      this.say(done);
    } catch (error) {
      this.say(error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {{ text?: string, eof?: boolean }} what */
  async send(what) {
    try {
      if (channel.via) await command(this.name, what.eof ? "input?eof=true" : "input", what.text ?? "");
      else await channel.call("process.input", { stream: this.name, ...what });
      this.say("");
    } catch (error) {
      this.say(error instanceof Error ? error.message : String(error));
    }
  }

  take() {
    // Leases exist only on the channel.
    if (channel.via || Date.now() - this.renewed < RENEW) return;
    this.renewed = Date.now();
    channel.call("process.lease", { stream: this.name, seconds: LEASE }).catch((error) => this.say(error.message));
  }

  giveBack() {
    if (!this.renewed) return;
    this.renewed = 0;
    channel.call("process.lease", { stream: this.name, seconds: 0 }).catch(() => {});
  }

  /** @param {Holder | null} holder */
  showHolder(holder) {
    this.lease.textContent = !holder ? "" : holder.yours ? "only you can type" : `${holder.peer} is typing`;
    this.lease.dataset.yours = String(holder?.yours ?? true);
    clearTimeout(this.over);
    if (holder) this.over = window.setTimeout(() => this.showHolder(null), holder.seconds * 1000);
  }

  /** Brings back earlier input with the arrow keys. @param {KeyboardEvent} key */
  pressed(key) {
    if (key.key !== "ArrowUp" && key.key !== "ArrowDown") return;
    const at = this.typed.lastIndexOf(this.input.value);
    const from = at < 0 ? this.typed.length : at;
    this.input.value = this.typed[from + (key.key === "ArrowUp" ? -1 : 1)] ?? "";
    key.preventDefault();
  }
}
