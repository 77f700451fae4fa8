#!/usr/bin/env python3
"""Writes recordings of programs that cannot run here, from the formats that their documentation, sources or tests publish.

    published.py     writes tests/progress/NAME.{pipe,pty} for each of them

The bytes between the numbers are those that the program writes; the numbers and names are made up. The form of a
recording is that of record.py.
"""
import json, os

HERE = os.path.dirname(os.path.abspath(__file__))
UP = "\x1b[1A"
ERASE = "\x1b[K"


def write(name, reads, exit_code=0, step=200):
    with open(f"{HERE}/{name}", "w") as out:
        for number, text in enumerate(reads):
            out.write(f"{number * step} {json.dumps(text.encode().decode('latin-1'))}\n")
        out.write(f"end {exit_code}\n")


def block(frames, hide=True):
    """Frames of rows, each of which replaces the one before: the cursor moves up, and each row is erased and drawn."""
    reads, height = [], 0
    for rows in frames:
        text = "\x1b[?25l" if hide else ""
        text += f"\x1b[{height}A" if height else ""
        text += "\x1b[0G" + "".join(f"\x1b[2K{row}\n" for row in rows)
        reads.append(text + ("\x1b[?25h" if hide else ""))
        height = len(rows)
    return reads


def returns(rows, last="\n"):
    return [f"{row}\r" for row in rows[:-1]] + [rows[-1] + last]


def lines(text):
    return [line + "\n" for line in text.strip("\n").split("\n")]


# bazel: each update erases the rows of the one before.
def bazel_rows():
    reads, height = ["\x1b[32mINFO: \x1b[0mAnalyzed target //demo:demo (32 packages loaded).\n"], 0
    for done in range(0, 1201, 100):
        rows = [f"\x1b[32m[{done:,} / 1,204]\x1b[0m 2 actions, 2 running", f"    Compiling demo/part{done}.cc; 1s linux-sandbox"]
        reads.append(f"\r{UP}{ERASE}" * height + "".join(f"{row}\n" for row in rows))
        height = len(rows)
    return reads + [f"\r{UP}{ERASE}" * height + "\x1b[32mINFO: \x1b[0mBuild completed successfully, 1,204 total actions\n"]


write("bazel.pty", bazel_rows())
write("bazel.pipe", [f"[{done:,} / 1,204] Compiling demo/part{done}.cc\n" for done in range(0, 1205, 301)]
      + ["[1,204 / 1,204] Linking demo/demo\n", "INFO: Build completed successfully, 1,204 total actions\n"])

# BuildKit.
STEPS = ["[internal] load build definition from Dockerfile", "[internal] load metadata for docker.io/library/debian:12",
         "[1/4] FROM docker.io/library/debian:12", "[2/4] RUN apt-get update", "[3/4] COPY . /src", "[4/4] RUN make -C /src", "exporting to image"]


def buildkit(fails=False):
    frames = []
    for done in range(len(STEPS) + 1):
        if fails and done > 5:
            break
        end = " FINISHED" if done == len(STEPS) else ""
        rows = [f"[+] Building {done + 0.3:.1f}s ({done}/{len(STEPS)}){end}                        docker:default"]
        rows += [f"\x1b[34m => {step:60} {1.0 if n < done else 0.3}s\x1b[0m" for n, step in enumerate(STEPS[: done + 1])]
        frames.append(rows)
    if fails:
        frames.append([f"[+] Building 6.3s (6/{len(STEPS)}) FINISHED                        docker:default"] + frames[-1][1:-1]
                      + ["\x1b[31m => ERROR [4/4] RUN make -C /src      0.3s\x1b[0m"])
    return block(frames)


write("buildkit.pty", buildkit())
write("buildkit_fails.pty", buildkit(True) + ["------\n > [4/4] RUN make -C /src:\n0.210 make: *** No rule to make target 'all'.  Stop.\n------\n",
      'ERROR: failed to solve: process "/bin/sh -c make -C /src" did not complete successfully: exit code: 2\n'], 1)
write("buildkit.pipe", [text for n, step in enumerate(STEPS, 1) for text in (f"#{n} {step}\n", f"#{n} 0.210 output\n#{n} DONE 0.3s\n\n")])
write("docker_build.pipe", [f"Step {n}/6 : RUN make part{n}\n ---> Running in a3ed95caeb02\n" + f"[ {n * 10}%] Building C object part{n}.o\n" + " ---> 0f9b5b8a1c3d\n"
                            for n in range(1, 7)] + ["Successfully built 0f9b5b8a1c3d\n"])
write("podman_build.pipe", [f"STEP {n}/5: RUN make part{n}\n--> 0f9b5b8a1c3d\n" for n in range(1, 6)] + ["COMMIT demo\n"])
write("podman_pull.pty", ["Trying to pull docker.io/library/demo:latest...\nGetting image source signatures\n"] + block(
    [[f"Copying blob a3ed95caeb02 [{'=' * n * 3}>{'-' * (30 - 3 * n)}] {n}.0MiB / 10.0MiB | 5.0 MiB/s"] for n in range(10)], False)
    + block([["\x1b[1A\x1b[2KCopying blob a3ed95caeb02 done   | "]], False) + ["Writing manifest to image destination\n"])

# docker compose.
SERVICES = ["Network demo_default", "Container demo-db-1", "Container demo-cache-1", "Container demo-web-1"]
write("compose.pty", block([[f"[+] Running {done}/{len(SERVICES)}"] + [
    f" \x1b[32m✔\x1b[0m {name:30} \x1b[32mStarted\x1b[0m   0.5s" if n < done else f" ⠿ {name:30} Starting  0.2s"
    for n, name in enumerate(SERVICES)] for done in range(len(SERVICES) + 1)]))

# Gradle's rich console: the status row, the rows of the workers, and movements between them.
def gradle():
    reads = ["\n\n", f"\x1b[2A\x1b[1m<-------------> 0% INITIALIZING [0s]\x1b[m\x1b[38D\x1b[1B> Evaluating settings\x1b[21D\x1b[1B"]
    for percent in range(0, 101, 10):
        done = 13 * percent // 100
        status = f"<{'=' * done}{'-' * (13 - done)}> {percent}% EXECUTING [{percent // 10}s]"
        row = f"> :app:task{percent}"
        reads.append(f"\x1b[2A\x1b[1m<\x1b[0;32;1m{'=' * done}\x1b[0;39;1m{'-' * (13 - done)}> {percent}% EXECUTING [{percent // 10}s]\x1b[m\x1b[K\x1b[{len(status)}D"
                     f"\x1b[1B{row}\x1b[K\x1b[{len(row)}D\x1b[1B")
    return reads + ["\x1b[2A\x1b[0K\x1b[1B\x1b[0K\x1b[1A\n\x1b[32;1mBUILD SUCCESSFUL\x1b[0;39m in 11s\n11 actionable tasks: 11 executed\n"]


write("gradle.pty", gradle())

# kubectl rollout status.
write("kubectl.pipe", lines("""
Waiting for deployment "demo" rollout to finish: 0 out of 3 new replicas have been updated...
Waiting for deployment "demo" rollout to finish: 1 out of 3 new replicas have been updated...
Waiting for deployment "demo" rollout to finish: 2 out of 3 new replicas have been updated...
Waiting for deployment "demo" rollout to finish: 1 of 3 updated replicas are available...
Waiting for deployment "demo" rollout to finish: 2 of 3 updated replicas are available...
deployment "demo" successfully rolled out
"""))

# terraform apply.
def terraform(fails=False):
    text = "Terraform will perform the following actions:\n\nPlan: 3 to add, 1 to change, 0 to destroy.\n"
    for name in "abc":
        text += f"demo_disk.{name}: Creating...\ndemo_disk.{name}: Still creating... [10s elapsed]\n"
        if fails and name == "c":
            return text + "\nError: creating disk: quota exceeded\n\n  with demo_disk.c,\n"
        text += f"demo_disk.{name}: Creation complete after 12s [id=disk-{name}]\n"
    return text + ("demo_host.x: Modifying... [id=host-x]\ndemo_host.x: Modifications complete after 1s [id=host-x]\n\n"
                   "Apply complete! Resources: 3 added, 1 changed, 0 destroyed.\n")


write("terraform.pipe", lines(terraform()))
write("terraform_fails.pipe", lines(terraform(True)), 1)

# dnf, pacman, brew, conda.
def dnf():
    reads = ["Downloading Packages:\n"]
    for n, name in enumerate(["demo-1.0-1.x86_64.rpm", "demo-libs-1.0-1.x86_64.rpm", "other-2.0-1.noarch.rpm"], 1):
        reads += [f"({n}/3): {name:35} {p:2}% [{'=' * (p // 10):10}] 1.2 MB/s | 1.3 MB  00:01 ETA\r" for p in (20, 60)]
        reads.append(f"({n}/3): {name:35}              1.2 MB/s | 3.4 MB     00:02    \n")
    reads += ["-" * 79 + "\nTotal                                    3.2 MB/s |  10 MB     00:03     \n", "Running transaction check\nRunning transaction\n",
              f"  Preparing        : {' ':40} 1/1 \n"]
    for word in ["Installing", "Verifying"]:
        reads += [f"  {word:16} : {name:40} {n}/3 \n" for n, name in enumerate(["other-2.0-1.noarch", "demo-libs-1.0-1.x86_64", "demo-1.0-1.x86_64"], 1)]
    return reads + ["\nInstalled:\n  demo-1.0-1.x86_64\n\nComplete!\n"]


write("dnf.pty", dnf())


def pacman():
    reads = ["resolving dependencies...\nlooking for conflicting packages...\n\nPackages (4) demo-1.0-1\n\n"]
    for n in range(1, 5):
        for percent in (0, 40, 100):
            bar = "#" * (percent // 5)
            reads.append(f"\r({n}/4) installing part{n}                       [{bar:-<20}] {percent:3}%")
        reads.append("\n")
    return reads + [":: Running post-transaction hooks...\n"]


write("pacman.pty", pacman())
write("pacman.pipe", [f"({n}/4) installing part{n}\n" for n in range(1, 5)])
write("brew.pty", ["==> Downloading https://example.com/demo-1.0.tar.gz\n", "#=#=#                                                                          \r",
      "##O=#  #                                                                       \r"]
      + returns([f"{'#' * (72 * p // 100):72} {p:5.1f}%" for p in range(0, 101, 10)]) + ["==> Pouring demo-1.0.tar.gz\n"])


def conda():
    names = ["openssl-3.3.1       ", "python-3.12.4       "]
    frames = []
    for p in range(0, 101, 20):
        frames.append([f"{name}| {size} MB    | {'#' * (q * 40 // 100):40} | {q:3}% " for name, size, q in
                       zip(names, ("2.8", "30.6"), (min(100, p * 2), p))])
    return ["\nDownloading and Extracting Packages:\n"] + block(frames, False) + ["\nPreparing transaction: done\nVerifying transaction: done\n"]


write("conda.pty", conda())

# pgbench -i, pgBadger.
write("pgbench.pty", ["dropping old tables...\ncreating tables...\ngenerating data (client-side)...\n"]
      + returns([f"{n}00000 of 1000000 tuples ({n}0%) of pgbench_accounts done (elapsed 0.{n}0 s, remaining 0.{10 - n}0 s)" for n in range(1, 11)])
      + ["vacuuming...\ncreating primary keys...\ndone in 1.53 s (drop tables 0.00 s, create tables 0.01 s).\n"])
write("pgbadger.pty", returns([f"[{'=' * (p // 4)}>{' ' * (24 - p // 4)}] Parsed {p * 10000} bytes of 1000000 ({p}.00%), queries: {p * 7}, events: {p}" for p in range(0, 101, 10)]) + ["LOG: Ok, generating html report...\n"])

# poetry, jest, Git LFS, scp, rustup, GHC, restic.
write("poetry.pipe", lines("""
Installing dependencies from lock file

Package operations: 4 installs, 0 updates, 0 removals

  - Installing attrs (24.2.0)
  - Installing click (8.1.7)
  - Installing idna (3.7)
  - Installing rich (13.7.1)
"""))


def jest():
    frames = []
    for done in range(5):
        rows = ["", f"\x1b[7m\x1b[33m RUNS \x1b[39m\x1b[27m ./t{done}.test.js", "",
                f"\x1b[1mTest Suites: \x1b[22m\x1b[32m{done} passed\x1b[39m, {done} of 4 total", f"\x1b[1mTests:       \x1b[22m\x1b[32m{done * 3} passed\x1b[39m, {done * 3} total",
                "\x1b[1mSnapshots:   \x1b[22m0 total", f"\x1b[1mTime:\x1b[22m        {done} s, estimated 4 s"]
        frames.append(rows)
    return block(frames[:-1], False) + [f"\x1b[{len(frames[0])}A\x1b[J" + "\x1b[1mTest Suites: \x1b[22m4 passed, 4 total\nTests:       12 passed, 12 total\nRan all test suites.\n"]


write("jest_summary.pty", jest())
write("git_lfs.pipe", ["Cloning into 'demo'...\n"] + returns([f"Downloading LFS objects: {p:3}% ({p // 25}/4), {p / 10} MB | 1.2 MB/s" for p in range(0, 101, 10)], ", done.\n"))
write("scp.pty", returns([f"{'file.bin':60} {p:3}% {p * 30:4}KB   1.4MB/s   00:0{(100 - p) // 20}{' ETA' if p < 100 else '    '}" for p in range(0, 101, 10)]))
write("rustup.pty", ["info: downloading component 'cargo'\n"]
      + returns([f"  {p * 0.09:.1f} MiB /   9.0 MiB ({p:3} %)   2.1 MiB/s in  1s ETA:  {(100 - p) // 25}s" for p in range(0, 101, 10)]) + ["info: installing component 'cargo'\n"])
write("ghc.pipe", [f"[{n:2} of 12] Compiling Demo.Part{n} ( src/Demo/Part{n}.hs, dist/Demo/Part{n}.o )\n" for n in range(1, 13)] + ["[12 of 12] Linking demo\n"])
write("restic.pty", [f"\r\x1b[2K[0:0{p // 25}] {p}.00%  {p // 3} files {p * 0.3:.3f} MiB, total 34 files 30.000 MiB, 0 errors ETA 0:0{(100 - p) // 25}\r" for p in range(0, 101, 10)]
      + ["\r\x1b[2K\nFiles:          34 new,     0 changed,     0 unmodified\nsnapshot 0f9b5b8a saved\n"])
write("helm.pipe", lines('Release "demo" has been upgraded. Happy Helming!\nNAME: demo\nSTATUS: deployed\nREVISION: 2'))
write("go_test.pipe", lines("=== RUN   TestA\n--- PASS: TestA (0.01s)\nPASS\nok  \texample.com/demo/a\t0.012s\nok  \texample.com/demo/b\t0.045s\tcoverage: 71.4% of statements"))
