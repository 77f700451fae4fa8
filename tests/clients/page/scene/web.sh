# Plays the log of a web server.
paths=(/ /login /api/v1/streams /assets/app.css /health /api/v1/runs/4182)
for i in $(seq 1 100000); do
    printf '10.0.3.%d - - "GET %s HTTP/2" %d %d\n' $((i * 37 % 250)) "${paths[$((i % 6))]}" $((i % 19 ? 200 : 404)) $((i * 7919 % 9000))
    sleep 0.08
done
