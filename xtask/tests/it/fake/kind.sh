# Its own node image is kindest/node:v9.0.0@sha256:0123456789012345678901234567890123456789012345678901234567890123
# kind as far as the tool uses it: a cluster is the file "node", its volume the file "volume".
pause() { [ "$(cat "$FAKE_STATE/hang" 2>/dev/null)" = "$1" ] || return 0; touch "$FAKE_STATE/hanging"; sleep 600; }
case "$1 $2" in
  "version "*) echo 0.99.0 ;;
  "create cluster")
    cat > "$FAKE_STATE/config"
    [ ! -e "$FAKE_STATE/broken" ] || { echo "ERROR: failed to create cluster: no space left on device" >&2; exit 1; }
    touch "$FAKE_STATE/node" "$FAKE_STATE/volume"
    pause create
    while [ $# -gt 0 ]; do [ "$1" != --kubeconfig ] || touch "$2"; shift; done ;;
  "delete cluster") rm -f "$FAKE_STATE/node" "$FAKE_STATE/images" ;;
  *) echo "the fake kind does not know: $*" >&2; exit 64 ;;
esac
