// A hostile log: no part of it runs, no part of it breaks the page, and its cost is bounded.
const { assert, rows, test, until, url } = require('./browser.cjs');

test({ viewport: { width: 1200, height: 900 } }, async ({ page, context }) => {
  const asked = [];
  context.on('request', (request) => asked.push(request.url()));
  page.on('dialog', () => assert.fail('a script ran'));
  for (const look of [`${url}?stream=bad`, `${url}embed/bad`]) {
    await page.goto(look);
    // The element's rows are in its shadow.
    const inside = () => page.evaluateHandle(() => document.querySelector('rtlogd-stream')?.shadowRoot ?? document);
    await until(page, () => (document.querySelector('rtlogd-stream')?.shadowRoot ?? document).querySelector('.log')?.textContent.includes('the last line'));
    const root = await inside();
    const seen = await root.evaluate((root) => {
      const log = root.querySelector('.log');
      const texts = [...log.querySelectorAll('.text')];
      return {
        texts: texts.map((text) => text.textContent),
        links: [...log.querySelectorAll('a:not(.number)')].map((link) => link.getAttribute('href')),
        alien: [...log.querySelectorAll('script,img,iframe,svg,object,embed,style,form,input')].length,
        handlers: [...log.querySelectorAll('*')].flatMap((element) => element.getAttributeNames().filter((name) => name.startsWith('on'))).length,
        pieces: Math.max(...texts.map((text) => text.childElementCount)),
        longest: Math.max(...texts.map((text) => text.textContent.length)),
        all: log.querySelectorAll('*').length,
      };
    });
    const has = (text) => assert.ok(seen.texts.some((line) => line.includes(text)), `${look} shows ${text}`);
    has('<script>alert(1)</script>');
    has('<img src=x onerror=alert(2)>');
    has('javascript:alert(3)');
    has('click me');
    // Characters that reverse the order of letters, or are invisible, are drawn as symbols.
    has('user‹U+202E›gnp.exe');
    has('zero‹U+200B›width');
    has('bell\u2407 and back\u2408space');
    has('title');
    assert.ok(!seen.texts.some((line) => /[\u202a-\u202e\u2066-\u2069\u200b\x07\x1b]/.test(line)), 'nothing unseen is left');
    assert.deepEqual(seen.links, ['https://example.com/good'], 'only harmless links');
    assert.equal(seen.alien, 0);
    assert.equal(seen.handlers, 0);
    assert.ok(seen.pieces <= 1002, `10,000 colours are ${seen.pieces} pieces`);
    assert.ok(seen.longest < 11_000, `a line of 1 MB is drawn with ${seen.longest} characters`);
    assert.ok(seen.all < 8000, `${seen.all} elements`);
    assert.notEqual(await page.title(), 'owned');
  }
  // The rest of a long line is shown on demand.
  await page.goto(`${url}?stream=bad`);
  await until(page, () => document.querySelector('.more'));
  const more = await page.$$('.more');
  await more[more.length - 1].click();
  await until(page, () => [...document.querySelectorAll('.log .text')].some((text) => text.textContent.length > 200_000));
  assert.ok((await rows(page)).length > 5);
  assert.ok(asked.every((address) => address.startsWith(url) || address.startsWith(url.replace('http', 'ws'))), asked.join('\n'));

  // No part of the address runs either.
  await page.goto(`${url}?stream=${encodeURIComponent('"><script>alert(1)</script>')}&grep=${encodeURIComponent('<img src=x onerror=alert(1)>')}`);
  await until(page, () => document.querySelector('#said').textContent !== '' && document.querySelector('h1').textContent.includes('<script>'));
});
