// The parts that the tests of the page share: a browser, access with the owner's rights, and waiting for facts.
// node SCRIPT CHROMIUM PLACE URL: PLACE is the daemon's directory, with its Unix socket `r.sock`; URL is its address over TCP.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { chromium } = require('playwright-core');

const [executablePath, place, url] = process.argv.slice(2);
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-dev-shm-usage'];

/** Connections through doors. */
const open = new Set();

/** Cuts them all. */
const cut = () => open.forEach((client) => client.destroy());

/** A TCP port that leads to the Unix socket: there the browser has the owner's rights, and the daemon may start again behind it. */
const door = () => new Promise((resolve) => {
  const server = net.createServer((client) => {
    open.add(client);
    const daemon = net.connect(path.join(place, 'r.sock'));
    for (const [one, other] of [[client, daemon], [daemon, client]]) {
      one.on('error', () => other.destroy());
      one.on('close', () => {
        other.destroy();
        open.delete(one);
      });
    }
    client.pipe(daemon).pipe(client);
  });
  server.unref();
  server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}/`));
});

/** A web site of somebody else: what it answers is given by path, as [headers, body]. */
const site = (files, port = 0) => new Promise((resolve) => {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url);
    const file = files[request.url.split('?')[0]];
    const [headers, body] = (typeof file === 'function' ? file(request) : file) ?? [{}, 'nothing'];
    response.writeHead(file ? 200 : 404, { 'content-type': 'text/html', ...headers }).end(body);
  });
  server.unref();
  server.listen(port, '127.0.0.1', () => resolve({ url: `http://127.0.0.1:${server.address().port}/`, asked, files }));
});

/** Runs one test, and fails with what the page complained of. */
const test = async (options, play) => {
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const complaints = [];
  try {
    const context = await browser.newContext(options);
    const watch = (page) => {
      page.on('pageerror', (error) => complaints.push(String(error.stack ?? error)));
      page.on('console', (said) => {
        // The console also reports lost connections, and those that a test makes fail.
        if (said.type() === 'error' && !/net::ERR_|WebSocket connection|Failed to load resource/.test(said.text())) complaints.push(said.text());
      });
    };
    context.on('page', watch);
    await play({ browser, context, page: await context.newPage(), complaints });
    assert.deepEqual(complaints, [], 'the page complained');
  } catch (error) {
    console.error(error, complaints);
    // The short form comes last, where a report that keeps only the end of the output still shows it.
    console.error(`failed: ${String(error.message).slice(0, 500)}\n${String(error.stack).match(/[a-z]+\.cjs:\d+/g)?.join(' ') ?? ''}`);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
};

/**
 * Waits until `look` in the page returns something truthy, and returns that. A page that is drawing has elements missing for a moment,
 * so a `look` that fails with a TypeError has not found anything yet. `look` is not async: Playwright would take its promise for a result.
 */
const until = async (page, look, argument, what = String(look), patience = 30_000) => {
  const patient = new Function('argument', `
    try { return (${look})(argument); } catch (error) { if (error instanceof TypeError) return undefined; throw error; }`);
  try {
    return await (await page.waitForFunction(patient, argument, { timeout: patience })).jsonValue();
  } catch (error) {
    const seen = await page.evaluate(() => document.body.innerText.slice(-2000)).catch(() => '?');
    throw new Error(`never came: ${what}; the page shows: ${seen}`, { cause: error });
  }
};

/** Texts of the rows in sight. */
const rows = (page) => page.$$eval('.log .row:not(.open) .text', (texts) => texts.map((text) => text.textContent));

const append = (name, text) => fs.appendFileSync(path.join(place, name), text);

module.exports = { append, assert, cut, door, executablePath, fs, path, place, rows, site, test, until, url };
