// The rows that say how a run ended: one row for one happening. node ends.mjs MODULES, the folder with the page's modules.
import assert from 'node:assert/strict';

const [modules] = process.argv.slice(2);
const load = async (name) => import(`${modules}/${name}`);
const { Lines } = await load('lines.js');
const { told } = await load('told.js');

const running = { kind: 'state', state: 'running', run: 1, pid: 7 };
const started = 'run 1 started, process 7';
const stopping = { kind: 'state', state: 'stopping' };
const stopped = (reason, last) => ({ kind: 'state', state: 'stopped', reason, ...(last && { last }) });
const end = (facts) => ({ kind: 'end', run: 1, cause: 'exited', duration: 12, ...facts });
/** An end, and the state after it. */
const rest = (reason, facts) => [end(facts), stopped(reason, { ...end(facts), kind: undefined })];
const backingOff = (error, last) => ({ kind: 'state', state: 'backing-off', error, last });

const TABLE = [
  ['it failed', [running, ...rest('exited with code 3', { code: 3 })], [started, 'failed with exit code 3 after 12s']],
  ['it passed', [running, ...rest('exited with code 0', { code: 0 })], [started, 'finished after 12s']],
  ['it was killed by a signal', [running, ...rest('was killed by signal SEGV', { signal: 'SEGV', cause: 'signalled' })], [started, 'killed by signal SEGV after 12s']],
  ['it was stopped by an operator', [running, stopping, ...rest('stopped on request', { signal: 'TERM', cause: 'stopped' })], [started, 'stopped on request after 12s']],
  ['it was stopped and exited well', [running, stopping, ...rest('stopped on request', { code: 0, cause: 'stopped' })], [started, 'stopped on request after 12s']],
  ['it said something while it was stopped', [running, stopping, { text: 'bye' }, ...rest('stopped on request', { code: 0, cause: 'stopped' })], [started, 'stopping', 'bye', 'stopped on request after 12s']],
  ['it was restarted by an operator', [running, stopping, end({ code: 0, cause: 'stopped' }), { ...running, run: 2 }], [started, 'stopped on request after 12s', 'run 2 started, process 7']],
  ['it is restarted', [running, end({ code: 1 }), backingOff('exited with code 1', end({ code: 1 })), { ...running, run: 2 }],
    [started, 'failed with exit code 1 after 12s', 'restarts soon', 'run 2 started, process 7']],
  ['it was restarted too often', [running, ...rest('restarted too often; the last run exited with code 1', { code: 1 })],
    [started, 'failed with exit code 1 after 12s', 'stopped: restarted too often']],
  ['an operator ended the restarts', [running, end({ code: 1 }), backingOff('exited with code 1', end({ code: 1 })), stopped('stopped on request', end({ code: 1 }))],
    [started, 'failed with exit code 1 after 12s', 'restarts soon', 'stopped on request']],
  ['rtlogd stopped', [running, stopping, end({ signal: 'TERM', cause: 'daemon-stopped' })], [started, 'stopped together with rtlogd after 12s']],
  ['rtlogd was killed', [running, { kind: 'loss', missed: null, reason: 'rtlogd was killed: output that it had not read is lost' }, end({ cause: 'daemon-killed', duration: undefined }), stopped('ended with an unknown status', end({ cause: 'daemon-killed' }))],
    [started, 'some lines were missed: rtlogd was killed: output that it had not read is lost', 'lost, since rtlogd was killed']],
  ['one line is lost', [{ kind: 'loss', missed: 1, reason: 'too fast' }], ['1 line was missed: too fast']],
  ['lines are lost', [{ kind: 'loss', missed: 2, reason: 'too fast' }], ['2 lines were missed: too fast']],
  ['no line is lost', [{ kind: 'loss', missed: 0, reason: 'the file was truncated' }], ['the file was truncated']],
  ['events are dropped', [{ kind: 'gap', missed: 2 }], ['2 events were missed']],
  ['an event is dropped', [{ kind: 'gap', missed: 1 }], ['1 event was missed']],
  ['it is not known how many events are dropped', [{ kind: 'gap', missed: null }], ['some events were missed']],
  ['it is not known how it ended', [running, ...rest('ended with an unknown status', { cause: 'lost' })], [started, 'ended with an unknown status after 12s']],
  ['rtlogd was restarted after the end', [running, ...rest('exited with code 3', { code: 3 }), stopping, stopped('exited with code 3', end({ code: 3 }))],
    [started, 'failed with exit code 3 after 12s', 'stopping']],
  ['its end is not in the view', [stopped('exited with code 3', end({ code: 3 }))], ['failed with exit code 3 after 12s']],
  ['the end in the view is that of another run', [end({ code: 0 }), stopped('exited with code 3', end({ run: 2, code: 3 }))], ['finished after 12s', 'failed with exit code 3 after 12s']],
  ['it could not be started', [stopped('cannot start "/no/such": No such file or directory')], ['stopped: cannot start "/no/such": No such file or directory']],
  ['it starts on request', [stopped('starts on request')], ['stopped: starts on request']],
  ['a file is gone', [{ kind: 'state', state: 'following', files: 1 }, { kind: 'state', state: 'waiting', reason: '/x does not exist' }, stopping], ['following', 'waiting: /x does not exist', 'stopping']],
  ['two streams end at once', [...rest('exited with code 3', { code: 3 }).map((event) => ({ ...event, stream: 'a' })), stopped('exited with code 3', end({ code: 3 }))].map((event) => ({ stream: 'b', ...event })),
    ['failed with exit code 3 after 12s', 'failed with exit code 3 after 12s']],
];

for (const [about, events, expected] of TABLE) {
  // All at once, and one by one, as they come live.
  for (const size of [events.length, 1]) {
    const read = new Lines();
    for (let at = 0; at < events.length; at += size) read.append(events.slice(at, at + size).map((event, n) => ({ id: `e-${at + n}`, ...event })));
    const shown = () => read.list.filter(({ unseen }) => !unseen).map(({ event }) => (event.kind ? told(event)[0] : event.text));
    assert.deepEqual(shown(), expected, about);
    read.reread();
    assert.deepEqual(shown(), expected, `${about}, read again`);
  }
}
