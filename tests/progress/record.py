#!/usr/bin/env python3
"""Records what real programs write while they work, through a pipe and through a terminal.

    record.py NAME...     records these again (all, without names) into tests/progress/NAME.{pipe,pty}

Each line of a recording is one read: milliseconds since the start, a space, and the bytes as a JSON string in which each
character is one byte; the last line is "end" and the exit code. Everything runs on this machine; npm and apt ask their usual servers.
"""
import http.server, json, os, pty, select, socketserver, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE = 3_000_000
# What tells about the machine.
PRIVATE = [sys.prefix, os.path.expanduser("~")]


class Slow(http.server.BaseHTTPRequestHandler):
    """Serves any path as SIZE bytes in about two seconds."""

    def do_GET(self):
        body = getattr(self.server, "body", b"\0" * SIZE)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        step = len(body) // 20 + 1
        for at in range(0, len(body), step):
            self.wfile.write(body[at : at + step])
            time.sleep(0.1)

    def log_message(self, *_):
        pass


def serve(body=None):
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    if body:
        server.body = body
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


CMAKE = """cmake_minimum_required(VERSION 3.10)
project(demo C)
foreach(n RANGE 1 24)
  file(WRITE ${CMAKE_BINARY_DIR}/part${n}.c "int part${n}(void) { return ${n}; }\\n")
  list(APPEND parts ${CMAKE_BINARY_DIR}/part${n}.c)
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/main.c "int main(void) { return 0; }\\n")
add_executable(demo ${CMAKE_BINARY_DIR}/main.c ${parts})
"""


def cmake(place):
    open(f"{place}/CMakeLists.txt", "w").write(CMAKE)
    subprocess.run(["cmake", "-S", place, "-B", f"{place}/b", "-G", "Unix Makefiles"], check=True, stdout=subprocess.DEVNULL)
    return ["make", "-C", f"{place}/b", "-j2", "--no-print-directory"]


def ninja(place):
    open(f"{place}/CMakeLists.txt", "w").write(CMAKE)
    subprocess.run(["cmake", "-S", place, "-B", f"{place}/b", "-G", "Ninja"], check=True, stdout=subprocess.DEVNULL)
    return ["ninja", "-C", f"{place}/b"]


def ninja_fails(place):
    ninja(place)
    open(f"{place}/b/part7.c", "w").write("not C\n")
    return ["ninja", "-C", f"{place}/b"]


def cargo(place):
    names = [f"part{n}" for n in range(12)]
    for name in names + ["demo"]:
        os.makedirs(f"{place}/{name}/src")
        open(f"{place}/{name}/src/{'main' if name == 'demo' else 'lib'}.rs", "w").write(
            "fn main() {}\n" if name == "demo" else "pub fn f() {}\n")
        deps = "".join(f'{n} = {{ path = "../{n}" }}\n' for n in names) if name == "demo" else ""
        open(f"{place}/{name}/Cargo.toml", "w").write(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{deps}[workspace]\n')
    return ["cargo", "build", "--offline", "--manifest-path", f"{place}/demo/Cargo.toml"]


def wheel(place):
    import zipfile, io, random
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        z.writestr("demo/__init__.py", "")
        z.writestr("demo/data.bin", random.Random(7).randbytes(SIZE))
        z.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        z.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("demo-1.0.dist-info/RECORD", "")
    return data.getvalue()


def pip(place):
    port = serve(wheel(place))
    return [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--root-user-action=ignore",
            "--target", f"{place}/t", f"http://127.0.0.1:{port}/demo-1.0-py3-none-any.whl"]


def npm(place):
    open(f"{place}/package.json", "w").write('{"name":"demo","version":"1.0.0","dependencies":{"left-pad":"1.3.0","ms":"2.1.3"}}')
    return ["npm", "install", "--prefix", place, "--cache", f"{place}/c", "--no-audit", "--no-fund"]


def apt(place):
    subprocess.run(["apt-get", "remove", "-y", "-qq", "hello"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run(["apt-get", "clean"])
    return ["apt-get", "install", "-y", "-o", "Dpkg::Progress-Fancy=1", "hello"]


def rsync(place):
    open(f"{place}/a.bin", "wb").write(os.urandom(SIZE))
    return ["rsync", "--bwlimit=1500", "--progress", f"{place}/a.bin", f"{place}/b.bin"]


def wget(place):
    return ["wget", "-O", f"{place}/x", f"http://127.0.0.1:{serve()}/file.bin"]


def curl(place):
    return ["curl", "-o", f"{place}/x", f"http://127.0.0.1:{serve()}/file.bin"]


def curl_bar(place):
    return ["curl", "-#", "-o", f"{place}/x", f"http://127.0.0.1:{serve()}/file.bin"]


def dd(place):
    return ["sh", "-c", "(for i in 1 2 3 4 5; do head -c 1000000 /dev/zero; sleep 0.5; done) | dd bs=64k of=/dev/null status=progress"]


def tqdm(place):
    return [sys.executable, "-c", "import time, tqdm\nfor i in tqdm.tqdm(range(40), desc='Training'): time.sleep(0.05)"]


def ffmpeg(place):
    return ["ffmpeg", "-nostdin", "-hide_banner", "-y", "-re", "-f", "lavfi", "-t", "3", "-i", "sine", "-ac", "1", f"{place}/o.wav"]


def ffmpeg_file(place):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-t", "3", "-i", "sine", f"{place}/i.wav"], check=True)
    return ["ffmpeg", "-nostdin", "-hide_banner", "-y", "-re", "-i", f"{place}/i.wav", f"{place}/o.wav"]


def pytest(place):
    for f in "abc":
        open(f"{place}/test_{f}.py", "w").write(
            "import time, pytest\n@pytest.mark.parametrize('n', range(8))\ndef test_it(n): time.sleep(0.02)\n")
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", place]


def pytest_fails(place):
    command = pytest(place)
    open(f"{place}/test_b.py", "a").write("def test_bad(): assert False\n")
    return command + ["--tb=no"]


def git(place):
    for n in range(2000):
        open(f"{place}/{n}", "w").write(f"{n}\n" * 20)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    for command in [["init", "-q"], ["add", "."], [*who, "commit", "-qm", "all"]]:
        subprocess.run(["git", "-C", place, *command], check=True)
    return ["git", "clone", "--progress", f"file://{place}", f"{place}/c"]


LAYERS = ["a3ed95caeb02", "0f9b5b8a1c3d", "5c1e7f2ab964"]
DOCKER = f"""
import sys, time
layers = {LAYERS!r}
total = 12.5
tty = sys.stdout.isatty()
def out(text):
    sys.stdout.write(text); sys.stdout.flush()
out('latest: Pulling from library/demo\\n')
state = ['Pulling fs layer'] * 3
def show(n, text):
    if tty:
        up = 3 - n
        out(f'\\x1b[{{up}}A\\x1b[2K\\r{{layers[n]}}: {{text}} \\r\\x1b[{{up}}B')
    elif '[' not in text:
        out(f'{{layers[n]}}: {{text}}\\n')
for layer in layers:
    out(f'{{layer}}: Pulling fs layer \\n')
for word in ['Downloading', 'Extracting']:
    for n in range(3):
        for step in range(1, 6):
            part = total * step / 5
            bar = '=' * (step * 10 - 1) + '>'
            show(n, f'{{word}} [{{bar:50}}] {{part:6.4g}}MB/{{total}}MB')
            time.sleep(0.05)
        show(n, 'Download complete' if word == 'Downloading' else 'Pull complete')
out('Digest: sha256:3f1c0e0d\\nStatus: Downloaded newer image for demo:latest\\n')
"""


def docker(place):
    return [sys.executable, "-c", DOCKER]


def script(text):
    """A Python program."""
    return [sys.executable, "-c", text]


def tqdm_nested(place):
    return script("import time, tqdm\nfor i in tqdm.trange(5, desc='Epoch'):\n  for j in tqdm.trange(10, desc='Batch', leave=False): time.sleep(0.03)")


def tqdm_no_total(place):
    return script("import time, tqdm\nfor i in tqdm.tqdm(iter(range(40)), desc='Reading'): time.sleep(0.05)")


def rich_bars(place):
    return script("""
import time
from rich.progress import Progress
with Progress() as progress:
    whole = progress.add_task("Total", total=4)
    part = progress.add_task("Part", total=10)
    for i in range(4):
        progress.reset(part)
        for j in range(10):
            progress.advance(part); time.sleep(0.05)
        progress.advance(whole)
""")


def rich_track(place):
    return script("import time\nfrom rich.progress import track\nfor i in track(range(30), 'Working'): time.sleep(0.05)")


def alive_progress(place):
    return script("import time\nfrom alive_progress import alive_it\nfor i in alive_it(range(40), title='Loading'): time.sleep(0.05)")


def progressbar2(place):
    return script("import time, progressbar\nfor i in progressbar.progressbar(range(40)): time.sleep(0.05)")


def enlighten(place):
    return script("""
import time, enlighten
manager = enlighten.get_manager()
bar = manager.counter(total=40, desc='Basic', unit='ticks')
for i in range(40):
    time.sleep(0.05); bar.update()
manager.stop()
""")


def click_bar(place):
    return script("import time, click\nwith click.progressbar(range(40), label='Copying') as bar:\n  for i in bar: time.sleep(0.05)")


def pytest_xdist(place):
    return pytest(place) + ["-p", "no:sugar", "-n", "2", "-v"]


def pytest_sugar(place):
    return pytest(place) + ["-p", "sugar"]


def uv(place):
    return ["uv", "pip", "install", "--no-cache", "--python", sys.executable, "--target", f"{place}/t", "rich", "click", "attrs"]


def pv(place):
    open(f"{place}/a.bin", "wb").write(bytes(SIZE))
    return ["sh", "-c", f"pv -f -i 0.3 -L 1500k {place}/a.bin > {place}/b.bin"]


def pv_no_total(place):
    return ["sh", "-c", f"head -c {SIZE} /dev/zero | pv -f -i 0.3 -L 1500k > {place}/b.bin"]


def seven_zip(place):
    for n in range(4):
        open(f"{place}/{n}.bin", "wb").write(os.urandom(SIZE * 2))
    return ["7z", "a", "-bsp1", "-mx9", "-mmt1", f"{place}/a.7z", *[f"{place}/{n}.bin" for n in range(4)]]


def zstd(place):
    open(f"{place}/a.bin", "wb").write(os.urandom(SIZE * 4))
    return ["zstd", "-19", "--single-thread", "--progress", f"{place}/a.bin", "-o", f"{place}/a.zst"]


def aria2(place):
    return ["aria2c", "--summary-interval=1", "-d", place, "-o", "f", "--max-overall-download-limit=1500K", f"http://127.0.0.1:{serve()}/file.bin"]


def aria2_fails(place):
    return ["aria2c", "--summary-interval=1", "-d", place, "-o", "f", "--max-tries=1", f"http://127.0.0.1:1/file.bin"]


def rsync_whole(place):
    for n in range(4):
        os.makedirs(f"{place}/a", exist_ok=True)
        open(f"{place}/a/{n}.bin", "wb").write(os.urandom(SIZE // 4))
    return ["rsync", "-r", "--bwlimit=1500", "--info=progress2", f"{place}/a/", f"{place}/b/"]


def rsync_files(place):
    rsync_whole(place)
    return ["rsync", "-r", "--bwlimit=1500", "--progress", f"{place}/a/", f"{place}/b/"]


def rsync_german(place):
    return ["env", "LC_ALL=de_DE.UTF-8"] + rsync(place)


def mkfs(place):
    open(f"{place}/disk", "wb").truncate(2_000_000_000)
    return ["mkfs.ext4", "-F", "-E", "lazy_itable_init=0", f"{place}/disk"]


def badblocks(place):
    open(f"{place}/disk", "wb").truncate(3_000_000_000)
    return ["badblocks", "-s", "-b", "1024", "-c", "1", f"{place}/disk"]


def qemu_img(place):
    open(f"{place}/disk", "wb").write(os.urandom(60_000_000))
    return ["qemu-img", "convert", "-p", "-r", "20M", "-O", "qcow2", f"{place}/disk", f"{place}/disk.qcow2"]


def files(place, number=40, size=200_000):
    os.makedirs(f"{place}/files")
    for n in range(number):
        open(f"{place}/files/{n}.bin", "wb").write(os.urandom(size))
    return f"{place}/files"


def borg_create(place):
    subprocess.run(["borg", "init", "-e", "none", f"{place}/repo"], check=True, env=dict(os.environ, BORG_BASE_DIR=place))
    return ["env", f"BORG_BASE_DIR={place}", "borg", "create", "--progress", f"{place}/repo::one", files(place, 60, 1_000_000)]


def borg_extract(place):
    base = dict(os.environ, BORG_BASE_DIR=place)
    subprocess.run(borg_create(place), check=True, stderr=subprocess.DEVNULL, env=base)
    return ["env", f"BORG_BASE_DIR={place}", "borg", "extract", "--progress", f"{place}/repo::one"]


def restic(place):
    env = ["env", "RESTIC_PASSWORD=x", f"RESTIC_CACHE_DIR={place}/c", "RESTIC_PROGRESS_FPS=4"]
    subprocess.run([*env, "restic", "init", "-q", "-r", f"{place}/repo"], check=True)
    return [*env, "restic", "-r", f"{place}/repo", "backup", "--host", "demo", "--limit-upload", "12000", files(place, 60, 1_000_000)]


def rclone(place):
    return ["rclone", "copy", "--config", "/dev/null", "--bwlimit", "4M", "--stats", "500ms", "-P", files(place), f"{place}/b"]


def tar(place):
    return ["tar", "--checkpoint=100", "-cf", f"{place}/a.tar", "-C", place, os.path.basename(files(place))]


def git_fetch(place):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q", f"{place}/a"], check=True)
    subprocess.run(["git", "clone", "-q", f"{place}/a", f"{place}/b"], check=True, stderr=subprocess.DEVNULL)
    for n in range(500):
        open(f"{place}/a/{n}", "w").write(f"{n}\n" * 20)
    for command in [["add", "."], [*who, "commit", "-qm", "all"]]:
        subprocess.run(["git", "-C", f"{place}/a", *command], check=True)
    return ["git", "-C", f"{place}/b", "fetch", "--progress", f"file://{place}/a"]


def git_push(place):
    git_fetch(place)
    subprocess.run(["git", "init", "-q", "--bare", f"{place}/c"], check=True)
    return ["git", "-C", f"{place}/a", "push", "--progress", f"file://{place}/c", "HEAD:main"]


def ctest(place):
    tests = "".join(f"add_test(NAME test{n} COMMAND ${{CMAKE_COMMAND}} -E sleep 0.1)\n" for n in range(12))
    open(f"{place}/CMakeLists.txt", "w").write(f"cmake_minimum_required(VERSION 3.10)\nproject(demo NONE)\nenable_testing()\n{tests}")
    subprocess.run(["cmake", "-S", place, "-B", f"{place}/b"], check=True, stdout=subprocess.DEVNULL)
    return ["ctest", "--test-dir", f"{place}/b"]


def ctest_fails(place):
    command = ctest(place)
    open(f"{place}/b/CTestTestfile.cmake", "a").write('add_test(bad "false")\n')
    return command


def meson(place, failing=False):
    tests = "".join(f"test('test{n}', find_program('sleep'), args: ['0.1'])\n" for n in range(12))
    if failing:
        tests += "test('bad', find_program('false'))\n"
    open(f"{place}/meson.build", "w").write(f"project('demo')\n{tests}")
    subprocess.run(["meson", "setup", f"{place}/b", place], check=True, stdout=subprocess.DEVNULL)
    return ["meson", "test", "-C", f"{place}/b", "--num-processes", "2"]


def meson_fails(place):
    return meson(place, True)


def nextest(place, failing=False):
    os.makedirs(f"{place}/demo/src")
    tests = "".join(f"#[test] fn t{n}() {{ std::thread::sleep(std::time::Duration::from_millis(50)) }}\n" for n in range(24))
    if failing:
        tests += "#[test] fn bad() { panic!() }\n"
    open(f"{place}/demo/src/lib.rs", "w").write(f"#[cfg(test)] mod tests {{ {tests} }}")
    open(f"{place}/demo/Cargo.toml", "w").write('[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n')
    return ["cargo", "nextest", "run", "--offline", "--no-fail-fast", "--manifest-path", f"{place}/demo/Cargo.toml"]


def nextest_fails(place):
    return nextest(place, True)


def make_fails(place):
    open(f"{place}/Makefile", "w").write("all: a b\na:\n\ttrue\nb:\n\tfalse\n")
    return ["make", "-C", place]


def phpunit(place, failing=False):
    os.makedirs(f"{place}/tests")
    body = "".join(f"public function test{n}(): void {{ usleep(15000); $this->assertTrue(true); }}\n" for n in range(130))
    if failing:
        body += "public function testBad(): void { $this->assertTrue(false); }\n"
    open(f"{place}/tests/DemoTest.php", "w").write(f"<?php\nuse PHPUnit\\Framework\\TestCase;\nfinal class DemoTest extends TestCase {{\n{body}}}\n")
    return ["phpunit", f"{place}/tests"]


def phpunit_fails(place):
    return phpunit(place, True)


def ansible(place, failing=False):
    tasks = "".join(f"    - name: Step {n}\n      command: sleep 0.1\n" for n in range(4))
    if failing:
        tasks += "    - name: Bad\n      command: 'false'\n"
    open(f"{place}/play.yml", "w").write(f"- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n{tasks}")
    return ["ansible-playbook", "-e", "ansible_python_interpreter=/usr/bin/python3", "-i", "localhost,", f"{place}/play.yml"]


def ansible_fails(place):
    return ansible(place, True)


def package(place, **more):
    open(f"{place}/package.json", "w").write(json.dumps({"name": "demo", "version": "1.0.0", "private": True, **more}))


DEPENDENCIES = {"left-pad": "1.3.0", "ms": "2.1.3", "is-odd": "3.0.1"}


def yarn(place):
    package(place, dependencies=DEPENDENCIES)
    return ["yarn", "install", "--cwd", place, "--cache-folder", f"{place}/c", "--no-lockfile"]


def pnpm(place):
    package(place, dependencies=DEPENDENCIES)
    return ["pnpm", "install", "--dir", place, "--store-dir", f"{place}/s"]


def javascript_tests(place, head, suffix, failing=False):
    for n in range(8):
        open(f"{place}/t{n}.{suffix}", "w").write(
            head + f"test('works {n}', async () => {{ await new Promise(done => setTimeout(done, 200)); }});\n")
    if failing:
        open(f"{place}/bad.{suffix}", "w").write(head + "test('bad', () => { throw new Error('bad'); });\n")


def jest(place, failing=False):
    package(place)
    javascript_tests(place, "", "test.js", failing)
    return ["jest", "--rootDir", place, "--maxWorkers", "1", "--cache=false"]


def jest_fails(place):
    return jest(place, True)


def vitest(place, failing=False):
    package(place, type="module")
    javascript_tests(place, "", "test.js", failing)
    return ["vitest", "run", "--root", place, "--globals", "--no-file-parallelism", "--cache=false"]


def vitest_fails(place):
    return vitest(place, True)


def playwright(place, failing=False):
    package(place)
    modules = os.path.realpath(subprocess.run(["which", "playwright"], capture_output=True, text=True).stdout.strip()).rsplit("/node_modules/", 1)[0]
    os.symlink(f"{modules}/node_modules", f"{place}/node_modules")
    javascript_tests(place, "const { test } = require('@playwright/test');\n", "spec.js", failing)
    return ["playwright", "test", "--reporter", "line", "--workers", "2"]


def playwright_fails(place):
    return playwright(place, True)


def modules(place):
    for n in range(30):
        open(f"{place}/m{n}.js", "w").write(f"export const v{n} = {n};\n")
    text = "".join(f"import {{ v{n} }} from './m{n}.js';\n" for n in range(30))
    open(f"{place}/main.js", "w").write(text + "console.log(" + "+".join(f"v{n}" for n in range(30)) + ");\n")


def vite(place):
    package(place)
    modules(place)
    open(f"{place}/index.html", "w").write('<script type="module" src="/main.js"></script>')
    return ["vite", "build", place]


def webpack(place):
    package(place)
    modules(place)
    return ["webpack", "build", "--progress", "--mode", "production", "--entry", f"{place}/main.js", "-o", f"{place}/dist"]


def maven(place):
    parts = ["core", "web", "app"]
    open(f"{place}/pom.xml", "w").write(
        "<project><modelVersion>4.0.0</modelVersion><groupId>demo</groupId><artifactId>demo</artifactId><version>1.0</version>"
        f"<packaging>pom</packaging><modules>{''.join(f'<module>{p}</module>' for p in parts)}</modules></project>")
    for part in parts:
        os.makedirs(f"{place}/{part}")
        open(f"{place}/{part}/pom.xml", "w").write(
            "<project><modelVersion>4.0.0</modelVersion><parent><groupId>demo</groupId><artifactId>demo</artifactId><version>1.0</version>"
            f"</parent><artifactId>demo-{part}</artifactId><packaging>pom</packaging></project>")
    return ["mvn", "-o", "-f", place, "validate"]


ALL = [cmake, ninja, ninja_fails, cargo, pip, npm, apt, rsync, wget, curl, curl_bar, dd, tqdm, ffmpeg, ffmpeg_file, pytest,
       pytest_fails, git, docker, tqdm_nested, tqdm_no_total, rich_bars, rich_track, alive_progress, progressbar2, enlighten, click_bar,
       pytest_xdist, pytest_sugar, uv, pv, pv_no_total, seven_zip, zstd, aria2, aria2_fails, rsync_whole, rsync_files, rsync_german, mkfs,
       badblocks, qemu_img, borg_create, borg_extract, restic, rclone, tar, git_fetch, git_push, ctest, ctest_fails, meson, meson_fails,
       nextest, nextest_fails, make_fails, phpunit, phpunit_fails, ansible, ansible_fails, yarn, pnpm, jest, jest_fails, vitest,
       vitest_fails, playwright, playwright_fails, vite, webpack, maven]


def record(make, kind):
    with tempfile.TemporaryDirectory(prefix="rec") as place:
        command = make(place)
        env = dict(os.environ, TERM="xterm-256color", COLUMNS="100", LINES="30", LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive",
                   PIP_CONFIG_FILE=os.devnull)
        for name in ["CI", "NO_COLOR", "CARGO_TERM_COLOR", "CARGO_TERM_PROGRESS_WHEN"]:
            env.pop(name, None)
        if kind == "pty":
            import fcntl, struct, termios
            parent, child = pty.openpty()
            fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        else:
            parent, child = os.pipe()
            env.pop("COLUMNS")
        start = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=child, stderr=child, env=env, cwd=place, start_new_session=True)
        os.close(child)
        reads = []
        while True:
            try:
                data = os.read(parent, 4096)
            except OSError:
                data = b""
            if not data:
                break
            for path in [place, *PRIVATE]:
                data = data.replace(path.encode(), b"/tmp/x").replace(path[1:].encode(), b"tmp/x")
            reads.append((int((time.monotonic() - start) * 1000), data))
        process.wait()
        with open(f"{HERE}/{make.__name__}.{kind}", "w") as out:
            for at, data in reads:
                out.write(f"{at} {json.dumps(data.decode('latin-1'))}\n")
            # The exit code is what the end of a process tells.
            out.write(f"end {process.returncode}\n")
        print(make.__name__, kind, process.returncode, len(reads), sum(len(d) for _, d in reads))


if __name__ == "__main__":
    for make in ALL:
        if not sys.argv[1:] or make.__name__ in sys.argv[1:]:
            # pv draws only in the foreground of its terminal.
            for kind in ["pipe"] if make in (pv, pv_no_total) else ["pipe", "pty"]:
                record(make, kind)
