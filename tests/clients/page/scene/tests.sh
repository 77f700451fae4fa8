# Plays a test run of a build server, with groups.
echo "::group::Check out the sources"
echo "Cloning into 'server'..."
echo "HEAD is now at 4f1c2aa retry with jitter"
sleep 0.4
echo "::endgroup::"
echo "::group::Compile"
for i in 1 2 3 4 5 6; do printf '\033[1;32m   Compiling\033[0m server-%s v0.%d.0\n' "${i//[135]/core}" "$i"; sleep 0.1; done
printf '\033[1;33mwarning\033[0m: unused import: `std::fmt`\n'
printf '\033[1;34m  -->\033[0m src/main.rs:4:5\n'
echo "::endgroup::"
echo "::group::Run"
for name in accept close drain ping resume upgrade; do printf 'test socket::%s ... \033[32mok\033[0m\n' "$name"; sleep 0.1; done
printf 'test socket::reconnect ... \033[31mFAILED\033[0m\n'
echo "error: assertion failed: left == right"
printf '  left: \033[31m3\033[0m\n right: \033[32m4\033[0m\n'
echo "::endgroup::"
printf '\033[38;5;208m1 of 7 failed\033[0m, report at https://ci.example.com/report/4182\n'
exit 1
