// What the page shows of lines that are meant for build services: node markers.mjs, with the page's modules in MODULES.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const [modules, table] = process.argv.slice(2);
const load = async (name) => import(`${modules}/${name}`);
const { Lines } = await load('lines.js');
const { shownText } = await load('gutter.js');

for (const { about, lines, groups, shown } of JSON.parse(readFileSync(table, 'utf8'))) {
  const read = new Lines();
  // Line by line, and all at once: the same is shown in the end.
  for (const piece of [1, lines.length]) {
    read.forget();
    read.restart([]);
    for (let at = 0; at < lines.length; at += piece) {
      read.append(lines.slice(at, at + piece).map((text, n) => ({ id: `e-${at + n}`, text })));
    }
    const seen = read.list.filter(({ unseen }) => !unseen);
    assert.deepEqual(seen.map(shownText), shown, about);
    const heads = seen.filter(({ head }) => head).map(shownText);
    // The server reads each line once; the page also reads those before a sign again.
    assert.deepEqual(heads.slice(heads.length - groups.length), groups, about);
  }
}

// A group that a run left open took as long as the run, although the event of its end comes later.
const at = (seconds) => new Date(1_764_000_000_000 + seconds * 1000).toISOString();
const run = [
  { id: 'e-1', kind: 'state', state: 'running', run: 1, time: at(0) },
  { id: 'e-2', text: '--- :package: Upload', time: at(0.5) },
  { id: 'e-3', text: 'uploading', time: at(0.6) },
  { id: 'e-4', kind: 'end', code: 1, run: 1, duration: 1.8, time: at(2.6) },
];
for (const [events, ended] of [[run, at(1.8)], [run.slice(1), at(2.6)], [[...run.slice(0, 3), { ...run[3], duration: 3 }], at(2.6)]]) {
  const read = new Lines();
  read.restart(events);
  assert.equal(read.list.find(({ head }) => head).head.ended, ended);
}
