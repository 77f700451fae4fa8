// Commands to a process: typing with a lease, signals, start and stop, offered to clients with the right.
const { assert, door, rows, test, until } = require('./browser.cjs');

const see = (page, text) => until(page, (text) => [...document.querySelectorAll('.log .text')].some((row) => row.textContent.includes(text)), text, `a line with ${text}`);

test({ viewport: { width: 1200, height: 800 } }, async ({ page, context }) => {
  const owner = await door();
  await page.goto(`${owner}?stream=shell`);
  await see(page, 'ready');
  await page.waitForSelector('#typed');

  // Of two viewers one types, and the other one is notified.
  const other = await context.newPage();
  await other.goto(`${owner}?stream=shell`);
  await see(other, 'ready');
  await other.waitForSelector('#typed');
  await page.click('#typed');
  await until(page, () => document.querySelector('#lease').textContent === 'only you can type');
  await until(other, () => document.querySelector('#lease').textContent.endsWith('is typing'));
  await page.keyboard.type('hello there');
  await page.keyboard.press('Enter');
  await see(page, 'typed: hello there');
  await see(other, 'typed: hello there');
  await other.fill('#typed', 'me too');
  await other.keyboard.press('Enter');
  await until(other, () => document.querySelector('#said').textContent !== '');
  assert.match(await other.$eval('#said', (said) => said.textContent), /lease|types/i);
  assert.ok(!(await rows(page)).some((row) => row.includes('me too')));
  // The arrow key brings back earlier input; leaving the field releases the lease.
  await page.keyboard.press('ArrowUp');
  assert.equal(await page.$eval('#typed', (typed) => typed.value), 'hello there');
  await page.click('.log');
  await until(other, () => document.querySelector('#lease').textContent === '');
  await other.fill('#typed', 'now me');
  await other.keyboard.press('Enter');
  await see(page, 'typed: now me');

  // A signal, stop, start, restart.
  await page.click('#interrupt');
  await see(page, 'interrupted');
  await page.click('#commands [aria-label=Stop]');
  await page.waitForSelector('#commands [aria-label=Start]');
  await until(page, () => document.querySelector('#typing').hidden);
  await page.click('#commands [aria-label=Start]');
  await see(page, 'run 2 started');
  await page.click('#commands [aria-label=Restart]');
  await see(page, 'run 3 started');
  await page.waitForSelector('#typed');
  await page.click('#eof');
  await see(page, 'finished');
});
