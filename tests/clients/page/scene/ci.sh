# Plays a build that writes for several build services.
echo "~~~ Preparing working directory"
echo "$ git clone https://example.com/server.git"
echo "--- :package: Install dependencies"
for i in 1 2 3 4 5 6 7 8; do echo "added package-$i@1.$i.0"; done
sleep 0.3
echo "--- :hammer: Compile"
echo "compiling 84 files"
echo "warning: unused variable 'spare'"
echo "+++ :test_tube: Tests"
printf 'socket accepts ... \033[32mok\033[0m\n'
printf 'socket reconnects ... \033[31mFAILED\033[0m\n'
echo "::error file=tests/socket.rs,line=48,col=5,title=assertion failed::left: 3%0A right: 4"
echo "::warning file=src/main.rs,line=4::unused import: std::fmt"
echo "##[command]cargo report --open"
echo "::group::Trace"
echo "at socket.rs:48"
echo "::endgroup::"
echo "--- Upload"
echo "uploading report.html"
exit 1
