// The runs of a process: the list of them, and one of them alone.
const { assert, test, until, url } = require('./browser.cjs');

const texts = (page) => page.$$eval('.log .text', (rows) => rows.map((row) => row.textContent));
const see = (page, text) => until(page, (text) => [...document.querySelectorAll('.log .text')].some((row) => row.textContent === text), text, `the line ${text}`);

test({ viewport: { width: 1400, height: 800 } }, async ({ page }) => {
  await page.goto(`${url}?stream=runs`);
  await see(page, 'at last');
  await until(page, () => document.querySelectorAll('#run option').length === 4, null, 'the runs');
  const options = await page.$$eval('#run option', (all) => all.map(({ value, textContent }) => [value, textContent]));
  assert.deepEqual(options.map(([value]) => value), ['', '3', '2', '1']);
  assert.equal(options[0][1], 'all runs');
  assert.match(options[1][1], /^run 3 · running · .*\d:\d\d/);
  assert.match(options[3][1], /^run 1 · failed \(exit 1\) · .*\d.* · \d+(\.\d)?s$/);

  // Only the lines of the run, from its start to its end, with its own errors.
  await page.selectOption('#run', '1');
  await see(page, '300');
  assert.equal(new URL(page.url()).search, '?stream=runs&run=1');
  await until(page, () => document.querySelector('.tally.error .count').title === '1 error in this run', null, 'its errors');
  await page.keyboard.press('Escape');
  await page.focus('.log');
  await page.keyboard.press('g');
  await see(page, 'begin 1');
  await page.keyboard.press('G');
  await see(page, '300');
  assert.ok(!(await texts(page)).some((text) => text === 'begin 2' || text === 'at last'), 'lines of other runs');

  // What is said above the log is about this run, and not about the one in progress.
  await until(page, () => document.querySelector('#state').textContent === 'failed (exit 1)' && document.title.startsWith('failed (exit 1) · runs'), null, 'how the run ended');
  assert.ok(await page.$eval('#progress', (progress) => progress.hidden), 'the progress of another run');

  // The address leads to the run, and links to lines of it keep it.
  await page.reload();
  await see(page, '300');
  await until(page, () => document.querySelector('#run').value === '1', null, 'the run of the address');
  await page.goto(`${url}?stream=runs&run=3`);
  await see(page, 'at last');
  assert.ok(!(await texts(page)).includes('begin 2'));
  await until(page, () => document.querySelector('#state').textContent === 'running', null, 'the run in progress');

  // The filter applies to the run.
  await page.fill('#filter', 'begin');
  await until(page, () => [...document.querySelectorAll('.log .text')].filter((row) => row.textContent.startsWith('begin')).length === 1, null, 'one match');
  assert.equal(new URL(page.url()).search, '?stream=runs&grep=begin&run=3');
  await page.fill('#filter', '');
  await see(page, 'at last');

  // All runs again.
  await page.selectOption('#run', '');
  await until(page, () => !location.search.includes('run='), null, 'an address without a run');
  await see(page, 'at last');

  // One that is not known is refused in the server's words, and a file has none.
  await page.goto(`${url}?stream=runs&run=9`);
  await until(page, () => document.querySelector('#said').textContent.startsWith('run 9 of runs is not known'), null, 'the refusal');
  await page.goto(`${url}?stream=app`);
  await see(page, 'line 9');
  assert.ok(await page.$eval('#run', (select) => select.hidden));
});
