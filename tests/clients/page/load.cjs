// A stream of a million lines, and one of 5,000 lines a second: how much is in the document and in memory, and how many frames
// were drawn, by Chromium's own protocol. The figures are printed, and those with a bound are checked.
const { append, assert, fs, test, until, url } = require('./browser.cjs');

const SECONDS = 12;
const PER_SECOND = 5000;

/** The renderer's memory that is its own, in MB (proc(5), smaps_rollup). */
const own = async (cdp) => {
  const { processInfo } = await cdp.send('SystemInfo.getProcessInfo');
  const sizes = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => {
    const rollup = fs.readFileSync(`/proc/${id}/smaps_rollup`, 'utf8');
    return [...rollup.matchAll(/^Private_(?:Clean|Dirty): +(\d+)/gm)].reduce((sum, [, size]) => sum + Number(size), 0) / 1024;
  });
  return Math.max(...sizes);
};

test({ viewport: { width: 1400, height: 900 } }, async ({ page, browser }) => {
  const protocol = await page.context().newCDPSession(page);
  const whole = await browser.newBrowserCDPSession();
  await protocol.send('Performance.enable');
  const measure = async () => {
    const memory = await own(whole);
    // Nodes that are no longer in the document count until they are collected.
    await protocol.send('HeapProfiler.collectGarbage');
    const { metrics } = await protocol.send('Performance.getMetrics');
    const of = (name) => metrics.find((metric) => metric.name === name).value;
    const rows = await page.$$eval('.row', (all) => all.length);
    return { rows, nodes: of('Nodes'), heap: of('JSHeapUsedSize') / 2 ** 20, memory, busy: of('TaskDuration') };
  };
  const bounded = (figures, when) => {
    assert.ok(figures.rows <= 200, `${when}: ${figures.rows} rows`);
    assert.ok(figures.nodes <= 20_000, `${when}: ${figures.nodes} nodes`);
    assert.ok(figures.memory <= 150, `${when}: ${figures.memory} MB`);
    const { rows, nodes, heap, memory } = figures;
    console.log(`${when}: ${rows} rows, ${nodes} nodes, ${heap.toFixed(1)} MB of JavaScript, ${memory.toFixed(1)} MB in all`);
  };

  // The viewer goes to any of a million lines.
  await page.goto(`${url}?stream=million`);
  await until(page, () => document.querySelector('.log')?.textContent.includes('line 999999 '));
  bounded(await measure(), 'a million lines, at the end');
  await page.keyboard.press('g');
  await until(page, () => document.querySelector('.log').textContent.includes('line 0 '));
  bounded(await measure(), 'a million lines, at the beginning');
  await page.keyboard.press('G');
  await until(page, () => document.querySelector('.log').textContent.includes('line 999999 '));
  await page.keyboard.press('f');
  await page.fill('#find', 'the needle');
  await page.keyboard.press('Enter');
  await until(page, () => document.querySelector('.row.selected .text')?.textContent.includes('line 4321 '), null, 'the needle', 120_000);
  await page.keyboard.press('Escape');
  // The user scrolls through more lines than are ever held.
  await page.evaluate(async () => {
    const log = document.querySelector('.log');
    for (let at = 0; at < 400; at += 1) {
      log.scrollTop += 2000;
      await new Promise(requestAnimationFrame);
    }
  });
  bounded(await measure(), 'a million lines, after scrolling far');

  // Live lines arrive.
  await page.goto(`${url}?stream=live`);
  await until(page, () => document.querySelector('.log'));
  const before = await measure();
  await whole.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['disabled-by-default-devtools.timeline.frame', 'devtools.timeline.frame'] } });
  const drawn = [];
  whole.on('Tracing.dataCollected', ({ value }) => drawn.push(...value));
  let sent = 0;
  const began = Date.now();
  while (sent < SECONDS * PER_SECOND) {
    const due = Math.min(SECONDS * PER_SECOND, Math.floor(((Date.now() - began) / 1000) * PER_SECOND));
    let text = '';
    for (; sent < due; sent += 1) text += `${sent} \x1b[32mINFO\x1b[0m request ${sent * 7919 % 100000} took ${sent % 900} ms, https://example.com/${sent}\n`;
    append('live.log', text);
    await new Promise((done) => setTimeout(done, 20));
  }
  const seconds = (Date.now() - began) / 1000;
  await until(page, (last) => document.querySelector('.log').textContent.includes(last), `${sent - 1} INFO`);
  const done = new Promise((resolve) => whole.once('Tracing.tracingComplete', resolve));
  await whole.send('Tracing.end');
  await done;
  const after = await measure();
  bounded(after, `${PER_SECOND} lines/s`);
  const count = (name) => drawn.filter((event) => event.name === name).length;
  const busy = ((after.busy - before.busy) / seconds) * 100;
  console.log(`${PER_SECOND} lines/s for ${seconds.toFixed(1)} s: ${(count('DrawFrame') / seconds).toFixed(1)} frames/s, ${count('DroppedFrame')} dropped, main thread ${busy.toFixed(0)}% busy`);
  assert.ok(count('DrawFrame') > 0, 'frames were drawn');
});
