# kubectl as far as the tool uses it. What a watch shows is the file "watch".
pause() { [ "$(cat "$FAKE_STATE/hang" 2>/dev/null)" = "$1" ] || return 0; touch "$FAKE_STATE/hanging"; sleep 600; }
case "$*" in
  *"version --client"*) echo '{"clientVersion":{"gitVersion":"v1.34.1"}}' ;;
  *apply*) cat > /dev/null; pause apply ;;
  *"--all-namespaces --selector"*) ;;
  *--all-namespaces*) sleep 600 ;;
  *"app=postgres,"*"--watch "*) pause watch; cat "$FAKE_STATE/watch"; sleep 600 ;;
  *"--watch "*) sleep 600 ;;
  *"get pods,deployments"*) pause evidence; echo '{"items":[]}' ;;
  *describe*) echo "no pods" ;;
  *logs*--previous*) exit 1 ;;
  *logs*) echo "FATAL: configuration file is broken" ;;
  *get*) echo '{"items":[]}' ;;
  *) echo "the fake kubectl does not know: $*" >&2; exit 64 ;;
esac
