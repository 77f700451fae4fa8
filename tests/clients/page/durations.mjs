// Durations in words: node durations.mjs MODULES TABLE, with the page's modules in MODULES; the commands have the same TABLE.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const [modules, table] = process.argv.slice(2);
const { duration } = await import(`${modules}/progress.js`);

for (const [seconds, words] of JSON.parse(readFileSync(table, 'utf8'))) assert.equal(duration(seconds), words, String(seconds));
