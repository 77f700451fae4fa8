// Opens PAGE in Chromium, reads PATH there with its EventSource until a message holds LAST, and prints what it saw as JSON.
// node chromium.cjs CHROMIUM PAGE PATH LAST
const { chromium } = require('playwright-core');
const [executablePath, page_url, path, last] = process.argv.slice(2);
(async () => {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  try {
    const page = await browser.newPage();
    await page.goto(page_url);
    const seen = await page.evaluate(([path, last]) => new Promise((resolve, reject) => {
      const seen = [];
      let opened = 0;
      const source = new EventSource(path);
      const see = (message) => {
        if (message.data === undefined) {
          if (message.type === 'open') opened += 1;
          if (message.type === 'error' && source.readyState === 2) reject(new Error(`given up after ${seen.length} messages`));
          return;
        }
        seen.push({ event: message.type === 'message' ? '' : message.type, id: message.lastEventId, data: message.data });
        if (message.data.includes(last)) {
          source.close();
          resolve({ opened, seen });
        }
      };
      for (const name of ['message', 'line', 'state', 'loss', 'end', 'progress', 'open', 'gap', 'forged', 'error']) {
        source.addEventListener(name, see);
      }
    }), [path, last]);
    process.stdout.write(JSON.stringify(seen));
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
