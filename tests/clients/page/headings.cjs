// The headings of groups: they stay in sight while their lines scroll, and hide no line that is gone to.
const { append, assert, test, until, url } = require('./browser.cjs');

/** What is above the lines, in the page or in the element. */
const LOG = 'document.querySelector(".log") ?? document.querySelector("rtlogd-stream").shadowRoot.querySelector(".log")';
const inLog = (page, look, argument, what) => until(page, new Function('argument', `const log = ${LOG}; return (${look})(log, argument);`), argument, what);

const stay = (page, titles) => inLog(page, (log, titles) => [...log.querySelectorAll('.stay .fold')].map(({ dataset }) => dataset.text).join() === titles, titles.join(), `headings ${titles}`);
/** Scrolls until this line is at the height of the second row, as a reader does: each time the log is drawn. */
const scrollTo = (page, text) => page.evaluate(async ([text, log]) => {
  const view = new Function(`return ${log}`)();
  for (let steps = 0; steps < 200; steps += 1) {
    const row = [...view.querySelectorAll('.row')].find((one) => !one.closest('.stay') && one.textContent.endsWith(text));
    const place = row ? row.offsetTop - 40 : view.scrollTop + 300;
    if (row && Math.abs(view.scrollTop - place) < 2) return;
    view.scrollTop = place;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
  throw new Error(`there is no line ${text}`);
}, [text, LOG]);
/** Goes to the first line, which is this one. */
const toTop = async (page, text) => {
  await page.keyboard.press('g');
  await inLog(page, (log, text) => log.scrollTop === 0 && log.textContent.includes(text), text, 'the first line');
};
const toOldest = (page) => toTop(page, 'fetching 1');
const numbered = (what, from, to) => Array.from({ length: to + 1 - from }, (_, at) => `${what} ${at + from}\n`).join('');
/** Lines that push all that came 2000 lines before them out of the page, which holds 20 000. */
const AFTER = 17_500;
/** The top of a row in the view, and where the headings end there. */
const places = (page, selector) => page.evaluate(([selector, log]) => {
  const view = new Function(`return ${log}`)();
  const top = view.getBoundingClientRect().top + view.clientTop;
  const last = view.querySelector('.stay').lastElementChild;
  return [view.querySelector(selector).getBoundingClientRect().top - top, last ? last.getBoundingClientRect().bottom - top : 0];
}, [selector, LOG]);

test({ viewport: { width: 1200, height: 700 }, permissions: ['clipboard-read', 'clipboard-write'] }, async ({ page, context }) => {
  for (const wraps of [false, true]) {
    await page.goto(`${url}?stream=steps`);
    await until(page, () => document.querySelector('.log')?.textContent.includes('after 60'));
    if (wraps) await page.click('[aria-label="Wrap lines"]');
    await stay(page, []);
    await toOldest(page);
    await stay(page, []);
    for (const [text, titles] of [['fetching 5', ['Fetch']], ['parsing 20', ['Build', 'Parser']], ['generating 9', ['Parser', 'Generated']], ['linking 9', ['Build']], ['after 9', []], ['parsing 20', ['Build', 'Parser']]]) {
      if (titles[1] === 'Parser') await toOldest(page);
      await scrollTo(page, text);
      await stay(page, titles);
    }
    assert.ok(await page.$$eval('.log .row', ({ length }) => length < 120), 'few rows are drawn');
  }
  await page.click('[aria-label="Wrap lines"]');

  // The first error, a link to it, and a match of the search are below the headings.
  await page.keyboard.press('e');
  const isClear = async (tab, text) => {
    await inLog(tab, (log, text) => log.querySelector('.row.selected .text')?.textContent === text, text);
    await stay(tab, ['Build', 'Parser']);
    const [top, end] = await places(tab, '.row.selected');
    assert.ok(end === 40 && top >= end, `${text} at ${top} is covered up to ${end}`);
  };
  await isClear(page, 'error: in the parser');
  const other = await context.newPage();
  await other.setViewportSize({ width: 1200, height: 300 });
  await other.goto(page.url());
  await isClear(other, 'error: in the parser');
  await other.keyboard.press('f');
  await other.fill('#find', 'parsing 31');
  await other.keyboard.press('Enter');
  await isClear(other, 'parsing 31');
  await other.close();

  // What is copied has each heading once; a selection by the browser has none that only stays.
  await page.keyboard.press('Escape');
  await page.focus('.log');
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Control+c');
  const copied = (await page.evaluate(() => navigator.clipboard.readText())).split('\n');
  for (const title of ['Fetch', 'Build', 'Parser', 'Generated']) assert.equal(copied.filter((line) => line === title).length, 1, title);
  await page.keyboard.press('Escape');
  // The search of the browser finds a heading that stays once, and that is its row.
  await toOldest(page);
  await scrollTo(page, 'parsing 10');
  await stay(page, ['Build', 'Parser']);
  const hits = await page.evaluate(() => {
    getSelection().removeAllRanges();
    const found = [];
    while (found.length < 9 && window.find('Parser', true)) found.push(!!getSelection().anchorNode.parentElement.closest('.stay'));
    getSelection().removeAllRanges();
    return found;
  });
  assert.deepEqual(hits, [false]);
  const drawn = await page.$eval('.stay .fold[aria-label="Parser"]', (fold) => [getComputedStyle(fold, '::after').content, fold.offsetHeight]);
  assert.deepEqual(drawn, ['"Parser"', 20]);
  await scrollTo(page, 'parsing 60');
  await stay(page, ['Build', 'Parser']);
  const selected = await page.evaluate(() => {
    getSelection().selectAllChildren(document.querySelector('.log'));
    const text = getSelection().toString();
    getSelection().removeAllRanges();
    return text;
  });
  assert.ok(selected.includes('parsing 60') && !selected.includes('Build'), selected.slice(0, 200));

  // A heading folds its group. Its row is where it was then, with the focus of the keyboard, which unfolds the group again.
  await page.click('.stay .fold[aria-label="Parser"]');
  await inLog(page, (log) => !log.textContent.includes('parsing 60'));
  await stay(page, ['Build']);
  await until(page, () => document.activeElement.matches('.log > .row > .fold[aria-expanded=false]') && document.activeElement.textContent === 'Parser', null, 'the focus');
  assert.deepEqual(await places(page, '.row:has(:focus)'), [20, 20]);
  await page.keyboard.press('Enter');
  await inLog(page, (log) => log.textContent.includes('parsing 1'));
  // The number of a heading leads to its row.
  await scrollTo(page, 'parsing 50');
  await page.click('.stay .row:has([aria-label="Build"]) .number');
  await inLog(page, (log) => log.querySelector('.row.selected .fold')?.textContent === 'Build');
  await stay(page, ['Fetch']);

  // Where the lines of several streams alternate, none stays.
  await page.goto(`${url}?stream=steps&stream=long`);
  await until(page, () => document.querySelectorAll('.log .row').length > 20);
  await toOldest(page);
  await scrollTo(page, 'parsing 20');
  await stay(page, []);

  // The element does the same.
  await page.goto(`${url}embed/steps?tail=all`);
  await inLog(page, (log) => log.textContent.includes('after 60'));
  await scrollTo(page, 'parsing 20');
  await stay(page, ['Build', 'Parser']);
  await page.click('.stay .fold[aria-label="Parser"]');
  await stay(page, ['Build']);
  await inLog(page, (log) => log.getRootNode().activeElement.matches('.log > .row > .fold[aria-expanded=false]'));
  assert.deepEqual(await places(page, '.row:has(:focus)'), [20, 20]);
  // Of a group whose beginning is dropped the heading stays, and covers no line, even the first.
  await page.goto(`${url}embed/long?limit=50`);
  await inLog(page, (log) => log.textContent.includes('line 30') && log.querySelector('.fold:not(:disabled)'));
  // A group that is folded opens then: nothing is left that could unfold it.
  await page.click('.fold');
  await inLog(page, (log) => log.querySelector('.fold[aria-expanded=false]'));
  append('long.log', numbered('line', 31, 200));
  await inLog(page, (log) => log.innerText.includes('line 200'));
  await stay(page, ['Only one']);
  await inLog(page, (log) => {
    log.scrollTop = 0;
    return log.querySelector('.stay').getBoundingClientRect().top - log.getBoundingClientRect().top < 2;
  });
  const [top, end] = await places(page, '.row:not(.stay .row)');
  assert.ok(end === 20 && top >= end, `the first line at ${top} is covered up to ${end}`);
  assert.ok(await page.$eval('.stay .fold', (fold) => fold.disabled), 'nothing could unfold it again');

  // The same on the page, which holds more lines.
  await page.goto(`${url}?stream=long`);
  await until(page, () => document.querySelector('.log')?.textContent.includes('line 200'));
  await toTop(page, 'line 1');
  await page.click('.log > .row > .fold:has-text("Only one")');
  await inLog(page, (log) => log.querySelector('.fold[aria-expanded=false]') && !log.textContent.includes('line 200'));
  await page.click('#jump');
  await until(page, () => document.querySelector('#jump').hidden);
  append('long.log', `${numbered('line', 201, 3000)}::endgroup::\n${numbered('after', 1, AFTER)}`);
  await inLog(page, (log, last) => log.textContent.includes(last), `after ${AFTER}`);
  await inLog(page, (log, after) => {
    log.scrollTop = log.scrollHeight - (after + 9) * 20;
    return log.textContent.includes('line 3000') && log.textContent.includes('line 2990');
  }, AFTER);
  await stay(page, ['Only one']);
});
