// A proxy that cuts every connection each three seconds: each line is on the page, in the merged view and in the frame once.
const { append, assert, cut, door, test, until } = require('./browser.cjs');

const LINES = 1200;

const log = '(document.querySelector("rtlogd-stream")?.shadowRoot ?? document).querySelector(".log")';
const see = (page, text) => until(page, new Function('text', `return ${log}?.textContent.includes(text)`), text, text);

test({ viewport: { width: 1200, height: 900 } }, async ({ page, context }) => {
  const base = await door();
  const merged = await context.newPage();
  const frame = await context.newPage();
  const pages = [[page, '?stream=app'], [merged, '?stream=app&stream=other'], [frame, 'embed/app?tail=all&limit=5000']];
  for (const [one, at] of pages) {
    // Notes the ids of rows that were in the document twice at one time.
    await one.addInitScript({ content: `
      const look = () => {
        const ids = [...(${log}?.querySelectorAll('.row:not(.open):not(.note)') ?? [])].map((row) => row.dataset.id);
        window.looked = (window.looked ?? 0) + 1;
        if (new Set(ids).size < ids.length) window.doubled = ids.join();
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);` });
    await one.goto(base + at);
    await see(one, 'line 9');
  }
  // One page after the other is in front: a page that is not draws nothing, and catches up.
  const timer = setInterval(cut, 3000);
  for (let at = 0; at < LINES; at += 1) {
    append('app.log', `cut ${at}\n`);
    if (at % 100 === 0) await pages[(at / 100) % 3][0].bringToFront();
    await new Promise((done) => setTimeout(done, 10));
  }
  append('app.log', 'the end\n');
  for (const [one] of pages) {
    await one.bringToFront();
    await see(one, 'the end');
  }
  clearInterval(timer);
  const expected = [...Array.from({ length: LINES }, (_, at) => `cut ${at}`)];
  for (const [one, at] of pages) {
    await one.bringToFront();
    assert.equal(await one.evaluate(() => window.doubled), undefined, at);
    assert.ok(await one.evaluate(() => window.looked) > 10, 'frames were looked at');
    // All lines, by what is copied, or by the rows of the frame.
    const texts = at.startsWith('embed')
      ? await one.evaluate(() => [...document.querySelector('rtlogd-stream').shadowRoot.querySelectorAll('.row:not(.open):not(.note) .text')].map((row) => row.textContent))
      : await one.evaluate(() => new Promise((resolve) => {
        const view = document.querySelector('.log');
        view.focus();
        view.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', ctrlKey: true, bubbles: true, cancelable: true }));
        const copied = new ClipboardEvent('copy', { clipboardData: new DataTransfer(), bubbles: true, cancelable: true });
        view.dispatchEvent(copied);
        resolve(copied.clipboardData.getData('text/plain').split('\n'));
      }));
    assert.deepEqual(texts.filter((text) => text.startsWith('cut ')), expected, at);
  }
});
