// Pictures of the page and of the element: node screenshots.cjs CHROMIUM PLACE URL FOLDER PORT
const { door, path, site, test, until } = require('./browser.cjs');

const [folder, port] = process.argv.slice(5);
const VIEWS = [
  ['list', '', () => document.querySelector('.stream')],
  ['build', '?stream=build', () => document.querySelectorAll('.log .row').length > 15],
  ['tests', '?stream=tests', () => document.querySelector('.log')?.textContent.includes('4182')],
  ['groups', '?stream=ci', () => document.querySelector('.log')?.textContent.includes('Upload')],
  ['errors', '?stream=ci&level=warning', () => document.querySelectorAll('.log .row[data-level]').length > 2],
  ['merged', '?stream=build&stream=web&stream=tests', () => document.querySelectorAll('.log .row').length > 15],
  ['embed', 'embed/ci?numbers&timestamps', () => document.querySelector('rtlogd-stream')?.shadowRoot.querySelector('.log').textContent.includes('Upload')],
  ['live', '?stream=live', () => document.querySelectorAll('.log .open .row').length > 2],
  ['shell', '?stream=shell', () => document.querySelector('#typing:not([hidden])') && document.querySelectorAll('.log .row').length > 1],
];

const shoot = async () => {
  const owner = await door();
  const element = (attributes) => `<rtlogd-stream ${attributes}></rtlogd-stream>`;
  const theirs = await site({
    '/': [{}, `<!doctype html><meta name=viewport content="width=device-width"><style>:root{color-scheme:light dark}body{font:16px/1.6 system-ui;max-width:900px;margin:32px auto;padding:0 16px}</style>
      <script type=module src="${owner}rtlogd.js"></script><h1>Release 4.2</h1><p>What the machines are doing right now.</p>
      ${element(`src="${owner}streams/build" height=300`)}<br>${element(`src="${owner}streams/build" progress-only`)}<br>${element(`src="${owner}streams/tests" filter="error|FAILED|failed" height=160`)}`],
  }, Number(port));
  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [[360, 740], [1600, 900]]) {
      await test({ colorScheme, viewport: { width, height } }, async ({ page }) => {
        for (const [name, at, ready] of VIEWS) {
          await page.goto(owner + at);
          await until(page, ready);
          await page.screenshot({ path: path.join(folder, `${name}-${colorScheme}-${width}.png`) });
        }
        await page.goto(theirs.url);
        await until(page, () => [...document.querySelectorAll('rtlogd-stream')].every((one) => one.shadowRoot?.querySelector('header').textContent));
        await until(page, () => document.querySelector('rtlogd-stream').shadowRoot.querySelectorAll('.row').length > 20);
        await page.screenshot({ path: path.join(folder, `element-${colorScheme}-${width}.png`) });
      });
    }
  }
  await test({ colorScheme: 'light', viewport: { width: 1120, height: 560 } }, async ({ page }) => {
    await page.goto(`${owner}?stream=build`);
    await until(page, () => /^[456]\d%/.test(document.title), null, 'the build in its middle', 90_000);
    await page.screenshot({ path: path.join(folder, 'readme.png') });
  });
};

shoot();
