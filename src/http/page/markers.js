// The markers by which a program tells a build service what a line is: where a group begins and ends, what is an error and in
// which file. GitHub, Azure, GitLab, TeamCity, Buildkite and Travis have each their own; all of them look alike here.

/**
 * The meaning of a line. A group that `ends` another one begins where that one ends; one with `lasts` stays open until then. The
 * style of a message is a level, `command`, `section` or nothing. A line without a meaning for people is of the kind `hidden`.
 * @typedef {{ kind: "begin", key: string, title: string, folded?: boolean, ends?: string, lasts?: boolean, dim?: boolean }
 *   | { kind: "end", key: string }
 *   | { kind: "message", style: string, text: string, title?: string | false, place?: string }
 *   | { kind: "hidden" } | { kind: "expand" }} Marker
 */

/** How all markers begin, perhaps after the time that a build service adds: most lines need no further look. */
const MARKER = /^(?:\d{4}-\d\d-\d\dT[\d:.]+Z (?:\d\d[OE][ +])?)?(?:\x1b\[0?K|\x1b_bk;[^\x07\x1b]*\x07|\r)*(?=[ \t]*(?:::[a-z]|##)|section_|travis_|\[command\]|(?:---|\+\+\+|~~~|\^\^\^) |@@ -|diff |index |Index: )/;

/** What the level of a message is called. @type {Record<string, string>} */
export const TAGS = { error: "Error", warning: "Warning", notice: "Notice", debug: "Debug" };

/** The key of Buildkite's groups, which have no names of their own. */
const BUILDKITE = "---";

/** A heading that only Buildkite has: an emoji by its name, or two words after a tilde fence, which has one. */
const SIGN = /^(?:---|\+\+\+|~~~) +:[\w+-]+:(?: |$)|^~~~ [A-Z]\w+ \w|^\^\^\^ \+\+\+\s*$/;

/** Lines that begin like a heading but are not: a file in a diff, a document of YAML, a result of `go test`, a rule. */
const NO_TITLE = /^(?:\S*[/.]\S*|[^\t]*\t.*|[#!|>&{%].*|(?:FAIL|PASS|SKIP|BENCH): .*|[^\p{L}\p{N}:[]*)$/u;

/** The title of a group with `+++`; what bash traces at that depth begins with a command. */
const EXPANDED = /^(?!\w+=)[^a-z\s]/;

/** Reads the markers of one stream, line by line. */
export class Markers {
  constructor() {
    /** Whether the stream has shown that Buildkite's headings are meant for people. */
    this.buildkite = false;
    /** Whether the lines before are those of a diff. */
    this.diff = false;
    /** What resumes GitHub's commands after they were stopped. */
    this.stopped = "";
  }

  /** @param {string} text @returns {Marker | null} */
  read(text) {
    const found = MARKER.exec(text);
    if (this.diff && !/^(?:[-+ \\]|@@|index |(?:new|deleted) file|similarity|rename)/.test(text)) this.diff = false;
    if (!found) return null;
    if (found[0].includes("\x1b_bk;")) this.buildkite = true;
    const rest = text.slice(found[0].length);
    const [first] = rest;
    if (first === "@" || first === "d" || first === "i" || first === "I") this.diff ||= /^(?:@@ -\d|diff -|index [\da-f]+\.\.|Index: )/.test(rest);
    else if (first === "s") return gitlab(rest);
    else if (first === "t") return travis(rest);
    else if (first === "[") return { kind: "message", style: "command", text: rest.slice(9) };
    else if ("-+~^".includes(first)) return this.heading(rest);
    else return rest.trimStart()[0] === ":" ? this.github(rest.trim()) : azure(rest.trim()) ?? teamcity(rest.trim());
    return null;
  }

  /** @param {string} text @returns {Marker | null} */
  heading(text) {
    const sure = SIGN.test(text);
    if (sure) this.buildkite = true;
    if (!this.buildkite) return null;
    if (text[0] === "^") return sure ? { kind: "expand" } : null;
    // An emoji by its name says nothing here, unless it is all there is.
    const title = text.slice(4).trim().replace(/^(?::[\w+-]+: +)+/, "");
    if (!sure && (!title || this.diff || NO_TITLE.test(text.slice(4)) || (text[0] === "+" && !EXPANDED.test(title)))) return null;
    return { kind: "begin", key: BUILDKITE, title, folded: text[0] !== "+", dim: text[0] === "~", ends: BUILDKITE, lasts: true };
  }

  /** `::name key=value,key=value::data` @param {string} text @returns {Marker | null} */
  github(text) {
    const [, name, properties = "", data] = /^::([a-z-]+)(?: (.*?))?::(.*)$/s.exec(text) ?? [];
    if (this.stopped) {
      if (text !== `::${this.stopped}::`) return null;
      this.stopped = "";
      return { kind: "hidden" };
    }
    if (name === "group") return { kind: "begin", key: "", title: decoded(data) || "group" };
    if (name === "endgroup") return { kind: "end", key: "" };
    if (TAGS[name]) {
      const value = (/** @type {string} */ key) => valueOf(properties, ",", key);
      return { kind: "message", style: name, text: decoded(data), title: value("title"), place: place(value, "file", "line", "col") };
    }
    if (name === "stop-commands") this.stopped = data;
    return /^(?:stop-commands|(?:add|remove)-(?:mask|matcher|path)|set-(?:output|env)|save-state|echo)$/.test(name) ? { kind: "hidden" } : null;
  }
}

/** Where something is wrong: `a.rs:3:5`. @param {(key: string) => string} value @param {string[]} keys */
const place = (value, ...keys) => keys.map(value).join(":").replace(/:+$/, "");

/** The characters that GitHub and Azure write as their numbers, in a message and in a property. @param {string} text */
const decoded = (text) => text.replace(/%(?:0D%)?0A/gi, "\n").replace(/%0D/gi, "").replace(/%(?:25|AZP25)/gi, "%");

/** The value of a key, in pairs that a character separates. @param {string} pairs @param {string} between @param {string} key */
const valueOf = (pairs, between, key) => decoded((new RegExp(`(?:^|${between})\\s*${key}=([^${between}]*)`, "i").exec(pairs)?.[1] ?? "").replace(/%(?:3A|2C|3B|5D)/gi, decodeURIComponent));

/** `##[name]text`, `##vso[name key=value;]text` @param {string} text @returns {Marker | null} */
function azure(text) {
  const [, simple, shown] = /^##\[(\w+)\](.*)$/s.exec(text) ?? [];
  if (simple === "group") return { kind: "begin", key: "", title: shown || "group" };
  if (simple === "endgroup") return { kind: "end", key: "" };
  if (simple) return TAGS[simple] || simple === "command" || simple === "section" ? { kind: "message", style: simple, text: shown } : null;
  const [, name, properties = "", data] = /^##vso\[([\w.]+) ?(.*?)\](.*)$/s.exec(text) ?? [];
  if (!name) return null;
  const value = (/** @type {string} */ key) => valueOf(properties, ";", key);
  const message = decoded(data);
  if (name === "task.logissue") return { kind: "message", style: value("type") === "warning" ? "warning" : "error", text: message, place: place(value, "sourcepath", "linenumber", "columnnumber"), title: value("code") };
  if (name === "task.debug") return { kind: "message", style: "debug", text: message };
  const tells = (name === "task.complete" || name === "task.setprogress") && message;
  return tells ? { kind: "message", style: value("result") === "Failed" ? "error" : "", text: message } : { kind: "hidden" };
}

/** What TeamCity's messages mean: edges of groups, then styles and attributes of what is shown; the others are for machines. */
const TEAMCITY = /^(?:block|testSuite|compilation|progress)(?:(Opened|Start(?:ed)?)|Closed|Finish(?:ed)?)$/;
/** @type {Record<string, [style: string, attributes: string, title?: boolean]>} */
const TEAMCITY_SHOWN = {
  progressMessage: ["section", ""], message: ["", "text errorDetails"], buildProblem: ["error", "description"], buildStatus: ["", "text"],
  testFailed: ["error", "message details", true], testIgnored: ["notice", "message", true], testStdOut: ["", "out"], testStdErr: ["", "out"],
  testFinished: ["", "", true],
};

/** `##teamcity[name key='value' ...]` or `##teamcity[name 'text']`. @param {string} text @returns {Marker | null} */
function teamcity(text) {
  const [, name, rest] = /^##teamcity\[(\w+)(.*)\]$/s.exec(text) ?? [];
  if (!name) return null;
  const value = (/** @type {string} */ key) => (new RegExp(` ${key}'((?:[^'|]|\\|.)*)'`).exec(rest)?.[1] ?? "").replace(/\|(?:0x([\da-f]{4})|(.))/gi, (_, code, c) => (code ? String.fromCharCode(parseInt(code, 16)) : "nrxlp".includes(c) ? "\n" : c));
  const title = value("") || value("name=") || value("compiler=");
  const edge = TEAMCITY.exec(name);
  if (edge) return edge[1] ? { kind: "begin", key: title, title } : { kind: "end", key: title };
  const [style, attributes, titled] = TEAMCITY_SHOWN[name] ?? ["", "-"];
  const status = value("status=");
  const said = attributes ? attributes.split(" ").map((key) => value(`${key}=`)).filter(Boolean).join("\n") : titled ? "" : title;
  if (!said && !titled) return { kind: "hidden" };
  return { kind: "message", style: /ERROR|FAILURE/.test(status) ? "error" : status === "WARNING" ? "warning" : style, text: said, title: titled && title };
}

/** `section_start:SECONDS:key[collapsed=true]`, a carriage return, the title. @param {string} text @returns {Marker | null} */
function gitlab(text) {
  const [, edge, key, options = "", title] = /^section_(start|end):\d+:([\w.-]+)(?:\[([^\]]*)\])?[ \r]?(.*)/s.exec(text.replaceAll("\x1b[0K", "")) ?? [];
  if (!edge) return null;
  const next = edge === "end" && title.startsWith("section_start:") ? gitlab(title) : null;
  if (next?.kind === "begin") return { ...next, ends: key };
  return edge === "end" ? { kind: "end", key } : { kind: "begin", key, title: title || key, folded: options.includes("collapsed=true") };
}

/** `travis_fold:start:key`, a carriage return, and what the line shows; `travis_time:...` before that. @param {string} text @returns {Marker | null} */
function travis(text) {
  const timed = (/** @type {string} */ line) => line.replace(/^(?:\x1b\[0K)*travis_time:[^\s\x1b]*[ \r]*(?:\x1b\[0K)*/, "");
  const [, edge, key, rest] = /^travis_fold:(start|end):([^\s\x1b]+)[ \r]*(?:\x1b\[0K)*(.*)/s.exec(timed(text)) ?? [];
  if (edge) return edge === "end" ? { kind: "end", key } : { kind: "begin", key, title: timed(rest) || key };
  if (!text.startsWith("travis_time:")) return null;
  const shown = timed(text);
  return shown ? { kind: "message", style: "", text: shown } : { kind: "hidden" };
}
