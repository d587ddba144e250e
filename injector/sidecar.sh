#!/bin/sh
# podtls-sidecar run | ready | drain: PID 1 of the podtls-nginx container, and what kubelet calls in it.
#
# run (default): start Nginx on the current generation, renew when due, reload on a new generation, stop gracefully.
# ready:         exit 0 when Nginx listens (the startupProbe).
# drain:         have an edge proxy end its connections with its next responses (the preStop hook).
#
# Python runs only to poll and to renew; between the polls there is this shell and Nginx.
# `podtls-injector renew POLLS FAILURES` prints the seconds until its next poll; 0: renewed, 10: nothing to do, else: failed.

set -u
PATH=/opt/podtls/bin:$PATH
export PATH
run=${PODTLS_RUN:-/var/run/podtls}
pid_file=$run/nginx.pid

log() {
    echo "podtls sidecar: $*" >&2
}

# exec: a function in the background is a shell of its own, and signals must reach Nginx, not that shell.
exec_nginx() {
    # `daemon off` is given by the first start only, so `nginx -t` never sees it twice.
    exec nginx -p "$run" -e stderr -c "$run/current/nginx.conf" "$@"
}

# The master writes its pid after all sockets are bound; `nginx -t` leaves the file empty.
ready() {
    [ -s "$pid_file" ] && read -r pid <"$pid_file" && kill -0 "$pid" 2>/dev/null
}

drain() {
    : >"$run/draining"
}

main() {
    if [ "$(id -u)" -eq 0 ]; then
        log "refuses to run as root: set securityContext.runAsUser"
        exit 64
    fi
    if [ ! -e "$run/current/nginx.conf" ]; then
        log "no generation in $run: podtls-init has not run"
        exit 69
    fi
    rm -f "$pid_file" "$run/draining"
    loaded=$(readlink "$run/current")
    # Before anything runs: PID 1 ignores what it has no trap for.
    nginx='' renewer='' stopping='' interrupted=''
    trap stop TERM INT QUIT
    exec_nginx -g 'daemon off;' &
    nginx=$!
    keep_renewing &
    renewer=$!
    wait_for "$nginx"
    kill -TERM "$renewer" 2>/dev/null
    if [ -z "$stopping" ]; then
        log "nginx ended by itself with status $status"
        [ "$status" -ne 0 ] || status=1
    fi
    exit "$status"
}

# The first signal lets open connections end (worker_shutdown_timeout is the limit), a second one cuts them.
stop() {
    interrupted=yes
    if [ -z "$stopping" ]; then
        stopping=yes
        kill -TERM "$renewer" 2>/dev/null
        kill -QUIT "$nginx" 2>/dev/null
    else
        kill -TERM "$nginx" 2>/dev/null
    fi
}

# A trapped signal interrupts `wait`, whose status then is the signal's: wait again for the child's own (127: told before).
wait_for() {
    wait "$1"
    status=$?
    while [ -n "$interrupted" ]; do
        interrupted=
        wait "$1"
        again=$?
        [ "$again" -eq 127 ] || status=$again
    done
}

# A shell of its own, so that the other one hears of Nginx's end at once.
keep_renewing() {
    child=
    trap 'kill -TERM $child 2>/dev/null; exit 0' TERM
    trap '' INT QUIT
    polls=0 failures=0 status=0
    while :; do
        run_child podtls-injector renew "$polls" "$failures" >"$run/next-poll"
        case $status in
            0 | 10) failures=0 ;;
            *) failures=$((failures + 1)) ;;
        esac
        polls=$((polls + 1))
        reload_if_new
        read -r seconds <"$run/next-poll"
        case $seconds in
            '' | *[!0-9]*) seconds=60 ;;
        esac
        run_child sleep "$seconds"
    done
}

# In the background, since the shell acts on a signal only between commands or in `wait`.
run_child() {
    "$@" &
    child=$!
    wait "$child"
    status=$?
    child=
}

# `renew` writes the new generation, in a CA pod `podtls-ca bootstrap` does.
reload_if_new() {
    current=$(readlink "$run/current")
    if [ "$current" = "$loaded" ]; then
        return
    fi
    if reads_certificates_itself && cmp -s "$run/$loaded/nginx.conf" "$run/$current/nginx.conf"; then
        loaded=$current
        log "serves $current"
        return
    fi
    if (exec_nginx -t -q); then
        kill -HUP "$nginx"
        loaded=$current
        log "serves $current"
    else
        log "nginx refuses $current, goes on with $loaded"
    fi
}

# A reload closes idle connections, and a request of kube-apiserver may be on its way on one of them.
reads_certificates_itself() {
    [ "${PODTLS_EDGE:-}" = webhook ]
}

case ${1:-run} in
    run) main ;;
    ready) ready ;;
    drain) drain ;;
    *)
        log "usage: podtls-sidecar [run | ready | drain]"
        exit 64
        ;;
esac
