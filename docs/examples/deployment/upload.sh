#!/bin/sh
# upload.sh FILE URL [ID]: upload a file, and try again until it is known to be there, once.
# Exit codes: 0, it is there; 1, it was refused, or six tries had no answer that says so.

url=$2/uploads/${3:-$(uuidgen)}
for pause in 1 2 4 8 16 0; do
    answer=$(curl --silent --show-error --write-out '\n%{http_code}' --form file=@"$1" "$url")
    printf '%s\n' "$answer"
    case ${answer##*[!0-9]} in
        201 | 409) exit 0 ;;                # it is in: by this try, or by one before
        000 | 408 | 429 | 5??) ;;           # no answer, or one that may be another next time
        *) exit 1 ;;                        # 413, 415, 422: refused, whenever it is sent
    esac
    sleep "$pause"
done
exit 1
