// The page: the list at the side, the streams in the middle, keys and buttons. The address says what is shown.

import { messageOf } from "./channel.js";
import { channel, download, login, Refused, streams, tokenRefused } from "./server.js";
import { Finder } from "./finder.js";
import { button, icon, part } from "./icons.js";
import { sheet } from "./look.js";
import { make } from "./rows.js";
import { RunPicker } from "./runs.js";
import { Streams } from "./streams.js";
import { Typist } from "./typist.js";
import { Viewer } from "./viewer.js";

/** @typedef {import("./server.js").Stream} Stream */

/** How often the list is asked for, in milliseconds. */
const LIST = 2000;

document.adoptedStyleSheets = [sheet("")];

const list = new Streams();
const viewer = new Viewer();
const finder = new Finder(viewer);
const typist = new Typist((text) => viewer.say(text));
const filter = part("input", "filter");
const level = part("select", "level");
const picker = new RunPicker((run) => {
  viewer.open(viewer.names, viewer.filter, viewer.level, "", run);
  note();
  showKnown();
});
/** @type {Stream[]} */
let known = [];

/** Shows what the address says. */
function show() {
  const query = new URLSearchParams(location.search);
  const names = [...new Set(query.getAll("stream").filter(Boolean))];
  // On a narrow screen, the list takes the place of the streams to which another one is added.
  const kept = names.length ? names : query.getAll("with").filter(Boolean);
  document.body.className = names.length ? "viewing" : "overview";
  part("main", "viewer").hidden = !names.length;
  list.choose(kept);
  if (!names.length) return viewer.close();
  part("a", "add").href = `?${new URLSearchParams(names.map((name) => ["with", name]))}`;
  filter.value = query.get("grep") ?? "";
  level.value = query.get("level") ?? "";
  viewer.open(names, filter.value, level.value, decodeURIComponent(location.hash.slice(1)), query.get("run") ?? "");
  showKnown();
}

function showKnown() {
  const streams = viewer.names.map((name) => known.find((one) => one.name === name));
  part("a", "add").hidden = known.every(({ name }) => viewer.names.includes(name));
  const only = streams.length === 1 ? streams[0] : undefined;
  typist.show(only);
  const { name } = viewer;
  picker.show(only, viewer.run).then(() => viewer.name === name && viewer.showStreams(streams, picker.find(viewer.run)));
}

/** Puts what is shown into the address. */
function note() {
  const query = new URLSearchParams(viewer.names.map((name) => ["stream", name]));
  if (viewer.filter) query.set("grep", viewer.filter);
  if (viewer.level) query.set("level", viewer.level);
  if (viewer.run) query.set("run", viewer.run);
  picker.offer(viewer.run);
  [filter.value, level.value] = [viewer.filter, viewer.level];
  history.replaceState(null, "", `?${query}${viewer.place ? `#${viewer.place}` : ""}`);
}
viewer.onplace = note;

async function sift() {
  const [wanted, lowest, { name }] = [filter.value, level.value, viewer];
  const mistake = await viewer.mistake(wanted);
  if (filter.value !== wanted || viewer.name !== name) return;
  filter.setAttribute("aria-invalid", String(mistake !== ""));
  // An expression that is not finished yet changes nothing.
  viewer.say(mistake);
  if (mistake || (wanted === viewer.filter && lowest === viewer.level)) return;
  viewer.open(viewer.names, filter.value, level.value, "", viewer.run);
  note();
}
let typing = 0;
filter.addEventListener("input", () => {
  clearTimeout(typing);
  typing = window.setTimeout(sift, 300);
});
level.addEventListener("change", sift);
part("form", "filter-form").addEventListener("submit", (submit) => {
  submit.preventDefault();
  sift();
  viewer.view.element.focus();
});

document.addEventListener("click", (click) => {
  const link = click.target instanceof Element ? click.target.closest("a") : null;
  const plainly = click.button === 0 && !click.ctrlKey && !click.metaKey && !click.shiftKey && !click.altKey;
  if (!link || !plainly || click.defaultPrevented || link.target || link.origin !== location.origin) return;
  if (link.pathname !== location.pathname) return;
  click.preventDefault();
  history.pushState(null, "", link.href);
  show();
});
addEventListener("popstate", show);
addEventListener("hashchange", () => {
  const id = decodeURIComponent(location.hash.slice(1));
  if (id && id !== viewer.place) viewer.goTo(id);
});

// Settings are kept in the browser.
const view = viewer.view.element;
/** @param {"wrap" | "times" | "origins" | "utc"} name @param {boolean} on @param {HTMLButtonElement} pressed */
function set(name, on, pressed) {
  localStorage.setItem(`rtlogd-${name}`, String(on));
  view.classList.toggle(name, on);
  pressed.setAttribute("aria-pressed", String(on));
  viewer.view.resized();
}
/** @param {"wrap" | "times" | "origins" | "utc"} name @param {"wrap" | "clock" | "origin" | "globe"} sign @param {string} label */
function toggle(name, sign, label) {
  const made = button(sign, label, () => set(name, !view.classList.contains(name), made));
  const before = localStorage.getItem(`rtlogd-${name}`);
  set(name, before === null ? name === "wrap" && innerWidth < 700 : before === "true", made);
  return made;
}

const copy = () => {
  const text = viewer.view.textOf();
  navigator.clipboard.writeText(text).then(
    () => viewer.say(`Copied ${text.split("\n").length - 1} lines.`),
    () => viewer.say("Over plain HTTP, a page may not use the clipboard. Select the lines and press Ctrl+C."),
  );
};
const copyLink = () => {
  if (!viewer.chosen) viewer.step(0);
  navigator.clipboard.writeText(location.href).then(
    () => viewer.say(viewer.place.includes("..") ? "Copied the link to these lines." : "Copied the link to this line."),
    () => viewer.say(`Over plain HTTP, a page may not use the clipboard. Copy the link from the address bar: ${location.href}`),
  );
};
/** @param {MouseEvent} click */
const save = ({ shiftKey }) => download(viewer.names, [...viewer.filters, ["ansi", shiftKey ? "" : "strip"]]);
const help = () => {
  const shown = part("dialog", "help");
  shown.showModal();
  // The button at its end has the focus, and would scroll the beginning away.
  shown.scrollTop = 0;
};
/** Gives a button a word, where there is room for it. @param {HTMLButtonElement} made @param {string} word */
const named = (made, word) => {
  made.append(make("span", "word", word));
  return made;
};
const pause = named(button("pause", "Pause", () => viewer.toggle()), "Pause");
viewer.onfollow = (follow) => {
  pause.title = follow ? "Pause" : "Follow";
  if (pause.getAttribute("aria-label") === pause.title) return;
  pause.setAttribute("aria-label", pause.title);
  pause.replaceChildren(icon(follow ? "pause" : "follow"));
  named(pause, pause.title);
};
const wrap = named(toggle("wrap", "wrap", "Wrap lines"), "Wrap");
const times = named(toggle("times", "clock", "Show times"), "Times");
const utc = named(toggle("utc", "globe", "Times in UTC"), "UTC");
const offerUtc = () => {
  utc.hidden = !view.classList.contains("times");
};
times.addEventListener("click", offerUtc);
offerUtc();
const origins = named(toggle("origins", "origin", "Show origins"), "Origins");
part("div", "tools").append(
  pause,
  named(button("find", "Search the history", () => finder.open()), "Search"),
  wrap,
  times,
  utc,
  origins,
  named(button("copy", "Copy the selected lines, or all loaded lines", copy), "Copy"),
  named(button("link", "Copy a link to the selected line", copyLink), "Link"),
  named(button("download", "Download all kept lines as plain text (with Shift: with colours)", save), "Download"),
  button("help", "Keyboard shortcuts", help),
);
document.querySelector(".back")?.append(icon("back"));

/** @type {Record<string, () => void>} */
const keys = {
  "/": () => filter.focus(),
  f: () => finder.open(),
  n: () => void finder.go(true),
  N: () => void finder.go(false),
  " ": () => viewer.toggle(),
  g: () => viewer.toOldest(),
  G: () => viewer.followNow(),
  End: () => viewer.followNow(),
  Home: () => viewer.toOldest(),
  e: () => void viewer.tally.go("error", false),
  E: () => void viewer.tally.go("error", true),
  a: () => void viewer.tally.go("warning", false),
  A: () => void viewer.tally.go("warning", true),
  j: () => viewer.step(1),
  k: () => viewer.step(-1),
  c: copy,
  t: () => times.click(),
  o: () => origins.click(),
  w: () => wrap.click(),
  "?": help,
};
document.addEventListener("keydown", (key) => {
  const inside = key.target instanceof HTMLInputElement || key.target instanceof HTMLSelectElement;
  if (key.key === "Escape" && viewer.name && !document.querySelector("dialog[open]")) {
    if (!part("form", "find-bar").hidden) finder.close();
    else if (inside) view.focus();
    else if (viewer.view.selected) {
      viewer.view.selected = null;
      viewer.view.plan();
      note();
    }
    return;
  }
  if ((key.ctrlKey || key.metaKey) && !key.altKey && !key.shiftKey && viewer.name && !document.querySelector("dialog[open]")) {
    // The browser's own search and selection see only the rows in sight; a second Ctrl+F opens it.
    if (key.key === "f" && document.activeElement !== part("input", "find")) {
      key.preventDefault();
      finder.open();
    } else if (key.key === "a" && !inside) {
      key.preventDefault();
      viewer.chooseAll();
    }
  }
  const pressing = key.key === " " && key.target instanceof HTMLButtonElement;
  if (inside || pressing || key.ctrlKey || key.metaKey || key.altKey || !viewer.name || document.querySelector("dialog[open]")) return;
  if (!Object.hasOwn(keys, key.key)) return;
  key.preventDefault();
  keys[key.key]();
});

// Selected lines are copied without numbers and times, unless the browser has a selection of its own.
document.addEventListener("copy", (copied) => {
  const inside = copied.target instanceof HTMLInputElement;
  if (inside || !viewer.name || !viewer.view.selected || getSelection()?.isCollapsed === false) return;
  copied.preventDefault();
  copied.clipboardData?.setData("text/plain", viewer.view.textOf());
});

// The theme: light, dark, or that of the system.
const THEMES = /** @type {const} */ (["auto", "light", "dark"]);
const theme = part("button", "theme");
/** @param {string | null} wanted */
function dress(wanted) {
  const name = THEMES.find((one) => one === wanted) ?? "auto";
  document.documentElement.dataset.theme = name;
  theme.replaceChildren(icon(name));
  theme.title = `Colours: ${{ auto: "as the system", light: "light", dark: "dark" }[name]}`;
  theme.setAttribute("aria-label", theme.title);
}
theme.addEventListener("click", () => {
  const at = THEMES.findIndex((one) => one === document.documentElement.dataset.theme);
  localStorage.setItem("rtlogd-theme", THEMES[(at + 1) % THEMES.length]);
  dress(localStorage.getItem("rtlogd-theme"));
});
dress(localStorage.getItem("rtlogd-theme"));

const connection = part("span", "connection");
/** @param {string} trouble */
function connected(trouble) {
  connection.textContent = trouble;
  connection.dataset.is = trouble ? "bad" : "live";
  // Reading works all the same, with some delay; whoever maintains the proxy may want to know.
  if (!trouble && channel.via) connection.textContent = `connected by ${channel.via}, since a proxy blocks WebSockets`;
}
channel.watchers.add((up) => {
  if (up) refresh();
  else if (channel.restarting) connected(channel.trouble);
});

const dialog = part("dialog", "login");
part("form", "login-form").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  try {
    await login(part("input", "token").value.trim());
    location.reload();
  } catch (error) {
    showRefusal(messageOf(error));
  }
});
part("button", "login-cancel").addEventListener("click", () => dialog.close());
/** Somebody without a token closed the dialog, which then opens only on request. */
let declined = false;
dialog.addEventListener("close", () => {
  declined = true;
});
/** Names of options stand between backticks in what the server says. @param {string} text */
function showRefusal(text) {
  const words = text.split("`").map((part, at) => (at % 2 ? make("code", "", part) : part));
  part("p", "refused").replaceChildren(...words);
  part("p", "refused").hidden = !text;
}
/** @param {string} refusal */
function askForToken(refusal) {
  showRefusal(refusal);
  if (!dialog.open) dialog.showModal();
}
const key = button("key", "Log in with a token", () => askForToken(""));
theme.before(key);

let asked = 0;
async function refresh() {
  clearTimeout(asked);
  try {
    known = await streams();
    connected(tokenRefused ? `Your token was refused: ${tokenRefused}` : channel.isDown ? channel.trouble : "");
    // The server is there again, so there is no reason to wait.
    if (channel.isDown) channel.connect();
    list.show(known);
    if (viewer.name) showKnown();
  } catch (error) {
    const refused = error instanceof Refused && (error.status === 401 || error.status === 403);
    connected(refused ? "" : channel.restarting ? channel.trouble : "no connection; retrying");
    if (refused) {
      if (declined) connected("You are not logged in.");
      // The server's message for programs without a token does not help a person.
      else askForToken(tokenRefused || (error.status === 401 && error.message.startsWith("this needs a token") ? "" : error.message));
      return;
    }
  }
  clearTimeout(asked);
  asked = window.setTimeout(refresh, LIST);
}
document.addEventListener("visibilitychange", () => {
  clearTimeout(asked);
  if (document.visibilityState === "visible") refresh();
});

await refresh();
show();
