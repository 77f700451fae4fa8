// Behind proxies that let no WebSocket through: the page and the frame read by Server-Sent Events or by polling, and no line is
// lost or doubled, also when connections are cut. node fallback.cjs CHROMIUM PLACE URL "PLAIN BUFFERING"
const { execFileSync } = require('node:child_process');
const { append, assert, fs, path, place, test, until } = require('./browser.cjs');

const [plain, buffering] = process.argv[5].split(' ');
const master = Number(fs.readFileSync(path.join(place, 'nginx.pid'), 'utf8'));

/** Cuts all connections: nginx starts another worker. */
const cut = () => {
  for (const worker of execFileSync('pgrep', ['-P', String(master)], { encoding: 'utf8' }).trim().split('\n')) process.kill(Number(worker), 'SIGKILL');
};

const expected = Array.from({ length: 10 }, (_, at) => `line ${at}`);
const write = (text) => {
  expected.push(text);
  append('app.log', `${text}\n`);
};
const shown = (page) => page.evaluate(() => [...(document.querySelector('rtlogd-stream')?.shadowRoot ?? document).querySelectorAll('.log .row:not(.open):not(.note) .text')].map((row) => row.textContent));
const see = (page, text) => until(page, (text) => (document.querySelector('rtlogd-stream')?.shadowRoot ?? document).querySelector('.log')?.textContent.includes(text), text, text);

test({ viewport: { width: 1200, height: 1200 } }, async ({ page, context }) => {
  const frame = await context.newPage();
  for (const [base, via] of [[plain, 'Server-Sent Events'], [buffering, 'polling']]) {
    await page.goto(`${base}?stream=app`);
    await frame.goto(`${base}embed/app?tail=1000`);
    for (const one of [page, frame]) await see(one, 'line 9');
    write(`first by ${via}`);
    for (const one of [page, frame]) await see(one, `first by ${via}`);
    await until(page, (via) => document.querySelector('#connection').textContent.startsWith(`connected by ${via}`), via);
    for (let at = 0; at < 5; at += 1) {
      write(`${at} by ${via}`);
      for (const one of [page, frame]) await see(one, `${at} by ${via}`);
    }
    cut();
    write(`after the cut of ${via}`);
    for (const one of [page, frame]) {
      await see(one, `after the cut of ${via}`);
      assert.deepEqual(await shown(one), expected);
    }
    // The filter works as always.
    await page.fill('#filter', 'line [35]$');
    await until(page, () => [...document.querySelectorAll('.log mark')].map((mark) => mark.textContent).join() === 'line 3,line 5');

    // Of a run that has ended, nothing more is asked.
    let polls = 0;
    page.on('request', (request) => { polls += request.url().includes('/streams/job/poll'); });
    await page.goto(`${base}?stream=job&run=1`);
    await see(page, 'written by a run');
    await page.waitForTimeout(5000);
    assert.ok(polls > 0 && polls <= 2, `${polls} polls by ${via}`);
  }
});
