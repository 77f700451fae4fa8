# Plays a build of a web server.
names=(buffer cache config cookie dns event fiber header hpack index json listener log mime parser pool proxy queue range router session socket stream timer tls token url websocket worker zone)
for i in $(seq 1 180); do
    name=${names[$((i % 30))]}
    printf '\033[32m[%3d%%]\033[0m Building C object \033[1msrc/%s_%d.o\033[0m\n' $((i * 100 / 180)) "$name" $((i / 30))
    if [ $((i % 23)) -eq 11 ]; then
        printf '\033[35mwarning:\033[0m src/%s.c:%d: unused variable \033[33mspare\033[0m, see https://gcc.gnu.org/onlinedocs/\n' "$name" $((i * 7)) >&2
    fi
    sleep 0.12
done
echo "Built target server"
