//! The programs whose progress is recognised, for the manual.

/// A kind of program, and the programs of this kind, by the names that people know.
///
/// Each of them has a recording in `tests/progress`; a test fails without one.
pub const KNOWN_PROGRAMS: &[(&str, &[&str])] = &[
    (
        "Builds",
        &[
            "Bazel",
            "Cargo",
            "CMake",
            "CTest",
            "GHC",
            "Gradle",
            "Make",
            "Maven",
            "Meson",
            "Ninja",
            "cargo-nextest",
            "rustup",
        ],
    ),
    ("JavaScript", &["Jest", "npm", "Playwright", "pnpm", "Vite", "Vitest", "webpack", "Yarn"]),
    ("Python", &["conda", "pip", "Poetry", "pytest", "pytest-sugar", "pytest-xdist", "uv"]),
    ("PHP", &["PHPUnit"]),
    ("Progress bars", &["alive-progress", "click", "enlighten", "progressbar2", "rich", "tqdm"]),
    ("Packages", &["apt", "dnf", "dpkg", "Homebrew", "pacman"]),
    ("Transfers", &["aria2", "curl", "rclone", "rsync", "scp", "Wget"]),
    ("Files and archives", &["7z", "dd", "pv", "tar", "zstd"]),
    ("Disks and databases", &["badblocks", "mkfs", "pgBadger", "pgbench", "qemu-img"]),
    ("Backups", &["Borg", "restic"]),
    ("Version control", &["Git", "Git LFS"]),
    (
        "Containers and infrastructure",
        &["Ansible", "BuildKit", "Docker", "Docker Compose", "kubectl", "Podman", "Terraform"],
    ),
    ("Media", &["FFmpeg"]),
];
