// A daemon that is replaced by a new program: the page and an element say so, and continue by themselves, with each line once.
const { assert, door, fs, path, place, test, until } = require('./browser.cjs');

const logText = (text) => (document.querySelector('rtlogd-stream')?.shadowRoot ?? document).querySelector('.log')?.textContent.includes(text);

test({ viewport: { width: 1200, height: 800 } }, async ({ page, context }) => {
  const base = await door();
  await page.goto(`${base}?stream=app`);
  const frame = await context.newPage();
  await frame.goto(`${base}embed/app?tail=1000`);
  for (const one of [page, frame]) {
    await until(one, logText, 'line 9');
    // Every text that is ever shown outside of the log.
    await one.evaluate(() => {
      window.shown = new Set();
      const root = document.querySelector('rtlogd-stream')?.shadowRoot ?? document.body;
      const note = () => {
        for (const part of root.querySelectorAll('.doing, #connection')) window.shown.add(part.textContent);
      };
      new MutationObserver(note).observe(root, { subtree: true, childList: true, characterData: true });
    });
  }
  for (const round of [1, 2]) {
    fs.writeFileSync(path.join(place, `upgrade-${round}`), '');
    for (const one of [page, frame]) await until(one, logText, `after upgrade ${round}`);
  }
  for (const one of [page, frame]) {
    const shown = await one.evaluate(() => [...window.shown]);
    assert.ok(shown.some((text) => text.includes('rtlogd is restarting')), shown.join('\n'));
    await until(one, () => {
      const root = document.querySelector('rtlogd-stream')?.shadowRoot ?? document;
      return [...root.querySelectorAll('.doing, #connection')].every((part) => !part.textContent.includes('restarting'));
    });
    const lines = await one.evaluate(() => {
      const log = (document.querySelector('rtlogd-stream')?.shadowRoot ?? document).querySelector('.log');
      return [...log.querySelectorAll('.row:not(.open):not(.note)')].map((row) => row.querySelector('.text').textContent);
    });
    const expected = [];
    for (let number = 0; number < 10; number += 1) expected.push(`line ${number}`);
    assert.deepEqual(lines, [...expected, 'after upgrade 1', 'after upgrade 2']);
  }
});
