// Several streams in one view: merged by time, back to the first line and live, through WebSockets and without them.
const http = require('node:http');
const { append, assert, test, until, url } = require('./browser.cjs');

/** A proxy that lets no WebSocket through. */
const plain = () => new Promise((resolve) => {
  const server = http.createServer((request, response) => {
    const onward = http.request(new URL(request.url, url), { method: request.method, headers: { ...request.headers, host: new URL(url).host } }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  server.on('upgrade', (request, socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  server.unref();
  server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}/`));
});

const stamp = (second) => new Date(Date.UTC(2026, 10, 28) + second * 1000).toISOString();
const line = (name, second, more = '') => `time=${stamp(second)} msg="${name} at ${second}${more}"\n`;
const see = (page, text) => until(page, (text) => [...document.querySelectorAll('.log .text')].some((row) => row.textContent.includes(text)), text, `a line with ${text}`);
const seconds = (page) => page.$$eval('.log .row:not(.note):not(.open) .text', (rows) => rows.map((row) => row.textContent.match(/msg="(\w+) at (\d+)/)).map(([, name, second]) => [Number(second), name]));
const inOrder = (found) => found.every(([second], at) => at === 0 || found[at - 1][0] <= second);

let later = 10_000;
const play = (base, through) => test({ viewport: { width: 1400, height: 800 } }, async ({ page }) => {
  // The list adds a stream to the one on view.
  await page.goto(`${base()}?stream=even`);
  await see(page, 'even at 5998');
  await page.hover('.stream:has-text("odd")');
  await page.click('.stream:has-text("odd") .together');
  await see(page, 'odd at 5999');
  assert.deepEqual(new URL(page.url()).searchParams.getAll('stream'), ['even', 'odd']);
  await page.hover('.stream:has-text("rare")');
  await page.click('.stream:has-text("rare") .together');
  await until(page, () => document.querySelector('#state').textContent === '3 streams');
  await see(page, 'odd at 5999');
  assert.deepEqual(new Set(await page.$$eval('.log .row:not(.note):not(.open) .name', (names) => names.map((name) => name.textContent))), new Set(['even', 'odd']));
  if (through) await until(page, () => document.querySelector('#connection').textContent.startsWith('connected by'), null, 'a connection without WebSockets');

  // Scrolling leads to the first line: all lines are there, once, in the order of time.
  const all = await page.evaluate(async () => {
    const log = document.querySelector('.log');
    const seen = new Map();
    for (let quiet = 0; quiet < 400; quiet += 1) {
      const before = seen.size;
      for (const row of log.querySelectorAll('.row:not(.open):not(.note)')) seen.set(row.dataset.id, row.querySelector('.text').textContent);
      if ([...seen.values()].some((text) => text.includes('"rare at 0'))) break;
      log.scrollTop -= 500;
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      if (seen.size > before) quiet = 0;
    }
    return [...seen.values()];
  });
  const found = all.map((text) => text.match(/msg="(\w+) at (\d+)/)).map(([, name, second]) => `${name} ${second}`);
  assert.equal(new Set(found).size, found.length, 'no line twice');
  for (let second = 0; second < 6000; second += 1) assert.ok(found.includes(`${second % 2 ? 'odd' : 'even'} ${second}`), `second ${second}`);
  for (const second of [0, 1500, 3000]) assert.ok(found.includes(`rare ${second}`), `rare ${second}`);
  assert.ok(inOrder(await seconds(page)));

  // Live lines come merged; a stream that is silent holds nobody up.
  await page.keyboard.press('G');
  await see(page, 'odd at 5999');
  const from = (later += 10);
  append('odd.log', line('odd', from));
  await see(page, `odd at ${from}`);
  append('odd.log', line('odd', from + 2));
  append('even.log', line('even', from + 1));
  await see(page, `odd at ${from + 2}`);
  await see(page, `even at ${from + 1}`);

  // A row that is not finished has the name of its stream.
  const whole = line('even', from + 3);
  append('even.log', whole.slice(0, -3));
  await until(page, (text) => document.querySelector('.log > .open .name')?.textContent === 'even' && document.querySelector('.log > .open .text').textContent === text, whole.slice(0, -3), 'the row of even');
  append('even.log', whole.slice(-3));
  await see(page, whole.trimEnd());

  // Errors of all streams, a link to a line, and a filter.
  await until(page, () => document.querySelector('.tally.error .count').textContent === '2 errors');
  await page.keyboard.press('E');
  const chosen = (text) => until(page, (text) => document.querySelector('.row.selected .text')?.textContent.includes(text), text);
  await chosen('odd at 3333');
  await page.keyboard.press('E');
  await chosen('even at 2222');
  assert.ok(inOrder(await seconds(page)));
  await page.reload();
  await chosen('even at 2222');
  const around = await seconds(page);
  assert.ok(inOrder(around) && around.some(([second]) => second === 2221) && around.some(([second]) => second === 2223), JSON.stringify(around));
  await page.click('.row:has-text("odd at 2225") .number', { modifiers: ['Shift'] });
  await page.reload();
  await until(page, () => [...document.querySelectorAll('.row.selected .text')].map((row) => row.textContent.match(/at (\d+)/)[1]).join() === '2222,2223,2224,2225', null, 'the linked lines');
  await page.fill('#filter', 'at \\d*777');
  await until(page, () => [...document.querySelectorAll('.log .row:not(.note):not(.open) .text')].map((row) => row.textContent.match(/at (\d+)/)[1]).join() === '777,1777,2777,3777,4777,5777', null, 'what the filter selects');
  await page.keyboard.press('Enter');
  await page.keyboard.press('f');
  await page.fill('#find', 'at 3777');
  await page.keyboard.press('Enter');
  await chosen('odd at 3777');
});

/** On a narrow screen, where the list is a page of its own. */
const narrow = () => test({ viewport: { width: 400, height: 700 }, hasTouch: true }, async ({ page }) => {
  await page.goto(`${url}?stream=even`);
  await see(page, 'even at 5998');
  await page.click('#add');
  await page.click('.stream:has-text("odd") .together');
  await see(page, 'odd at 5999');
  assert.deepEqual(new URL(page.url()).searchParams.getAll('stream'), ['even', 'odd']);
  await page.click('#add');
  await page.click('.stream:has-text("even") .together');
  await until(page, () => document.querySelector('#name').textContent === 'odd');
});

(async () => {
  await play(() => url, false);
  await narrow();
  const base = await plain();
  await play(() => base, true);
})();
