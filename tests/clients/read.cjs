// Reads an event stream with npm `eventsource` up to the message that holds LAST, and prints what it saw as JSON.
// node read.cjs URL LAST
const { EventSource } = require('eventsource');
const [url, last] = process.argv.slice(2);
const seen = [];
const source = new EventSource(url);
const see = (message) => {
  // The client's own `open` and `error` have no data.
  if (message.data === undefined) return;
  seen.push({ event: message.type === 'message' ? '' : message.type, id: message.lastEventId, data: message.data });
  if (message.data.includes(last)) {
    source.close();
    process.stdout.write(JSON.stringify(seen));
  }
};
for (const name of ['message', 'line', 'state', 'loss', 'end', 'progress', 'open', 'gap', 'forged', 'error']) {
  source.addEventListener(name, see);
}
