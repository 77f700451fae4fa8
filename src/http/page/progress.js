// The progress of a stream: its words, and the bar.

/** @typedef {import("./channel.js").Progress} Progress */

/**
 * Two units at most: 0.3s, 12s, 3m 12s, 2h 5m, 4d 3h. Tenths are shown below ten seconds, as by the commands.
 * @param {number} seconds
 */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (seconds < 10) return `${Math.round(Math.max(0, seconds) * 10) / 10}s`;
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${Math.floor(s / 60) % 60}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor(s / 3600) % 24}h`;
}

/**
 * How long until then, in words that do not change with each second.
 * @param {string | undefined} eta
 */
function until(eta) {
  const left = eta ? (Date.parse(eta) - Date.now()) / 1000 : NaN;
  if (!(left > 0)) return "";
  if (left < 10) return "a few seconds left";
  if (left < 60) return `${Math.ceil(left / 5) * 5}s left`;
  if (left < 3600) return `${Math.ceil(left / 60)} min left`;
  return `${duration(left)} left`;
}

/**
 * What a line about it says: the words next to the bar.
 * @param {Progress} progress
 */
export function words({ state, percent, current, total, phase, message, eta, stale }) {
  const counted = current !== undefined && total !== undefined ? `${current} / ${total}` : "";
  const far = percent === undefined ? "" : `${Math.floor(percent)}%`;
  const how = { paused: "paused", error: "failed", done: "done", running: stale ? "quiet" : "", indeterminate: stale ? "quiet" : "" }[state] ?? "";
  const left = state === "running" && !stale ? until(eta) : "";
  return { far, how, left, counted, doing: [phase, message].filter(Boolean).join(" · ") };
}

/**
 * A bar, which `show` sets.
 * @param {string} label
 */
export function bar(label) {
  const track = document.createElement("div");
  const full = document.createElement("div");
  track.className = "bar";
  track.append(full);
  track.setAttribute("role", "progressbar");
  track.setAttribute("aria-label", label);
  track.setAttribute("aria-valuemin", "0");
  track.setAttribute("aria-valuemax", "100");
  const show = (/** @type {Progress | null} */ progress) => {
    const percent = progress?.percent;
    const moves = progress?.state === "indeterminate" || (progress?.state === "running" && percent === undefined);
    track.hidden = !progress || (percent === undefined && !moves);
    track.dataset.state = moves ? "indeterminate" : progress?.stale ? "paused" : progress?.state ?? "";
    full.style.width = moves ? "" : `${percent ?? 100}%`;
    if (percent === undefined) track.removeAttribute("aria-valuenow");
    else track.setAttribute("aria-valuenow", String(Math.floor(percent)));
  };
  show(null);
  return { track, show };
}
