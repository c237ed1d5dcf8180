# A Docker daemon as far as the tool uses one. State: files in $FAKE_STATE.
pause() { [ "$(cat "$FAKE_STATE/hang" 2>/dev/null)" = "$1" ] || return 0; touch "$FAKE_STATE/hanging"; sleep 600; }
node() { [ -e "$FAKE_STATE/node" ]; }
case "$*" in
  version*) echo 99.0 ;;
  info*) [ ! -e "$FAKE_STATE/dead" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
    cat "$FAKE_STATE/info.json" 2>/dev/null || echo '{"ServerVersion":"99.0","Driver":"overlay2","CgroupVersion":"2"}' ;;
  "context inspect"*) cat "$FAKE_STATE/endpoint" 2>/dev/null || echo unix:///var/run/docker.sock ;;
  "image ls"*) ;;
  # A prepared node: the file "filler" is the container that makes it, "shared" its volume, "prepared" its image.
  "image inspect"*localhost/kubernaut-node*) [ -e "$FAKE_STATE/prepared" ] && echo sha256:feedfeedfeed ;;
  "volume inspect"*) [ -e "$FAKE_STATE/shared" ] && echo "$FAKE_STATE/shared" ;;
  run*--interactive*)
    touch "$FAKE_STATE/filler" "$FAKE_STATE/shared"; pause fill
    cat > "$FAKE_STATE/filled"; [ ! -e "$FAKE_STATE/unfit" ] || { echo "containerd: no overlayfs here" >&2; exit 1; } ;;
  run*) ;;
  commit*) echo sha256:feedfeedfeed ;;
  tag*) touch "$FAKE_STATE/prepared" ;;
  "image rm"*) ;;
  "rm --force"*) rm -f "$FAKE_STATE/filler" ;;
  "volume rm"*kubernaut-node*) rm -f "$FAKE_STATE/shared" ;;
  ps*kubernaut-node*) [ ! -e "$FAKE_STATE/filler" ] || echo 0123456789ab ;;
  "image inspect"*Config.Entrypoint*) echo '["/usr/local/bin/entrypoint","/sbin/init"]' ;;
  "image inspect"*Config.Cmd*) echo null ;;
  "image inspect"*missing*) echo "no such image" >&2; exit 1 ;;
  "image inspect"*) echo sha256:0123456789ab ;;
  pull*) echo "manifest unknown" >&2; exit 1 ;;
  save*)
    pause save
    mkdir -p "$FAKE_STATE/saved"; cd "$FAKE_STATE/saved"
    echo '[{"RepoTags":["postgres:16-alpine"]}]' > manifest.json
    tar cf - manifest.json ;;
  *"images import"*)
    node || exit 1
    [ ! -e "$FAKE_STATE/torn" ] || { cat > "$FAKE_STATE/refused"; echo "unexpected EOF" >&2; exit 1; }
    # An archive names its image; an image of the host gets a second name, the last argument.
    { tar xOf - manifest.json; echo; } | sed -n 's/.*"RepoTags":\["\([^"]*\)"\].*/\1/p' |
      sed 's#^postgres:#docker.io/library/&#' >> "$FAKE_STATE/images"
    for name in "$@"; do :; done; echo "$name" >> "$FAKE_STATE/images"
    [ -e "$FAKE_STATE/deaf" ] || cat "$FAKE_STATE/images" ;;
  *"images list --quiet") node || exit 1; [ -e "$FAKE_STATE/deaf" ] || cat "$FAKE_STATE/images" 2>/dev/null || true ;;
  inspect*Ports*) cat "$FAKE_STATE/ports.json" ;;
  inspect*Running*) node && echo true ;;
  inspect*Mounts*) node && echo fake-volume ;;
  ps*) node && echo 0123456789ab || true ;;
  "volume rm"*) rm -f "$FAKE_STATE/volume" ;;
  *) echo "the fake docker does not know: $*" >&2; exit 64 ;;
esac
