// The icons of buttons, as strokes in a square of 24 by 24.

const STROKES = {
  back: "M15 5l-7 7 7 7",
  clock: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18",
  globe: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M3 12h18M12 3c-5 5-5 13 0 18M12 3c5 5 5 13 0 18",
  origin: "M4 5h6l2 3h8v11H4z",
  wrap: "M4 6h16M4 12h13a3.5 3.5 0 0 1 0 7h-5m2.5-2.5L12 19l2.5 2.5M4 19h3",
  warning: "M12 4l9 16H3zM12 10v4M12 17v.01",
  error: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M9 9l6 6M15 9l-6 6",
  find: "M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13M15.5 15.5L20 20",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  pause: "M9 5v14M15 5v14",
  follow: "M6 5l6 6 6-6M6 13l6 6 6-6",
  older: "M6 15l6-6 6 6",
  newer: "M6 9l6 6 6-6",
  close: "M6 6l12 12M18 6L6 18",
  help: "M9 9a3 3 0 1 1 4.2 2.7c-.8.4-1.2 1-1.2 1.9M12 17v.01M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18",
  key: "M8 12a4 4 0 1 0 0 8a4 4 0 1 0 0-8M11 13l9-9M16 8l3 3",
  start: "M8 5l11 7-11 7z",
  stop: "M7 7h10v10H7z",
  restart: "M19 12a7 7 0 1 1-2-5M19 4v4h-4",
  auto: "M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0-16M12 4v16M12 8h5M12 12h8M12 16h5",
  light: "M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M19 5l-1.5 1.5M6.5 17.5L5 19",
  dark: "M20 14A8 8 0 1 1 10 4a6.5 6.5 0 0 0 10 10z",
};

/** @param {keyof typeof STROKES} name */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", STROKES[name]);
  svg.append(path);
  return svg;
}

/**
 * A button with an icon; its label is for screen readers and appears as a tooltip.
 * @param {keyof typeof STROKES} name
 * @param {string} label
 * @param {(click: MouseEvent) => void} pressed
 */
export function button(name, label, pressed) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "quiet icon";
  made.append(icon(name));
  made.setAttribute("aria-label", label);
  made.title = label;
  made.addEventListener("click", pressed);
  return made;
}

/**
 * A part of the page that is known to be there.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} id
 * @returns {HTMLElementTagNameMap[T]}
 */
export function part(tag, id) {
  const found = document.getElementById(id);
  if (found?.localName !== tag) throw new Error(`the page has no <${tag} id=${id}>`);
  return /** @type {HTMLElementTagNameMap[T]} */ (found);
}
