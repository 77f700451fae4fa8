// The search in the whole history of a stream, from the current line on.

import { pattern } from "./ansi.js";
import { button, part } from "./icons.js";
import { numberOf } from "./rows.js";
import { read } from "./server.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */

export class Finder {
  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    this.bar = part("form", "find-bar");
    this.input = part("input", "find");
    this.found = part("span", "found");
    const replace = (/** @type {string} */ id, /** @type {HTMLButtonElement} */ made) => {
      made.id = id;
      part("button", id).replaceWith(made);
    };
    replace("find-older", button("older", "Older match", () => this.go(true)));
    replace("find-newer", button("newer", "Newer match", () => this.go(false)));
    replace("find-close", button("close", "Close the search", () => this.close()));
    this.bar.addEventListener("submit", (submit) => {
      submit.preventDefault();
      this.go(true);
    });
    this.input.addEventListener("input", () => this.mark());
  }

  open() {
    this.bar.hidden = false;
    this.input.focus();
    this.input.select();
    this.mark();
  }

  close() {
    this.bar.hidden = true;
    this.found.textContent = "";
    this.viewer.sought = null;
    this.viewer.remark();
    this.viewer.view.element.focus({ preventScroll: true });
  }

  /** The pattern for the server. It ignores case unless it contains a capital letter. */
  get pattern() {
    const text = this.input.value;
    return text === text.toLowerCase() ? `(?i)${text}` : text;
  }

  mark() {
    this.viewer.sought = this.input.value ? pattern(this.pattern) : null;
    this.viewer.remark();
  }

  /** Goes to the next match from the selected line on, or from the lines in the view. @param {boolean} older */
  async go(older) {
    const { viewer } = this;
    if (this.bar.hidden || !this.input.value) return this.open();
    const here = viewer.chosen || (older ? "" : viewer.events.at(-1)?.id ?? "");
    /** @type {import("./server.js").Parameters} */
    const one = [...(older ? [/** @type {[string, string]} */ (["tail", "1"])] : []), ["limit", "1"]];
    this.found.textContent = "searching…";
    try {
      const match = await viewer.nearest(older, here, async (name, from) => {
        const events = await read(name, [...from, ...one, ...viewer.filters, ["grep", this.pattern]]);
        return events.find(({ kind }) => !kind);
      });
      this.found.textContent = match ? `line ${numberOf(match.id).toLocaleString()}` : older ? "no older match" : "no newer match";
      if (!match) return;
      await viewer.goTo(match.id);
      viewer.onplace();
    } catch (error) {
      this.found.textContent = error instanceof Error ? error.message : String(error);
    }
  }
}
