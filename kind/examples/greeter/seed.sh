#!/bin/sh
# One greeting from before the suite, which looks for it.
set -eu
curl --fail --silent --show-error --max-time 10 --data '{"name": "seed"}' "$GREETER_URL/greetings"
