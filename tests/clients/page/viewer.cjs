// The list and the viewer: each action that they offer for a log.
const { append, assert, door, fs, rows, test, until, url } = require('./browser.cjs');

const see = (page, text) => until(page, (text) => [...document.querySelectorAll('.log .text')].some((row) => row.textContent.includes(text)), text, `a line with ${text}`);

test({ viewport: { width: 1400, height: 800 }, timezoneId: 'Asia/Kolkata', permissions: ['clipboard-read', 'clipboard-write'], acceptDownloads: true }, async ({ page, context }) => {
  // The list shows state, rate and progress.
  await page.goto(url);
  await until(page, () => document.querySelectorAll('.stream').length === 7);
  await until(page, () => [...document.querySelectorAll('.stream')].some((item) => item.textContent.includes('job') && Number(item.querySelector('[role=progressbar]')?.getAttribute('aria-valuenow')) >= 45), null, 'progress in the list');
  assert.match(await page.$eval('.stream:has-text("app")', (item) => item.textContent), /following.*(lines\/s|lines\/min|quiet)/);
  assert.match(await page.$eval('.stream:has-text("none")', (item) => item.textContent), /waiting/);
  // A process has the duration of its run: so far, or with the time since the end.
  assert.match(await page.$eval('.stream:has-text("job") .rate', (rate) => rate.textContent), /^(\d+m )?\d+s\b/);
  await until(page, () => /failed \(exit 1\).*\ds \u00b7 (just now|\d+m ago)$/.test([...document.querySelectorAll('.stream')].find((item) => item.textContent.startsWith('grouped')).querySelector('a').textContent), null, 'when and how long a run was');
  assert.match(await page.$eval('.stream:has-text("grouped") .rate', (rate) => rate.title), /^Started 2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC\+05:30, .*, took \d.*s$/);

  // The header and the tab show the progress.
  await page.click('.stream a:has-text("job")');
  await until(page, () => /^\d+% · job – rtlogd$/.test(document.title), null, 'progress in the title');
  await until(page, () => document.querySelector('#progress [role=progressbar]').getAttribute('aria-valuenow') === document.title.split('%')[0], null, 'the same in the header');
  await until(page, () => /\d+(s| min) left|a few seconds left/.test(document.querySelector('#progress').textContent), null, 'how long it takes');
  assert.ok(await page.$eval('#typing', (form) => form.hidden), 'who may only read is offered no more');
  assert.equal(await page.$$eval('#commands button', (buttons) => buttons.length), 0);
  await page.goBack();

  // A click opens a stream, and the browser's button goes back.
  await page.click('.stream a:has-text("colours")');
  await see(page, 'plain after');
  assert.match(page.url(), /\?stream=colours$/);
  const styles = await page.evaluate(() => {
    const of = (text) => {
      const found = [...document.querySelectorAll('.log .text *')].find((piece) => piece.textContent === text);
      const style = found && getComputedStyle(found);
      return style && { under: `${style.textDecorationLine} ${style.textDecorationStyle}`, drawn: style.textDecorationColor, color: style.color, weight: style.fontWeight, line: style.textDecorationLine, ground: style.backgroundColor, href: found.getAttribute('href') };
    };
    return Object.fromEntries(['opened', 'carried', 'curly', 'straight', 'lined', 'colon', 'thin', 'over', 'short', 'double', 'none', 'concealed', 'revealed', 'red', 'palette', 'true', 'bold', 'under', 'ground', 'inverse', 'hyper', 'https://example.com/a?b=1'].map((text) => [text, of(text)]));
  });
  assert.deepEqual([styles.opened.color, styles.carried?.color], ['rgb(18, 117, 44)', 'rgb(18, 117, 44)'], 'a colour continues in the next line');
  assert.deepEqual([styles.curly.under, styles.curly.weight], ['underline wavy', '700']);
  assert.deepEqual([styles.straight.under, styles.straight.weight], ['none solid', '700']);
  assert.deepEqual([styles.lined.under, styles.lined.color, styles.lined.drawn], ['underline solid', 'rgb(198, 32, 48)', 'rgb(230, 0, 0)']);
  assert.equal(styles.colon.under, 'underline solid');
  assert.notEqual(styles.colon.drawn, styles.colon.color);
  assert.equal(styles.thin, undefined, 'a colour for lines that are not there');
  assert.equal(styles.over.under, 'overline solid');
  assert.equal(styles.short.color, styles.true.color);
  assert.deepEqual([styles.double.under, styles.none], ['underline double', undefined]);
  assert.deepEqual([styles.concealed.color, styles.revealed], ['rgba(0, 0, 0, 0)', undefined]);
  assert.equal(styles.red.color, 'rgb(198, 32, 48)');
  assert.match(styles.palette.color, /oklch/);
  assert.match(styles.true.color, /oklch/);
  assert.equal(styles.bold.weight, '700');
  assert.equal(styles.under.line, 'underline');
  assert.notEqual(styles.ground.ground, 'rgba(0, 0, 0, 0)');
  assert.notEqual(styles.inverse.ground, 'rgba(0, 0, 0, 0)');
  assert.equal(styles.hyper.href, 'https://example.com/osc8');
  assert.equal(styles['https://example.com/a?b=1'].href, 'https://example.com/a?b=1');
  await page.goBack();
  await until(page, () => document.body.className === 'overview');

  // Times, origins and wrapping are shown on demand, and remembered.
  await page.goto(`${url}?stream=app`);
  await see(page, 'line 2999');
  const shown = async (name) => (await page.$(`.log .row ${name}`)) !== null;
  assert.equal(await shown('.time'), false);
  await page.click('[aria-label="Show times"]');
  await page.click('[aria-label="Show origins"]');
  await until(page, () => document.querySelector('.log .row .time') && document.querySelector('.log .row .origin'), null, 'times and origins');
  assert.match(await page.$eval('.log .row .time', (time) => time.textContent), /^\d\d:\d\d:\d\d\.\d{3}$/);
  // A time has its date and zone, by the reader's clock or by UTC.
  const times = () => page.$eval('.log .row .time', ({ dateTime, title, textContent }) => ({ dateTime, title, text: textContent }));
  const local = await times();
  assert.match(local.title, /^2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC\+05:30, Asia\/(Kolkata|Calcutta)$/);
  await page.click('[aria-label="Times in UTC"]');
  await until(page, () => document.querySelector('.log .row .time').title.endsWith(' UTC'));
  const utc = await times();
  assert.equal(utc.text, utc.dateTime.slice(11, 23));
  assert.notEqual(utc.text, local.text);
  await page.click('[aria-label="Times in UTC"]');
  await until(page, () => document.querySelector('.log .row .origin'));
  assert.equal(await page.$eval('.log .row .origin', (origin) => origin.textContent), 'app.log');
  append('app.log', `${'long '.repeat(200)}end\n`);
  await see(page, 'long long');
  const wide = () => page.$eval('.log', (log) => log.scrollWidth > log.clientWidth);
  assert.equal(await wide(), true);
  await page.click('[aria-label="Wrap lines"]');
  await until(page, () => document.querySelector('.log').scrollWidth <= document.querySelector('.log').clientWidth);
  await until(page, () => [...document.querySelectorAll('.log .row')].at(-1).offsetHeight > 30, null, 'a wrapped line');
  await page.reload();
  await see(page, 'long long');
  await until(page, () => document.querySelector('.log .row .time'), null, 'what was switched on stays on');
  for (const label of ['Show times', 'Show origins', 'Wrap lines']) await page.click(`[aria-label="${label}"]`);

  // A paused viewer counts the lines that arrive meanwhile.
  const top = () => page.$eval('.log', (log) => log.scrollTop);
  const atEnd = () => until(page, () => { const log = document.querySelector('.log'); return log.scrollTop + log.clientHeight >= log.scrollHeight - 4; }, null, 'the end');
  await atEnd();
  await page.hover('.log');
  await page.mouse.wheel(0, -600);
  await page.waitForSelector('#jump:not([hidden])');
  // Scrolling by the wheel is animated: it has ended when the log stands still for 20 frames.
  await until(page, () => {
    const { scrollTop } = document.querySelector('.log');
    const still = window.still?.scrollTop === scrollTop ? window.still.frames + 1 : 0;
    window.still = { scrollTop, frames: still };
    return still >= 20;
  }, null, 'the end of scrolling');
  const before = await top();
  append('app.log', 'new 1\nnew 2\nnew 3\n');
  await until(page, () => document.querySelector('#jump').textContent === '3 new lines');
  assert.equal(await top(), before, 'what is read does not move');
  await page.click('#jump');
  await see(page, 'new 3');
  await atEnd();
  append('app.log', 'new 4\n');
  await see(page, 'new 4');
  await atEnd();
  await page.keyboard.press('Space');
  await page.waitForSelector('[aria-label=Follow]');
  await page.keyboard.press('Space');
  await page.waitForSelector('[aria-label=Pause]');

  // While text is selected, the log stands still and keeps the selection; then it follows again.
  const selection = () => page.evaluate(() => getSelection().toString());
  await page.evaluate(() => {
    const text = [...document.querySelectorAll('.log .row:not(.note) .text')].at(-1);
    getSelection().selectAllChildren(text);
  });
  await page.waitForSelector('#jump:not([hidden])');
  append('app.log', Array.from({ length: 200 }, (_, at) => `while selected ${at}\n`).join(''));
  await until(page, () => document.querySelector('#jump').textContent === '200 new lines');
  assert.equal(await selection(), 'new 4');
  await page.evaluate(() => getSelection().removeAllRanges());
  await see(page, 'while selected 199');
  await atEnd();
  append('app.log', 'new 4\n');
  await see(page, 'new 4');

  // Ctrl+A selects what is loaded, and Ctrl+C copies it without numbers; Ctrl+F searches all lines.
  await page.focus('.log');
  await page.keyboard.press('Control+a');
  await until(page, () => /loaded lines are selected/.test(document.querySelector('#said').textContent));
  await page.keyboard.press('Control+c');
  const all = (await page.evaluate(() => navigator.clipboard.readText())).split('\n');
  assert.ok(all.length > 500 && all.includes('line 2999') && all.includes('while selected 0') && all.at(-2) === 'new 4', `${all.length}: ${all.slice(-3)}`);
  await page.keyboard.press('Control+f');
  await until(page, () => document.activeElement.id === 'find');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  await page.keyboard.press('G');
  await see(page, 'new 4');
  await atEnd();

  // The server filters, the viewer marks the matches, and the address contains the filter.
  await page.keyboard.press('/');
  await page.keyboard.type('line 1?77$');
  await until(page, () => [...document.querySelectorAll('.log .row:not(.note):not(.open) .text')].map((row) => row.textContent).join() === 'line 77,line 177');
  assert.deepEqual(await page.$$eval('.log mark', (marks) => marks.map((mark) => mark.textContent)), ['line 77', 'line 177']);
  assert.equal(new URL(page.url()).searchParams.get('grep'), 'line 1?77$');
  await page.reload();
  await until(page, () => document.querySelectorAll('.log mark').length === 2);
  // A mistake in the filter is named in one line, and the view stays as it is.
  await page.fill('#filter', 'line (');
  await until(page, () => document.querySelector('#said').textContent === 'not a regular expression: unclosed group', null, 'what is wrong with the filter');
  assert.deepEqual(await page.$$eval('.log mark', (marks) => marks.map((mark) => mark.textContent)), ['line 77', 'line 177']);
  // Where no line matches, the view says so, until one comes.
  await page.fill('#filter', 'nothing yet');
  await until(page, () => document.querySelector('.empty')?.checkVisibility() && document.querySelector('.empty').textContent.startsWith('No line matches.'), null, 'that no line matches');
  append('app.log', 'nothing yet, until now\n');
  await see(page, 'nothing yet, until now');
  await until(page, () => !document.querySelector('.empty').checkVisibility());
  await page.fill('#filter', '');
  await see(page, 'new 4');
  await page.selectOption('#level', 'error');
  await until(page, () => [...document.querySelectorAll('.log .row:not(.note):not(.open) .text')].map((row) => row.textContent).join() === 'line 1234 error: the first');
  await page.selectOption('#level', '');
  await see(page, 'new 4');

  // The first error is far above, and the address is a link to it.
  const tally = (kind, text) => until(page, ([kind, text]) => document.querySelector(`.tally.${kind} .count`).textContent === text, [kind, text], `${text}: ${kind}`);
  await tally('error', '1 error');
  await tally('warning', '0 warnings');
  await page.click('.tally.error .count');
  await until(page, () => document.querySelector('.row.selected .text')?.textContent === 'line 1234 error: the first');
  // What lies below is not new; what comes from now on is.
  assert.equal(await page.$eval('#jump', (jump) => jump.textContent), 'Jump to the end');
  append('app.log', 'nothing new\n');
  await until(page, () => document.querySelector('#jump').textContent === '1 new line');
  const link = page.url();
  assert.match(link, /#[a-z0-9]+-\d+$/);
  const other = await context.newPage();
  await other.goto(link);
  await until(other, () => document.querySelector('.row.selected .text')?.textContent === 'line 1234 error: the first');
  await until(other, () => { const row = document.querySelector('.row.selected').getBoundingClientRect(); const log = document.querySelector('.log').getBoundingClientRect(); return row.top > log.top && row.bottom < log.bottom; }, null, 'the linked line in sight');
  // Scrolling alone leads from there to the newest line and back to the oldest, without a missing or a doubled line.
  const walk = (by, last) => other.evaluate(async ([by, last]) => {
    const log = document.querySelector('.log');
    const seen = new Map();
    for (let quiet = 0; quiet < 400; quiet += 1) {
      const before = seen.size;
      for (const row of log.querySelectorAll('.row:not(.open)')) seen.set(row.dataset.id, row.querySelector('.text').textContent);
      if ([...seen.values()].includes(last)) break;
      log.scrollTop += by;
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      if (seen.size > before) quiet = 0;
    }
    return [...seen].map(([id, text]) => [Number(id.split('-')[1]), text]).sort(([a], [b]) => a - b);
  }, [by, last]);
  const down = await walk(500, 'nothing new');
  assert.equal(down.at(-1)[1], 'nothing new');
  down.forEach(([number], at) => assert.equal(number, down[0][0] + at, 'a hole on the way down'));
  const up = await walk(-500, 'line 0');
  assert.equal(up.find(([, text]) => text.startsWith('line'))[1], 'line 0');
  up.forEach(([number], at) => assert.equal(number, up[0][0] + at, 'a hole on the way up'));
  await other.close();

  // A search goes back through all kept lines, and forward again.
  await page.keyboard.press('G');
  await see(page, 'nothing new');
  await page.keyboard.press('f');
  await page.fill('#find', 'LINE 1?5');
  await page.fill('#find', 'needle');
  await page.keyboard.press('Enter');
  await until(page, () => document.querySelector('.row.selected .text')?.textContent === 'line 2500 needle');
  assert.deepEqual(await page.$$eval('.row.selected mark', (marks) => marks.map((mark) => mark.textContent)), ['needle']);
  await page.keyboard.press('Enter');
  await until(page, () => document.querySelector('.row.selected .text')?.textContent === 'line 500 needle');
  await page.keyboard.press('Enter');
  await until(page, () => document.querySelector('#found').textContent === 'no older match');
  await page.click('[aria-label="Newer match"]');
  await until(page, () => document.querySelector('.row.selected .text')?.textContent === 'line 2500 needle');
  await page.keyboard.press('Escape');

  // The chosen lines are copied; Shift extends the choice.
  await page.click('.row:has-text("line 2501") .number');
  await page.click('.row:has-text("line 2503") .number', { modifiers: ['Shift'] });
  await page.click('[aria-label^="Copy the selected"]');
  await until(page, () => document.querySelector('#said').textContent === 'Copied 3 lines.');
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'line 2501\nline 2502\nline 2503\n');
  // The address leads to all of them.
  const range = await context.newPage();
  await range.goto(page.url());
  await until(range, () => [...document.querySelectorAll('.row.selected .text')].map((text) => text.textContent).join() === 'line 2501,line 2502,line 2503');
  await range.close();
  await page.click('[aria-label^="Copy a link"]');
  await until(page, () => document.querySelector('#said').textContent.includes('link'));
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), page.url());

  // All kept lines can be downloaded, as plain text or as they were written.
  const saved = async (modifiers) => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('[aria-label^=Download]', { modifiers })]);
    assert.equal(download.suggestedFilename(), 'app.log');
    return fs.readFileSync(await download.path(), 'utf8');
  };
  const plain = await saved([]);
  assert.ok(plain.startsWith('line 0\nline 1\n') && plain.endsWith('nothing new\n'), plain.slice(0, 200));
  assert.ok(!plain.includes('\x1b'), 'no escape sequences');
  assert.ok((await saved(['Shift'])).startsWith('line 0\nline 1\n'));

  // Errors are counted from the beginning of the last run; the keys lead to those of other runs, too.
  await page.goto(`${url}?stream=runs`);
  await see(page, 'at last');
  // How a run ended is said once.
  await page.goto(`${url}?stream=runs&grep=begin`);
  await see(page, 'begin 3');
  await until(page, () => document.querySelectorAll('.row.note').length > 3, null, 'the ends of runs');
  const notes = await page.$$eval('.row.note .text', (rows) => rows.map((row) => row.textContent));
  assert.ok(notes.some((text) => text.startsWith('failed with exit code')) && !notes.some((text) => text.includes('exited with')), JSON.stringify(notes));
  await page.goto(`${url}?stream=runs`);
  await see(page, 'at last');
  const chosen = (text) => until(page, (text) => document.querySelector('.row.selected .text')?.textContent === text, text);
  const said = (text) => until(page, (text) => document.querySelector('#said').textContent === text, text);
  await tally('error', '1 error');
  assert.match(await page.$eval('.tally.error .count', (button) => button.title), /^1 error in the last run$/);
  await page.keyboard.press('e');
  await chosen('error: in run 3');
  await page.keyboard.press('e');
  await said('There is no later error.');
  await page.keyboard.press('E');
  await chosen('error: in run 1');
  await page.keyboard.press('E');
  await said('There is no earlier error.');
  await page.keyboard.press('e');
  await chosen('error: in run 3');
  await page.keyboard.press('a');
  await said('There is no later warning.');

  // Of very many, the number says that there are more; warnings are found among errors, and live lines are counted.
  await page.goto(`${url}?stream=marks`);
  await see(page, 'line 2999');
  await tally('warning', '1,000+ warnings');
  await tally('error', '3 errors');
  append('marks.log', 'error: live\n');
  await tally('error', '4 errors');
  await page.keyboard.press('E');
  await chosen('error: live');
  await page.keyboard.press('A');
  await chosen('line 2998 warning: low');
  await page.keyboard.press('E');
  await chosen('line 2001 error: bad');
  await page.fill('#filter', 'line [12] ');
  await tally('warning', '1 warning');
  await tally('error', '1 error');
  await page.goto(`${url}?stream=runs`);
  await see(page, 'at last');

  // The first line that is loaded names its day.
  await page.keyboard.press('g');
  await until(page, () => /^2\d{3}-\d\d-\d\d$/.test(document.querySelector('.log .row').dataset.day));
  assert.equal(await page.$$eval('.log .row[data-day]', (rows) => rows.length), 1);

  // Groups of each kind can be folded, by the mouse and by the keyboard, which stays where it is.
  await page.goto(`${url}?stream=colours`);
  await page.click('.fold:has-text("GitHub group")');
  await until(page, () => !document.querySelector('.log').textContent.includes('inside github'));
  assert.match(await page.$eval('.row.head:has-text("GitHub group")', (row) => row.textContent), /1 line(?!s)/);
  await until(page, () => document.activeElement.matches('.fold[aria-expanded=false]'), null, 'the focus stays on the group');
  await page.keyboard.press('Enter');
  await see(page, 'inside github');
  await until(page, () => document.activeElement.matches('.fold[aria-expanded=true]'), null, 'the focus stays on the group');
  await page.click('.fold:has-text("GitLab section")');
  await see(page, 'inside gitlab');
  await page.click('.fold:has-text("Outer")');
  await until(page, () => !document.querySelector('.log').textContent.includes('inside inner'));
  await page.click('.fold:has-text("npm install")');
  await until(page, () => !document.querySelector('.log').textContent.includes('inside travis'));
  // A group of Buildkite is folded once the next one begins, and says how many errors are in it.
  await see(page, 'inside tests');
  await until(page, () => [...document.querySelectorAll('.row.head')].some((row) => /Buildkite group.*1 error.*2 lines/.test(row.textContent)), null, 'what a folded group holds');
  assert.ok(!(await rows(page)).includes('inside buildkite'));
  await page.click('.fold:has-text("Buildkite group")');
  await see(page, 'inside buildkite');
  const texts = await rows(page);
  assert.ok(!texts.some((row) => /endgroup|section_|teamcity|travis_|##|::|secret/.test(row)), texts.join('|'));
  // A message names its place, and has as many rows as it has lines.
  const message = await page.$eval('.row:has(.say.error)', (row) => ({ text: row.innerText, level: row.dataset.level, height: row.offsetHeight, next: row.nextElementSibling.offsetTop - row.offsetTop }));
  assert.match(message.text, /Error src\/a\.rs:3:5 It broke one\ntwo$/);
  assert.deepEqual([message.level, message.height, message.next], ['error', 40, 40]);
  // What is copied is what is shown.
  await page.focus('.log');
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Control+c');
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /\nGitHub group\ninside github\n/);
  assert.match(copied, /\nError: src\/a\.rs:3:5: It broke: one\ntwo\nWarning: low disk\n/);
  assert.ok(!/::|##|section_|travis_|secret/.test(copied), copied);
});

// The last group is not what failed, and the header does not say so.
test({}, async ({ page }) => {
  await page.goto(`${url}?stream=grouped`);
  await until(page, () => document.title === 'failed · grouped – rtlogd' && /failed/.test(document.querySelector('#state').textContent));
  assert.equal(await page.$eval('#progress', (progress) => progress.hidden), true);
});
