// A daemon that is killed and started again, and again: in the page and in an element, each line is there once.
const { assert, door, fs, path, place, test, until } = require('./browser.cjs');

/** Asks the test to do something with the daemon, by a file. */
const ask = (what) => fs.writeFileSync(path.join(place, what), '');

test({ viewport: { width: 1200, height: 800 } }, async ({ page, context }) => {
  const base = await door();
  await page.goto(`${base}?stream=app`);
  const frame = await context.newPage();
  await frame.goto(`${base}embed/app?tail=1000`);
  // Every row that was ever in either document, by id, with its text and its number of appearances.
  for (const one of [page, frame]) {
    await until(one, () => (document.querySelector('rtlogd-stream')?.shadowRoot ?? document).querySelector('.log')?.textContent.includes('line 9'));
  }
  for (const round of [1, 2, 3]) {
    ask(`restart-${round}`);
    for (const one of [page, frame]) {
      await until(one, (round) => (document.querySelector('rtlogd-stream')?.shadowRoot ?? document).querySelector('.log').textContent.includes(`after restart ${round}`), round);
    }
  }
  for (const one of [page, frame]) {
    const shown = await one.evaluate(() => {
      const log = (document.querySelector('rtlogd-stream')?.shadowRoot ?? document).querySelector('.log');
      return [...log.querySelectorAll('.row:not(.open):not(.note)')].map((row) => [row.dataset.id, row.querySelector('.text').textContent]);
    });
    const expected = [];
    for (let number = 0; number < 10; number += 1) expected.push(`line ${number}`);
    for (const round of [1, 2, 3]) expected.push(`while it was down ${round}`, `after restart ${round}`);
    assert.deepEqual(shown.map(([, text]) => text), expected);
    assert.equal(new Set(shown.map(([id]) => id)).size, shown.length, 'no id twice');
  }
});
