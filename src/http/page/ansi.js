// From a line with escape sequences (ECMA-48) to styled pieces of text. Knows nothing of the page.

import { readable } from "./colours.js";

/**
 * How a piece looks. Colours are 0 to 15, or what CSS understands.
 * @typedef {{ fg?: number | string, bg?: number | string, bold?: boolean, dim?: boolean, italic?: boolean,
 *   underline?: string, line?: number | string, overline?: boolean, strike?: boolean, inverse?: boolean, hidden?: boolean,
 *   href?: string }} Style
 * @typedef {{ text: string, style: Style }} Piece
 */

/** The most pieces of a line that keep their style; the rest is plain. */
const PIECES = 1000;

// CSI sequences, OSC sequences (with BEL, ST or unended), other escapes of two or three bytes.
const ESCAPE = /\x1b(?:\[([0-?]*)([ -/]*)([@-~])|\]([^\x07\x1b]*)(?:\x07|\x1b\\|$)|[PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]/g;

// Characters that are invisible or change the order of others: a sign or their number is drawn instead.
const UNSEEN = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** @param {string} c */
function seen(c) {
  const code = c.charCodeAt(0);
  if (code < 32) return String.fromCharCode(0x2400 + code);
  return code === 127 ? "\u2421" : `\u2039U+${code.toString(16).toUpperCase().padStart(4, "0")}\u203a`;
}

/**
 * The address, if a click on it is harmless.
 * @param {string} text
 */
function harmless(text) {
  return /^https?:\/\/[^\s"<>\\^`{|}]+$/i.test(text) ? text : undefined;
}

/**
 * One of the 256 colours of xterm.
 * @param {number} n
 */
function color256(n) {
  if (n < 16) return n;
  if (n > 231) return `rgb(${[0, 0, 0].fill((n - 232) * 10 + 8)})`;
  const level = (/** @type {number} */ part) => (part && part * 40 + 55);
  return `rgb(${[Math.floor((n - 16) / 36), Math.floor((n - 16) / 6) % 6, (n - 16) % 6].map(level)})`;
}

/**
 * The colour behind 38, 48 or 58; takes its numbers from `left`.
 * @param {(number | string)[]} left
 */
function extended(left) {
  const kind = Number(left.shift());
  const byte = (/** @type {number | string | undefined} */ part) => Math.min(Number(part) || 0, 255);
  if (kind === 5) return color256(byte(left.shift()));
  return kind === 2 ? `rgb(${left.splice(0, 3).map(byte)})` : undefined;
}

/** The colours that those codes set. @type {Record<number, "fg" | "bg" | "line">} */
const EXTENDED = { 38: "fg", 48: "bg", 58: "line" };

/** What 4:1 to 4:5 draw below the text. */
const UNDERLINES = ["", "solid", "double", "wavy", "dotted", "dashed"];

/** What a code switches on; 20 more switches it off. @type {Record<number, "bold" | "dim" | "italic" | "inverse" | "hidden" | "strike">} */
const ON = { 1: "bold", 2: "dim", 3: "italic", 7: "inverse", 8: "hidden", 9: "strike" };

/**
 * The style after "select graphic rendition" (ECMA-48, 8.3.117).
 * @param {Style} old
 * @param {string} codes
 * @returns {Style}
 */
function sgr(old, codes) {
  let style = { ...old };
  /** @type {(number | string)[]} */
  const left = codes.split(";");
  while (left.length) {
    // Colons join a code with what belongs to it; 38:2:colourspace:r:g:b has a place that 38:2:r:g:b and 38;2;r;g;b lack.
    const [code, ...more] = String(left.shift()).split(":").map(Number);
    const colour = EXTENDED[code];
    if (more.length > 4) more.splice(1, 1);
    if (colour) style[colour] = extended(more.length ? more : left);
    else if (code === 4) style.underline = UNDERLINES[more[0] ?? 1] ?? "solid";
    else if (code === 21) style.underline = "double";
    else if (code === 24) style.underline = "";
    else if (code === 53 || code === 55) style.overline = code === 53;
    else if (code === 59) style.line = undefined;
    else if (code === 0) style = style.href ? { href: style.href } : {};
    else if (ON[code]) style[ON[code]] = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code > 22 && ON[code - 20]) style[ON[code - 20]] = false;
    else if (code >= 30 && code < 38) style.fg = code - 30;
    else if (code === 39) style.fg = undefined;
    else if (code >= 40 && code < 48) style.bg = code - 40;
    else if (code === 49) style.bg = undefined;
    else if (code >= 90 && code < 98) style.fg = code - 82;
    else if (code >= 100 && code < 108) style.bg = code - 92;
  }
  return style;
}

/** The style that lines of each origin left open: the next line of that origin begins in it, as on a terminal. */
export class Styles {
  constructor() {
    /** @type {Map<string, Style | undefined>} */
    this.open = new Map();
  }

  /** The style in which a line begins. @param {import("./channel.js").LogEvent} event */
  next({ kind, origin, stream = "", text = "" }) {
    // The end of a run closes its styles, and missed lines may have closed them.
    if (kind) for (const key of this.open.keys()) if (key.startsWith(`${stream}\n`)) this.open.delete(key);
    const key = `${stream}\n${origin}`;
    const style = this.open.get(key);
    if (!text.includes("\x1b[")) return style;
    let left = style ?? {};
    for (const [, codes] of text.matchAll(/\x1b\[([\d;:]*)m/g)) left = sgr(left, codes);
    this.open.set(key, Object.values(left).some((value) => value || value === 0) ? left : undefined);
    return style;
  }
}

/**
 * The pieces of a line that begins in a style.
 * @param {string} line
 * @param {Style} style
 * @returns {Piece[]}
 */
export function pieces(line, style) {
  /** @type {Piece[]} */
  const found = [];
  let at = 0;
  const add = (/** @type {string} */ text) => {
    if (!text) return;
    const last = found[found.length - 1];
    text = text.replace(UNSEEN, seen);
    if (found.length < PIECES) found.push({ text, style });
    else if (last.style.fg === undefined && found.length > PIECES) last.text += text;
    else found.push({ text, style: {} });
  };
  for (const match of line.matchAll(ESCAPE)) {
    add(line.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[3] === "m" && !match[2]) style = sgr(style, match[1]);
    else if (match[4]?.startsWith("8;")) style = { ...style, href: harmless(match[4].replace(/^8;[^;]*;/, "")) };
  }
  add(line.slice(at));
  return found;
}

/**
 * The line without what only a terminal understands.
 * @param {string} line
 */
export function plain(line) {
  return line.includes("\x1b") ? line.replace(ESCAPE, "") : line;
}

/** An address in a text, without the full stop after it. */
const ADDRESS = /https?:\/\/[^\s"'<>\\^`{|}\u2039]*[^\s"'<>\\^`{|}.,:;!?)\]\u2039]/g;

/**
 * Draws a line: pieces in their style, addresses as links, matches of `mark` marked.
 * @param {string} line
 * @param {RegExp | null} mark
 * @param {Style} [style] in which it begins
 * @returns {DocumentFragment}
 */
export function draw(line, mark, style = {}) {
  const drawn = document.createDocumentFragment();
  const parts = line.includes("\x1b") ? pieces(line, style) : [{ text: line.replace(UNSEEN, seen), style }];
  const whole = parts.map((part) => part.text).join("");
  const links = whole.includes("://") ? [...whole.matchAll(ADDRESS)].map((found) => ({ from: found.index, to: found.index + found[0].length, href: found[0] })) : [];
  const marks = mark ? [...whole.matchAll(mark)].slice(0, PIECES).map((found) => ({ from: found.index, to: found.index + found[0].length })) : [];
  let place = 0;
  let nextLink = 0;
  let nextMark = 0;
  for (const { text, style } of parts) {
    const end = place + text.length;
    while (place < end) {
      while (links[nextLink]?.to <= place) nextLink += 1;
      while (marks[nextMark]?.to <= place) nextMark += 1;
      const link = links[nextLink];
      const marked = marks[nextMark];
      let to = end;
      for (const range of [link, marked]) if (range) to = Math.min(to, range.from > place ? range.from : range.to);
      const inside = (/** @type {{ from: number } | undefined} */ range) => range !== undefined && range.from <= place;
      const href = style.href ?? (inside(link) ? link.href : undefined);
      drawn.append(node(whole.slice(place, to), style, href, inside(marked)));
      place = to;
    }
  }
  return drawn;
}

/**
 * @param {string} text
 * @param {Style} style
 * @param {string | undefined} href
 * @param {boolean} marked
 */
function node(text, style, href, marked) {
  let { fg, bg } = style;
  if (style.inverse) [fg, bg] = [bg, fg];
  const names = ["bold", "dim", "italic", "hidden"].filter((name) => style[/** @type {keyof Style} */ (name)]);
  if (style.inverse && bg === undefined) names.push("inverse");
  const under = bg ?? (style.inverse ? 16 : undefined);
  if (fg !== undefined) names.push(under !== undefined ? "fgbg" : typeof fg === "number" ? `fg${fg}` : "fg");
  if (bg !== undefined) names.push(typeof bg === "number" ? `bg${bg}` : "bg");
  const lines = [style.underline && `underline ${style.underline}`, style.overline && "overline", style.strike && "line-through"];
  const line = lines.filter(Boolean).join(" ");
  if (!names.length && !line && !href && !marked) return document.createTextNode(text);
  const element = document.createElement(href ? "a" : marked ? "mark" : "span");
  if (names.length) element.className = names.join(" ");
  // By the object model, since a strict policy allows no style in attributes.
  if (fg !== undefined && under !== undefined) element.style.setProperty("--fg", readable(fg, under));
  else if (typeof fg === "string") element.style.setProperty("--fg", fg);
  if (line) element.style.textDecoration = line;
  if (line && style.line !== undefined) element.style.textDecorationColor = readable(style.line);
  if (typeof bg === "string") element.style.setProperty("--bg", bg);
  if (element instanceof HTMLAnchorElement && href) {
    Object.assign(element, { href, target: "_blank", rel: "noopener noreferrer nofollow" });
    if (marked) {
      const inner = document.createElement("mark");
      inner.textContent = text;
      element.append(inner);
      return element;
    }
  }
  element.textContent = text;
  return element;
}

/**
 * The server's pattern as a JavaScript expression, to mark its matches; `null` if its syntax is not supported.
 * @param {string} text
 */
export function pattern(text) {
  const flags = /^\(\?(\w+)\)/.exec(text);
  try {
    return new RegExp(text.slice(flags?.[0].length ?? 0), flags?.[1].includes("i") ? "gi" : "g");
  } catch {
    return null;
  }
}
