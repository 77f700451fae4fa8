# Plays a build of an image, whose rows are redrawn.
echo "#1 load definition from Dockerfile"
for i in $(seq 1 400); do
    printf '\033[32m=> [1/4] FROM debian:stable\033[0m        %3ds\n=> [2/4] RUN apt-get install   %3ds\n=> [3/4] COPY . /srv           %3d%%\n=> exporting layers\033[K' $((i / 5)) $((i / 7)) $((i / 4))
    sleep 0.2
    printf '\r\033[3A'
done
