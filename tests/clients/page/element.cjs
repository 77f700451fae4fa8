// The element on pages of others, with a strict policy: what it shows, what it asks for, and who may not have it.
// node element.cjs CHROMIUM PLACE URL PORT: pages of PORT on this machine are allowed.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { append, assert, cut, door, site, test, until } = require('./browser.cjs');

const port = Number(process.argv[5]);
const inside = (page, look, argument) => until(page, look, argument);

test({ viewport: { width: 1000, height: 800 } }, async ({ page, complaints }) => {
  const base = await door();
  const socket = base.replace('http', 'ws');
  const policy = (more) => `default-src 'none'; script-src ${base} ${more}; connect-src ${base} ${socket} 'self'; style-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'`;
  const html = (body, more = '') => [{ 'content-security-policy': policy(more) }, `<!doctype html><title>theirs</title><link rel="stylesheet" href="/theirs.css"><script type="module" src="${base}rtlogd.js"></script>${body}`];
  const element = (attributes) => `<rtlogd-stream ${attributes}></rtlogd-stream>`;
  // Each counts, and is given out once.
  const tokens = readFileSync(join(process.argv[3], 'tokens'), 'utf8').trim().split('\n');
  const files = {
    '/': html(element(`id="all" src="${base}streams/app"`) + element(`id="some" src="${base}streams/app" filter="line [123]$" tail="2" height="200" theme="dark"`) + element(`id="job" src="${base}streams/job" progress-only`)),
    '/many': html(Array.from({ length: 20 }, (_, at) => element(`src="${base}streams/${at % 2 ? 'app' : 'job'}" filter="${at % 2 ? `line ${at}$` : ''}" tail="${at + 1}"`)).join('')),
    '/failed': html(element(`id="bad" src="${base}streams/bad"`)),
    '/theirs.css': [{ 'content-type': 'text/css' }, 'body, span, div { color: red; font-family: serif }'],
    '/token-url': html(element(`src="${base}streams/app" token-url="/token"`)),
    '/token': () => [{ 'content-type': 'text/plain' }, `${tokens.shift()}\n`],
    '/property': html(`${element(`src="${base}streams/app"`)}<script src="/property.js"></script>`, "'self'"),
    '/property.js': [{ 'content-type': 'text/javascript' }, 'document.querySelector("rtlogd-stream").getToken = async () => (await (await fetch("/token")).text()).trim();'],
  };
  files['/foreign'] = [{ 'content-type': 'text/plain' }, readFileSync(join(process.argv[3], 'foreign'), 'utf8')];
  const wrong = { 'token-url="/foreign"': 'app', 'token-url="/missing"': 'no token from /missing: 404', 'token-url="/empty"': 'no token from /empty: the answer is empty',
    [`token-url="${(await site({})).url}"`]: 'does not let this page read the answer', 'token-url="/forged"': 'token' };
  Object.assign(files, {
    '/wrong': html(Object.keys(wrong).map((how) => element(`src="${base}streams/app" ${how}`)).join('')),
    '/empty': [{ 'content-type': 'text/plain' }, '\n'],
    '/forged': [{ 'content-type': 'text/plain' }, 'eyJhbGciOiJFUzI1NiJ9.e30.AAAA\n'],
  });
  const theirs = await site(files, port);
  const sockets = [];
  page.on('websocket', (opened) => sockets.push(opened.url()));

  // The attributes set the view.
  await page.goto(theirs.url);
  const text = (id) => page.$eval(`#${id}`, (one) => one.shadowRoot.querySelector('.log').textContent);
  await inside(page, () => document.querySelector('#all')?.shadowRoot?.querySelector('.log').textContent.includes('line 49'));
  await inside(page, () => document.querySelector('#some').shadowRoot.querySelectorAll('mark').length === 2);
  assert.match(await text('some'), /line 2.*line 3/);
  assert.ok(!(await text('some')).includes('line 1'), 'a tail of 2');
  assert.deepEqual(await page.$$eval('#some mark', (marks) => marks.map((mark) => mark.textContent)), ['line 2', 'line 3']);
  assert.equal(await page.$eval('#some', (one) => one.shadowRoot.querySelector('.card').offsetHeight), 200);
  assert.equal(await page.$eval('#some', (one) => getComputedStyle(one).colorScheme), 'dark');
  await inside(page, () => Number(document.querySelector('#job').shadowRoot.querySelector('[role=progressbar]').getAttribute('aria-valuenow')) >= 45);
  assert.equal(await page.$eval('#job', (one) => one.shadowRoot.querySelector('.log').checkVisibility()), false);
  assert.ok(await page.$eval('#job', (one) => one.offsetHeight < 70), 'a header and a bar');
  // The styles of the page and of the element do not affect each other.
  assert.notEqual(await page.$eval('#all', (one) => getComputedStyle(one.shadowRoot.querySelector('.text')).color), 'rgb(255, 0, 0)');
  assert.notEqual(await page.$eval('#all', (one) => getComputedStyle(one.shadowRoot.querySelector('.log')).fontFamily), await page.$eval('body', (body) => getComputedStyle(body).fontFamily));
  append('app.log', 'live 1\n');
  await inside(page, () => document.querySelector('#all').shadowRoot.querySelector('.log').textContent.includes('live 1'));
  // An element holds no more lines than it says, and asks for no more.
  await page.$eval('#some', (one) => {
    one.removeAttribute('filter');
    for (const [name, value] of Object.entries({ tail: 'all', limit: '7', numbers: '', timestamps: '', wrap: 'off' })) one.setAttribute(name, value);
  });
  const held = () => page.$eval('#some', (one) => [...one.shadowRoot.querySelectorAll('.log .row:not(.note):not(.open)')].map((row) => [row.querySelector('.number')?.textContent, row.querySelector('time')?.dateTime.length > 15, row.querySelector('.text').textContent]));
  await inside(page, () => document.querySelector('#some').shadowRoot.querySelectorAll('.row .number').length > 0 && document.querySelector('#some').shadowRoot.querySelector('.log').textContent.includes('live 1'));
  append('app.log', 'live 2\n');
  await inside(page, () => document.querySelector('#some').shadowRoot.querySelector('.log').textContent.includes('live 2'));
  const seven = await held();
  assert.deepEqual(seven.map(([, , text]) => text), ['line 45', 'line 46', 'line 47', 'line 48', 'line 49', 'live 1', 'live 2']);
  assert.ok(seven.every(([number, time]) => Number(number) > 0 && time), JSON.stringify(seven));
  assert.match(await page.$eval('#some', (one) => one.shadowRoot.querySelector('time').title), /^2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC/, 'a time for people');
  assert.equal(await page.$eval('#some', (one) => one.shadowRoot.querySelector('.log').classList.contains('wrap')), false);
  // The element starts again when an attribute changes.
  await page.$eval('#some', (one) => one.setAttribute('filter', 'live'));
  await inside(page, () => document.querySelector('#some').shadowRoot.querySelector('mark')?.textContent === 'live');
  assert.equal(sockets.length, 1, 'one connection for three elements');

  // A build that failed and is not started again says so, although its source is only stopped.
  await page.goto(`${theirs.url}failed`);
  await inside(page, () => {
    const card = document.querySelector('#bad').shadowRoot?.querySelector('.card');
    return card?.dataset.is === 'bad' && /failed with exit code 3/.test(card.textContent);
  });

  // What is wrong is said: by whom the token is not given, and what the server says of it.
  await page.goto(`${theirs.url}wrong`);
  await inside(page, (expected) => {
    const said = [...document.querySelectorAll('rtlogd-stream')].map((one) => one.shadowRoot.querySelector('header').textContent);
    const bad = [...document.querySelectorAll('rtlogd-stream')].every((one) => one.shadowRoot.querySelector('.card').dataset.is === 'bad');
    return bad && said.length === expected.length && expected.every((text, at) => said[at].replace(/^app/, '').includes(text));
  }, Object.values(wrong));
  assert.ok(complaints.every((text) => /Content Security Policy|blocked by CORS/.test(text)), complaints.join());
  complaints.length = 0;

  // Twenty elements share one connection.
  sockets.length = 0;
  await page.goto(`${theirs.url}many`);
  await inside(page, () => {
    const all = [...document.querySelectorAll('rtlogd-stream')];
    return all.length === 20 && all.every((one, at) => one.shadowRoot?.querySelector('.log').textContent.includes(at % 2 ? `line ${at}` : 'Compiling'));
  });
  assert.equal(sockets.length, 1, sockets.join());

  // A lost connection is opened again, each time with a new token, and no line is lost or doubled.
  const asked = /access_token=[\w-]+\.[\w-]+\.[\w-]+$/;
  for (const path of ['token-url', 'property']) {
    sockets.length = 0;
    await page.goto(theirs.url + path);
    await inside(page, () => document.querySelector('rtlogd-stream').shadowRoot?.querySelector('.log').textContent.includes('live 1'));
    cut();
    append('app.log', `${path} meanwhile\n`);
    await inside(page, (path) => document.querySelector('rtlogd-stream').shadowRoot.querySelector('.log').textContent.includes(`${path} meanwhile`), path);
    const said = await page.$$eval('.row .text', (rows) => rows.map((row) => row.textContent));
    assert.equal(said.filter((row) => row === `${path} meanwhile`).length, 1);
    assert.equal(said.filter((row) => row === 'live 1').length, 1);
    const asking = sockets.filter((address) => asked.test(address));
    assert.ok(asking.length >= 2, `${path}: ${sockets.join()}`);
    assert.equal(new Set(asking).size, asking.length, 'each connect asks for a new one');
  }

  // A page that is allowed may also read with its own script, with a token in a header, for which a browser asks permission.
  const bearer = tokens.shift();
  const read = () => page.evaluate(async ({ address, bearer }) => {
    try {
      return (await (await fetch(address, { headers: { authorization: `Bearer ${bearer}` } })).json()).streams.length;
    } catch (error) {
      return String(error);
    }
  }, { address: `${base}streams`, bearer });
  assert.equal(await read(), 3);
  assert.deepEqual(complaints, [], 'on pages that are allowed');
  // A page that is not allowed gets nothing, and the element says so.
  const stranger = await site(files);
  await page.goto(stranger.url);
  await inside(page, () => document.querySelector('#all')?.shadowRoot?.querySelector('header').textContent.includes(`does not allow pages of ${location.origin}`));
  assert.equal(await text('all'), '');
  assert.match(await read(), /Failed to fetch/);

  // The frame is shown in pages that are allowed, and in no others.
  files['/frame'] = [{}, `<!doctype html><title>theirs</title><iframe src="${base}embed/app?filter=line%204&theme=dark&tail=20" width="600" height="300"></iframe>`];
  await page.goto(`${theirs.url}frame`);
  const framed = await (await page.waitForSelector('iframe')).contentFrame();
  await inside(framed, () => document.querySelector('rtlogd-stream')?.shadowRoot.querySelector('mark')?.textContent === 'line 4');
  assert.equal(await framed.$eval('rtlogd-stream', (one) => one.shadowRoot.querySelector('.card').offsetHeight), 300);
  const refused = new Promise((resolve) => page.on('console', (said) => said.text().includes('frame-ancestors') && resolve()));
  await page.goto(`${stranger.url}frame`);
  await refused;
  const blank = await (await page.waitForSelector('iframe')).contentFrame();
  assert.equal(await blank.$('rtlogd-stream'), null);
  assert.ok(complaints.every((said) => /blocked by CORS policy|frame-ancestors/.test(said)), complaints.join());
  complaints.length = 0;
});
