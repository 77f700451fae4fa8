// The colours of a log, by day and by night, and how text stays readable whatever its colours are.

// The 16 colours of terminals, each read well on the log's ground; then the colour of plain text, and that ground.
export const DAY = "24292f c62030 12752c 8a5a00 0a58ca 8b3fc7 0b6e7f 59626d 646d77 cf222e 1a7f37 946200 1f66dd 9a3fd1 19757c 1f2328 24292f fdfdfc".split(" ");
export const NIGHT = "8b949e ff7b72 56d364 e3b341 79b8ff d2a8ff 56d4dd b1bac4 98a2ae ffa198 7ee787 f2cc60 a5d6ff e2c5ff 85e8ef f0f6fc d5dbe2 0e1217".split(" ");

/** Least contrast of text (WCAG 2.2, 1.4.3). */
const LEAST = 4.5;

/** The parts of a colour: one of those above, or `rgb(r,g,b)`. @param {number | string} colour @param {string[]} theme */
function parts(colour, theme) {
  if (typeof colour === "string") return (colour.match(/\d+/g) ?? []).map(Number);
  return [0, 2, 4].map((at) => parseInt(theme[colour].slice(at, at + 2), 16));
}

/** How much light a colour gives, relative to white (WCAG 2.2). @param {number[]} rgb */
function light(rgb) {
  const [r, g, b] = rgb.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** The contrast of two colours, from 1 to 21. @param {number[]} a @param {number[]} b */
export function contrast(a, b) {
  const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
  return (bright + 0.05) / (dark + 0.05);
}

/** Pairs that were asked for, which are few in most logs. @type {Map<string, string>} */
const known = new Map();

/**
 * The colour for text of the colour `fg` on the ground `bg`: as close to `fg` as can be read there.
 * @param {number | string} fg
 * @param {number | string} [bg]
 */
export function readable(fg, bg = 17) {
  const key = `${fg} ${bg}`;
  const colours = known.get(key) ?? `light-dark(${[DAY, NIGHT].map((theme) => {
    const [text, ground] = [parts(fg, theme), parts(bg, theme)];
    const end = light(ground) > 0.18 ? 0 : 255;
    let mixed = text;
    for (let share = 0.1; contrast(mixed, ground) < LEAST && share < 1.05; share += 0.1) {
      mixed = text.map((part) => Math.round(part + (end - part) * Math.min(share, 1)));
    }
    return `rgb(${mixed})`;
  })})`;
  if (known.size > 9999) known.clear();
  known.set(key, colours);
  return colours;
}
