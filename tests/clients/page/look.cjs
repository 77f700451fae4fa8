// The page for screen readers and keyboards: axe finds nothing serious, light and dark, wide and narrow.
const { assert, door, fs, test, until, url } = require('./browser.cjs');
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const VIEWS = [
  ['list', '', () => document.querySelector('.stream')],
  ['viewer', '?stream=colours', () => document.querySelector('.log .row')],
  ['typing', '?stream=shell', () => document.querySelector('#typing:not([hidden])')],
  ['element', 'embed/colours', () => document.querySelector('rtlogd-stream')?.shadowRoot.querySelector('.row:not(.open)')],
];

for (const colorScheme of ['light', 'dark']) {
  for (const width of [360, 1600]) {
    // axe needs a page whose policy admits it, which that of this page does not.
    test({ colorScheme, viewport: { width, height: 800 }, bypassCSP: true }, async ({ page }) => {
      const owner = await door();
      for (const [name, at, ready] of VIEWS) {
        await page.goto(owner + at);
        await until(page, ready);
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => window.axe.run());
        const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
        assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.slice(0, 3).map(({ html, failureSummary }) => [html, failureSummary])]), [], `${name}, ${colorScheme}, ${width}`);
        const fits = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
        assert.ok(fits, `${name} is wider than ${width}`);
        if (name !== 'viewer' || width < 1600) continue;
        // Where there is room, the buttons have words; the question mark needs none. All are in one row with the filter.
        const buttons = await page.$$eval('#tools button:not([hidden])', (all) => all.map((one) => [one.innerText.trim(), Math.round(one.getBoundingClientRect().top)]));
        assert.deepEqual(buttons.map(([word]) => word), ['Pause', 'Search', 'Wrap', 'Times', 'Origins', 'Copy', 'Link', 'Download', ''], 'words of buttons');
        const top = await page.$eval('#filter', (filter) => Math.round(filter.getBoundingClientRect().top));
        assert.ok(buttons.every(([, at]) => Math.abs(at - top) < 10), 'the tools are in one row');
        assert.ok(await page.$eval('#filter', (filter) => filter.clientWidth >= 140), 'the filter has room');
      }
    });
  }
}

// All colours can be read, also on each other, inverted and faint.
for (const colorScheme of ['light', 'dark']) {
  test({ colorScheme, viewport: { width: 1600, height: 900 } }, async ({ page }) => {
    await page.goto(`${url}?stream=pairs`);
    await until(page, () => document.querySelector('.log')?.textContent.includes('the last pair') && document.querySelector('.log .open .text span'));
    assert.equal(await page.$eval('.log .open .text', (text) => getComputedStyle(text).opacity), '1', 'the colours of live rows are not faded');
    const { count, poor } = await page.evaluate(() => {
      const ground = getComputedStyle(document.querySelector('.log')).backgroundColor;
      // The browser computes some colours in other spaces; a pixel has what is seen.
      const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
      const pixels = new Map();
      const pixel = (colour) => {
        if (!pixels.has(colour)) {
          canvas.fillStyle = colour;
          canvas.fillRect(0, 0, 1, 1);
          pixels.set(colour, [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3));
        }
        return pixels.get(colour);
      };
      const light = (colour) => {
        const [r, g, b] = pixel(colour).map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const pieces = [...document.querySelectorAll('.log .text span')].map((piece) => {
        const { color, backgroundColor, opacity } = getComputedStyle(piece);
        return [`${piece.className}${opacity === '1' ? '' : ` faded to ${opacity}`}`, color, backgroundColor === 'rgba(0, 0, 0, 0)' ? ground : backgroundColor];
      });
      const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
      return { count: pieces.length, poor: pieces.map((piece) => [...piece, contrast(piece[1], piece[2])]).filter(([name, , , ratio]) => ratio < 4.495 || name.includes('faded')) };
    });
    assert.ok(count >= 2 * 19 * 19 + 4 * 256, String(count));
    assert.deepEqual(poor, []);
  });
}

// The frame folds the groups that the page folds, by the mouse and by the keyboard, and shows no marker as it was written.
test({ viewport: { width: 1200, height: 800 } }, async ({ page }) => {
  await page.goto(`${url}embed/colours?numbers&timestamps=utc&wrap=off`);
  const log = (look, argument) => until(page, new Function('argument', `return (${look})(document.querySelector('rtlogd-stream').shadowRoot.querySelector('.log'), argument)`), argument, String(look));
  await log((log) => log.textContent.includes('plain after'));
  const visible = () => page.evaluate(() => [...document.querySelector('rtlogd-stream').shadowRoot.querySelectorAll('.log .row:not(.note):not(.open)')].filter((row) => row.checkVisibility()).map((row) => [...row.querySelectorAll('.text, .fold')].map((cell) => cell.innerText).join()));
  let shown = await visible();
  for (const title of ['GitHub group', 'inside github', 'GitLab section', 'Outer', 'Inner', '$ npm install', 'Buildkite group', 'Tests', 'inside tests', 'Error src/a.rs:3:5 It broke one\ntwo']) assert.ok(shown.includes(title), `${title}: ${shown.join('|')}`);
  for (const folded of ['inside gitlab', 'inside buildkite']) assert.ok(!shown.includes(folded), `${folded}: ${shown.join('|')}`);
  assert.ok(!shown.some((text) => /::|##|section_|teamcity|travis_|secret/.test(text)), shown.join('|'));
  await page.click('.fold:has-text("GitHub group")');
  await log((log) => ![...log.querySelectorAll('.row')].some((row) => row.checkVisibility() && row.textContent.includes('inside github')));
  await log((log) => log.getRootNode().activeElement.getAttribute('aria-expanded') === 'false');
  await page.keyboard.press('Enter');
  await log((log) => log.getRootNode().activeElement.getAttribute('aria-expanded') === 'true');
  assert.ok((await visible()).includes('inside github'));
  await page.click('.fold:has-text("Outer")');
  await log((log) => [...log.querySelectorAll('.row')].some((row) => row.checkVisibility() && /Outer.*5 lines|Outer.*\d lines?/.test(row.textContent)));
  shown = await visible();
  assert.ok(!shown.includes('inside inner') && !shown.includes('Inner'), shown.join('|'));
  // Numbers and times stand before the lines, which are not wrapped, and the link leads to the whole page.
  await log((log) => log.querySelector('.row .number').textContent === '1' && /^\d\d:\d\d:\d\d$/.test(log.querySelector('.row .time').textContent) && !log.classList.contains('wrap'));
  assert.match(await page.$eval('rtlogd-stream', (one) => one.shadowRoot.querySelector('.whole').getAttribute('href')), /\/\?stream=colours$/);
});

// Rows that can still change stand below each other, aligned with the lines, in the frame and on the page.
test({ viewport: { width: 1200, height: 800 } }, async ({ page }) => {
  for (const at of ['embed/block?numbers&timestamps', '?stream=block']) {
    await page.goto(url + at);
    const rows = await until(page, () => {
      const log = document.querySelector('rtlogd-stream')?.shadowRoot.querySelector('.log') ?? document.querySelector('.log');
      const place = (cell) => [cell.textContent, ...['left', 'top'].map((side) => Math.round(cell.getBoundingClientRect()[side]))];
      const [before] = [...(log?.querySelectorAll('.row .text') ?? [])].filter((cell) => cell.textContent === 'before').map(place);
      const open = [...(log?.querySelectorAll('.open .text') ?? [])].map(place);
      return before && open.length === 3 && [before, ...open];
    }, null, 'three rows below a line');
    assert.deepEqual(rows.map(([text]) => text), ['before', 'one', 'two', 'three'], at);
    assert.equal(new Set(rows.map(([, left]) => left)).size, 1, `aligned: ${JSON.stringify(rows)}`);
    assert.deepEqual(rows.map(([, , top]) => top), rows.map(([, , top]) => top).toSorted((a, b) => a - b), at);
    assert.equal(new Set(rows.map(([, , top]) => top)).size, 4, `below each other: ${JSON.stringify(rows)}`);
  }
});

// The keyboard alone reaches the list, a stream and a tool, and the dialog lists the keys.
test({ viewport: { width: 1200, height: 800 } }, async ({ page }) => {
  await page.goto(url);
  await until(page, () => document.querySelector('.stream'));
  for (let at = 0; at < 10; at += 1) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(() => document.activeElement.textContent.includes('colours'))) break;
  }
  await page.keyboard.press('Enter');
  await until(page, () => document.querySelector('.log')?.textContent.includes('plain after'));
  await page.keyboard.press('t');
  await until(page, () => document.querySelector('[aria-label="Show times"]').getAttribute('aria-pressed') === 'true');
  await page.keyboard.press('k');
  await until(page, () => document.querySelector('.row.selected .text')?.textContent === 'plain after');
  await until(page, () => document.querySelector('#said').textContent === 'plain after', null, 'the chosen line is read out');
  await page.keyboard.press('?');
  await until(page, () => document.querySelector('#help').open);
  await page.keyboard.press('Escape');
  await until(page, () => !document.querySelector('#help').open);
  // The theme is kept.
  await page.click('#theme');
  await page.click('#theme');
  await page.reload();
  await until(page, () => getComputedStyle(document.documentElement).colorScheme === 'dark');
});
