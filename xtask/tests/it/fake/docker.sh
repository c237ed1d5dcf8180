# A Docker daemon as far as the tool uses one. State: files in $FAKE_STATE.
pause() { [ "$(cat "$FAKE_STATE/hang" 2>/dev/null)" = "$1" ] || return 0; touch "$FAKE_STATE/hanging"; sleep 600; }
node() { [ -e "$FAKE_STATE/node" ]; }
case "$*" in
  version*) echo 99.0 ;;
  info*) [ ! -e "$FAKE_STATE/dead" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
    cat "$FAKE_STATE/info.json" 2>/dev/null || echo '{"ServerVersion":"99.0","Driver":"overlay2","CgroupVersion":"2"}' ;;
  "image ls"*) ;;
  "image inspect"*missing*) echo "no such image" >&2; exit 1 ;;
  "image inspect"*) echo sha256:0123456789ab ;;
  pull*) echo "manifest unknown" >&2; exit 1 ;;
  save*)
    pause save
    mkdir -p "$FAKE_STATE/saved"; cd "$FAKE_STATE/saved"; echo layer > layer.tar; echo '{}' > config.json
    echo '[{"Config":"config.json","RepoTags":["postgres:16-alpine"],"Layers":["layer.tar"]}]' > manifest.json
    tar cf - layer.tar config.json manifest.json ;;
  *"images import"*)
    node || exit 1
    case "$*" in */kubernaut/images/*) [ ! -e "$FAKE_STATE/torn" ] || { echo "unexpected EOF" >&2; exit 1; } ;; esac
    # A file of this machine stands for what the node sees of it; a run's own image comes as bytes. Both name themselves.
    { tar xOf - manifest.json; echo; } | sed -n 's/.*"RepoTags":\["\([^]]*\)"\].*/\1/p' | sed 's/","/\n/g' |
      sed 's#^postgres:#docker.io/library/&#' >> "$FAKE_STATE/images"
    [ -e "$FAKE_STATE/deaf" ] || cat "$FAKE_STATE/images" ;;
  *"images list --quiet") node || exit 1; [ -e "$FAKE_STATE/deaf" ] || cat "$FAKE_STATE/images" 2>/dev/null || true ;;
  inspect*Ports*) cat "$FAKE_STATE/ports.json" ;;
  inspect*Running*) node && echo true ;;
  inspect*Mounts*) node && echo fake-volume ;;
  ps*) node && echo 0123456789ab || true ;;
  "volume rm"*) rm -f "$FAKE_STATE/volume" ;;
  *) echo "the fake docker does not know: $*" >&2; exit 64 ;;
esac
