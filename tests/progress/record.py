#!/usr/bin/env python3
"""Records what real programs write while they work, through a pipe and through a terminal.

    record.py NAME...     records these again (all, without names) into tests/progress/NAME.{pipe,pty}

Each line of a recording is one read: milliseconds since the start, a space, and the bytes as a JSON string in which each
character is one byte. Everything runs on this machine; npm and apt ask their usual servers.
"""
import http.server, json, os, pty, select, socketserver, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE = 3_000_000


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


ALL = [cmake, ninja, ninja_fails, cargo, pip, npm, apt, rsync, wget, curl, curl_bar, dd, tqdm, ffmpeg, ffmpeg_file, pytest,
       pytest_fails, git, docker]


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
            data = data.replace(place.encode(), b"/tmp/x")
            reads.append((int((time.monotonic() - start) * 1000), data))
        process.wait()
        with open(f"{HERE}/{make.__name__}.{kind}", "w") as out:
            for at, data in reads:
                out.write(f"{at} {json.dumps(data.decode('latin-1'))}\n")
        print(make.__name__, kind, process.returncode, len(reads), sum(len(d) for _, d in reads))


if __name__ == "__main__":
    for make in ALL:
        if not sys.argv[1:] or make.__name__ in sys.argv[1:]:
            for kind in ["pipe", "pty"]:
                record(make, kind)
