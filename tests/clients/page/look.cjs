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
      }
    });
  }
}

// All pairs of colours can be read. Text in one of the palette's other colours alone is adjusted by the browser, and not measured here.
for (const colorScheme of ['light', 'dark']) {
  test({ colorScheme, viewport: { width: 1600, height: 900 } }, async ({ page }) => {
    await page.goto(`${url}?stream=pairs`);
    await until(page, () => document.querySelector('.log')?.textContent.includes('the last pair'));
    const { count, poor } = await page.evaluate(() => {
      const ground = getComputedStyle(document.querySelector('.log')).backgroundColor;
      const light = (colour) => {
        const [r, g, b] = colour.match(/[\d.]+/g).map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const pieces = [...document.querySelectorAll('.log .text span')].map((piece) => {
        const { color, backgroundColor } = getComputedStyle(piece);
        return [piece.className, color, backgroundColor === 'rgba(0, 0, 0, 0)' ? ground : backgroundColor];
      }).filter((piece) => piece.slice(1).every((colour) => colour.startsWith('rgb')));
      const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
      return { count: pieces.length, poor: pieces.map((piece) => [...piece, contrast(piece[1], piece[2])]).filter(([, , , ratio]) => ratio < 4.495) };
    });
    assert.ok(count >= 2 * 19 * 19 + 4 * 16, String(count));
    assert.deepEqual(poor, []);
  });
}

// The frame shows the titles of groups, and no marker as it was written.
test({ viewport: { width: 1200, height: 800 } }, async ({ page }) => {
  await page.goto(`${url}embed/colours`);
  await until(page, () => document.querySelector('rtlogd-stream')?.shadowRoot.querySelector('.log').textContent.includes('plain after'));
  const shown = await page.evaluate(() => [...document.querySelector('rtlogd-stream').shadowRoot.querySelectorAll('.log .row:not(.note)')].filter((row) => row.checkVisibility()).map((row) => row.textContent));
  for (const title of ['GitHub group', 'GitLab section', 'Outer', 'Inner']) assert.ok(shown.includes(title), `${title}: ${shown.join('|')}`);
  assert.ok(!shown.some((text) => /group::|##\[|section_|teamcity/.test(text)), shown.join('|'));
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
