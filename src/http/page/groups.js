// The groups that continuous integration marks in a log. On the page they can be folded; the element shows their titles.

import { plain } from "./ansi.js";

/** How all markers begin: most lines need no further look. */
const MARKER = /^(?:\x1b\[0?K)?(?:::|##|section_)/;

/**
 * What a line says of groups: GitHub, Azure, GitLab, TeamCity, Buildkite has no end.
 * @param {string} text
 * @returns {{ key: string, title?: string, folded?: boolean } | null}
 */
export function edge(text) {
  if (!MARKER.test(text)) return null;
  // GitLab's runner erases the line before and after its markers.
  text = plain(text);
  let found = /^(?:::|##\[)(end)?group(?:::|\])(.*)/.exec(text);
  if (found) return found[1] ? { key: "" } : { key: "", title: found[2] || "group" };
  found = /^section_(start|end):\d+:([\w.-]+)(?:\[([^\]]*)\])?[ \r]?(.*)/.exec(text);
  if (found && found[1] === "end") return { key: found[2] };
  if (found) return { key: found[2], title: found[4] || found[2], folded: /collapsed=true/.test(found[3] ?? "") };
  found = /^##teamcity\[block(Opened|Closed) .*?name='((?:[^'|]|\|.)*)'/.exec(text);
  if (!found) return null;
  const name = found[2].replace(/\|(.)/g, "$1");
  return found[1] === "Opened" ? { key: name, title: name } : { key: name };
}
