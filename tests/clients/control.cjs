// A control channel through Chromium's WebSocket, from PAGE: sends each line of standard input as a message, prints each message as
// a line.
// node control.cjs CHROMIUM PAGE URL
const { chromium } = require('playwright-core');
const readline = require('node:readline');
const [executablePath, page_url, url] = process.argv.slice(2);
(async () => {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  try {
    const page = await browser.newPage();
    await page.goto(page_url);
    await page.exposeFunction('heard', (text) => process.stdout.write(text + '\n'));
    await page.evaluate((url) => new Promise((resolve, reject) => {
      window.channel = new WebSocket(url, 'rtlogd.v1');
      window.channel.onmessage = (message) => window.heard(message.data);
      window.channel.onopen = () => resolve();
      window.channel.onclose = (end) => reject(new Error(`closed: ${end.code} ${end.reason}`));
    }), url);
    process.stdout.write('open\n');
    for await (const line of readline.createInterface({ input: process.stdin })) {
      await page.evaluate((line) => window.channel.send(line), line);
    }
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
