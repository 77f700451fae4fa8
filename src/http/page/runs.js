// The runs of a process, one of which may be chosen.

import { part } from "./icons.js";
import { duration } from "./progress.js";
import { runs } from "./server.js";
import { outcome } from "./streams.js";

/** @typedef {import("./server.js").Stream} Stream */
/** @typedef {import("./server.js").Run} Run */

/** What an option says of a run: its number, how it ended, when it began and how long it took. @param {Run} run */
function words({ run, started, ended, duration: took, ...end }) {
  const state = ended ? outcome(end)?.word ?? "ended" : "running";
  const begun = new Date(started).toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  return [`run ${run}`, state, begun, took === undefined ? "" : duration(took)].filter(Boolean).join(" · ");
}

export class RunPicker {
  /** @param {(run: string) => void} onchoose called with the number of the run; empty for all runs */
  constructor(onchoose) {
    this.select = part("select", "run");
    this.select.addEventListener("change", () => onchoose(this.select.value));
    /** The stream and its last run, for which the options were asked. */
    this.asked = "";
    /** @type {Run[]} */
    this.runs = [];
  }

  /** Offers the runs of a stream. @param {Stream | undefined} stream none if there is not one stream @param {string} chosen */
  async show(stream, chosen) {
    const last = stream?.last_run;
    const wanted = stream && last ? [stream.name, last.started, last.ended].join(" ") : "";
    if (wanted !== this.asked) {
      const isOther = wanted.split(" ")[0] !== this.asked.split(" ")[0];
      this.asked = wanted;
      if (isOther) this.runs = [];
      // Without a list, there is nothing to choose; it is asked for again with the next run.
      const found = stream && wanted ? await runs(stream.name).catch(() => []) : [];
      if (wanted !== this.asked) return;
      this.runs = found;
    }
    this.offer(chosen);
  }

  /** The run that is chosen, if it is among the newest. @param {string} chosen its number, or as `run=` names it @returns {Run | undefined} */
  find(chosen) {
    const named = { current: () => true, last: (/** @type {Run} */ { ended }) => Boolean(ended), passed: (/** @type {Run} */ { passed }) => passed === true };
    return this.runs.find(Object.hasOwn(named, chosen) ? named[/** @type {keyof typeof named} */ (chosen)] : ({ run }) => String(run) === chosen);
  }

  /** @param {string} chosen */
  offer(chosen) {
    const options = this.runs.map((run) => ({ value: String(run.run), text: words(run), gone: !run.kept }));
    // A run by another name, or one that is not among the newest.
    if (chosen && !options.some(({ value }) => value === chosen)) options.unshift({ value: chosen, text: `run ${chosen}`, gone: false });
    this.select.hidden = options.length === 0;
    const all = [{ value: "", text: "all runs", gone: false }, ...options];
    // An open list must not change under the hand of the reader.
    const text = JSON.stringify(all);
    if (this.select.dataset.options !== text) {
      this.select.dataset.options = text;
      this.select.replaceChildren(...all.map(({ value, text: label, gone }) => {
        const option = new Option(gone ? `${label} · no longer stored` : label, value);
        option.disabled = gone;
        return option;
      }));
    }
    this.select.value = chosen;
  }
}
