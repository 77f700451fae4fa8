// Opens PAGE in Chromium, tries from there what it may do with the daemon at TARGET, with TOKEN and without, and prints what came
// of it as JSON. Names that end in .example lead to this machine, as one who rebinds DNS would have it.
// node foreign.cjs CHROMIUM PAGE TARGET TOKEN
const { chromium } = require('playwright-core');
const [executablePath, page_url, target, token] = process.argv.slice(2);
(async () => {
  const args = ['--no-sandbox', '--disable-dev-shm-usage', '--host-resolver-rules=MAP *.example 127.0.0.1'];
  const browser = await chromium.launch({ executablePath, args });
  try {
    const page = await browser.newPage();
    const answer = await page.goto(page_url);
    const outcome = await page.evaluate(async ([target, token]) => {
      const authorization = { Authorization: `Bearer ${token}` };
      const fetched = async (path, options) => {
        try {
          const response = await fetch(target + path, options);
          return { status: response.status, text: await response.text() };
        } catch (error) {
          return 'refused';
        }
      };
      const event_source = (path) => new Promise((resolve) => {
        const source = new EventSource(target + path);
        source.onmessage = (message) => { source.close(); resolve(message.data); };
        source.onerror = () => { source.close(); resolve('refused'); };
      });
      const channel = (path) => new Promise((resolve) => {
        const socket = new WebSocket(target.replace('http', 'ws') + path, ['rtlogd.v1']);
        socket.onopen = () => { socket.close(); resolve('open'); };
        socket.onerror = () => resolve('refused');
      });
      const stream = '/streams/open?tail=all&follow=false&format=text';
      return {
        read: await fetched(stream),
        read_hidden: await fetched('/streams/hidden/state', { headers: authorization }),
        follow: await event_source('/streams/open?tail=all'),
        follow_hidden: await event_source(`/streams/hidden?tail=all&access_token=${token}`),
        channel: await channel('/control'),
        channel_token: await channel(`/control?access_token=${token}`),
        type: await fetched('/streams/open/input', { method: 'POST', body: 'by a page\n', headers: authorization }),
        type_in_url: await fetched(`/streams/open/input?access_token=${token}`, { method: 'POST', body: 'by a page\n' }),
        blind: await fetched('/streams/open/input', { method: 'POST', body: 'by a page\n', mode: 'no-cors' }),
        login: await fetched('/login', { method: 'POST', body: token }),
      };
    }, [target, token]);
    process.stdout.write(JSON.stringify({ page: answer.status(), ...outcome }));
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
