// The durations of groups and of runs, which end at the same place, whatever stands before them; and how a run ended is said once.
const { assert, test, until, url } = require('./browser.cjs');

for (const width of [360, 1600]) {
  test({ viewport: { width, height: 700 } }, async ({ page }) => {
    await page.goto(`${url}?stream=timed`);
    await until(page, () => [...document.querySelectorAll('.log .lasted')].filter(({ textContent }) => /^0\.\ds$/.test(textContent)).length === 3, null, 'three durations');
    await page.click('.fold:has-text("c, with")');
    await until(page, () => document.querySelectorAll('.log .lasted').length === 3);
    const ends = await page.$$eval('.log .lasted', (all) => all.map((one) => Math.round(one.getBoundingClientRect().right)));
    assert.equal(new Set(ends).size, 1, ends.join());
    await until(page, () => document.querySelectorAll('.log .note').length === 2);
    assert.match((await page.$$eval('.log .note .text', (all) => all.map(({ textContent }) => textContent))).at(-1), /^failed with exit code 3 after \d/);
    if (width < 700) await page.goto(url);
    await until(page, () => document.querySelectorAll('.stream .lasts').length === 2);
    const cards = await page.$$eval('.stream .lasts', (all) => all.map((one) => Math.round(one.getBoundingClientRect().right)));
    assert.equal(new Set(cards).size, 1, cards.join());
  });
}
