#!/bin/sh
# upload.sh FILE URL [ID]: upload a file, and try again until it is known to be there, once.
# Exit codes: 0, it is there; 1, it was refused, or six tries had no answer that says so;
# 2, it cannot be sent, and nothing was.

new_id() {
    uuidgen || cat /proc/sys/kernel/random/uuid || python3 -c 'import uuid; print(uuid.uuid4())'
}

refuse() {
    printf 'upload.sh: %s\n' "$1" >&2
    exit 2
}

[ $# -ge 2 ] || refuse 'expected FILE URL [ID]'
[ -f "$1" ] && [ -r "$1" ] || refuse "expected a file that can be read, got $1"
for tool in curl sed; do
    command -v "$tool" >/dev/null || refuse "expected $tool among the commands in PATH"
done
id=${3:-$(new_id 2>/dev/null)}
[ -n "$id" ] || refuse 'expected an ID: there is no uuidgen, /proc or python3 to make one up'

url=$2/uploads/$id
case $1 in
    -) file=./- ;;      # curl takes a - alone for its standard input
    *) file=$1 ;;
esac
# In quotes, or curl takes what follows a ; or a , in the name for something else. The last one is
# put there by sed: what the shell takes from a command has lost the newlines at its end.
form=$(printf '%s\n' "$file" | LC_ALL=C sed 's/[\\"]/\\&/g; 1s/^/file=@"/; $s/$/"/')
for pause in 1 2 4 8 16 0; do
    answer=$(curl --silent --show-error --write-out '\n%{http_code}' --form "$form" "$url")
    printf '%s\n' "$answer"
    case ${answer##*[!0-9]} in
        201 | 409) exit 0 ;;                # it is in: by this try, or by one before
        000 | 1?? | 408 | 429 | 5??) ;;     # no answer, or one that may be another next time
        *) exit 1 ;;                        # 413, 415, 422: refused, whenever it is sent
    esac
    sleep "$pause"
done
exit 1
