// What the page makes of the Server-Sent Events of a stream. node reader.mjs MODULES, the folder with the page's modules.
import assert from 'node:assert/strict';

const [modules] = process.argv.slice(2);
const { Reader } = await import(`${modules}/reader.js`);

globalThis.window = { setTimeout: () => 0 };
globalThis.EventSource = class {
  static last;
  constructor() {
    this.heard = {};
    this.isClosed = false;
    EventSource.last = this;
  }
  addEventListener(type, listener) {
    this.heard[type] = listener;
  }
  close() {
    this.isClosed = true;
  }
  send(type, data, lastEventId = '') {
    this.heard[type]({ type, data: data && JSON.stringify(data), lastEventId });
  }
};

/** A reader that has opened a connection, and what it told since. */
function connected() {
  const told = [];
  // It never has its token, so that it does nothing of its own accord.
  const renewToken = () => new Promise(() => {});
  const channel = { restarting: false, renewToken, address: (path) => new URL(path, 'http://x/'), down: (why) => told.push(['down', why]) };
  const subscription = { wanted: { stream: 's' }, place: null, sink: { failed: (error) => told.push(['failed', error.message]) } };
  const reader = new Reader(channel, subscription, (method, params) => told.push([method, params]));
  reader.listen();
  return { source: EventSource.last, channel, told };
}

const events = (...list) => ['stream.events', { events: list }];
const TABLE = [
  ['message', { text: 'a' }, 'e-1', events({ text: 'a', id: 'e-1' })],
  ['state', { id: 'e-2', state: 'running' }, 'e-2', events({ id: 'e-2', state: 'running', kind: 'state' })],
  ['loss', { missed: 1 }, 'e-3', events({ missed: 1, id: 'e-3', kind: 'loss' })],
  ['end', { run: 1 }, 'e-4', events({ run: 1, id: 'e-4', kind: 'end' })],
  ['gap', { missed: 7 }, '', ['stream.gap', { missed: 7 }]],
  ['open', { rows: ['x'] }, '', ['stream.open', { rows: ['x'] }]],
  ['progress', { percent: 7 }, '', ['stream.progress', { progress: { percent: 7 } }]],
  ['denied', { why: 'the token has expired' }, '', ['down', 'the token has expired']],
];
for (const [type, data, id, expected] of TABLE) {
  const { source, told } = connected();
  // The event of the browser that the connection is open has no data.
  if (type === 'open') source.send('open', undefined);
  source.send(type, data, id);
  assert.deepEqual(told, [expected], type);
  assert.equal(source.isClosed, type === 'denied', type);
}

// The last event before the server ends is none of the stream.
const { source, channel, told } = connected();
source.send('state', { restarting: true });
assert.deepEqual([told, channel.restarting], [[], true]);
