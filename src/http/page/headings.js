// The headings of groups that stay at the top of a log while the lines of the groups scroll below them.

import { make } from "./rows.js";

/** @typedef {import("./lines.js").Line} Line */
/** @typedef {import("./lines.js").Group} Group */

/** The height of a row in pixels. */
export const ROW = 20;

/** The most headings that stay, which are those of the innermost groups. As much room stays free above what is scrolled to. */
export const STAY = 2;

/**
 * The groups whose headings stay: those around the first line that the headings do not cover. So each heading that is not in sight
 * as a row either stays, or its group has no line in sight.
 * @param {(below: number) => Line | undefined} lineAt the first line whose bottom is more than `below` pixels under the top of the view
 */
function groupsBy(lineAt) {
  for (let many = STAY; many > 0; many -= 1) {
    /** @type {Group[]} */
    const groups = [];
    for (let at = lineAt(many * ROW)?.group; at && groups.length < many; at = at.outer) groups.unshift(at);
    if (groups.length === many) return groups;
  }
  return [];
}

/** Makes a row whose text the search of a browser does not find, since it is that of another row: the style sheet draws it. @param {HTMLElement} row */
function asCopy(row) {
  for (const cell of /** @type {Iterable<HTMLElement>} */ (row.children)) {
    const text = (cell.dataset.text = cell.textContent ?? "");
    if (cell.matches("a,button")) cell.setAttribute("aria-label", text);
    cell.textContent = "";
  }
  return row;
}

export class Headings {
  constructor() {
    this.element = make("div", "stay");
    /** @type {Map<Line, HTMLElement>} */
    this.rows = new Map();
  }

  /**
   * Shows headings, drawn as the rows are that they stand for. They lie over the lines, and move none of them.
   * @param {number} lead the room before the first line, in pixels
   * @param {(below: number) => Line | undefined} lineAt as above
   * @param {(line: Line) => HTMLElement} draw
   */
  show(lead, lineAt, draw) {
    const lines = groupsBy(lineAt).map(({ line }) => line);
    const rows = lines.map((line) => this.rows.get(line) ?? asCopy(draw(line)));
    this.rows = new Map(lines.map((line, at) => [line, rows[at]]));
    const { children, style } = this.element;
    style.marginBottom = `${lead - ROW * rows.length}px`;
    if (children.length === rows.length && rows.every((row, at) => row === children[at])) return;
    const { activeElement } = /** @type {Document | ShadowRoot} */ (this.element.getRootNode());
    const id = this.element.contains(activeElement) && activeElement?.closest(".row")?.getAttribute("data-id");
    this.element.replaceChildren(...rows);
    rows.find((row) => row.dataset.id === id)?.querySelector("button")?.focus({ preventScroll: true });
  }

  /** The place of a row among the headings, from the top; -1 if it is none. @param {Element | null} row */
  placeOf(row) {
    return [...this.element.children].findIndex((one) => one === row);
  }
}
